"""Where pictures are shown: a window, a web page, or nowhere."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .drawing import Image
from .feed import Feed
from .statistics import Status
from .web import WebPage
from .window import Window

_WINDOW_ATTENTION_S = 0.05


class Screen(Protocol):
    """Where pictures are shown; `attention_s` is how often it must be attended to, if at all."""

    attention_s: float | None

    def canvas(self, shape: tuple[int, ...]) -> Image:
        """Return an array to draw the next picture in."""

    def show(self, image: Image, status: Status) -> bool:
        """Show a canvas; False if the user wants to end."""

    def attend(self) -> bool:
        """Let the screen react to the user; False if the user wants to end."""

    def close(self) -> None:
        """Take the screen away."""


class HiddenScreen:
    """Nothing to be seen: for saving and counting only."""

    attention_s: float | None = None

    def __init__(self) -> None:
        self._canvas: Image = np.empty((0, 0, 3), np.uint8)

    def canvas(self, shape: tuple[int, ...]) -> Image:
        """Return the one array that all pictures are drawn in."""
        if self._canvas.shape != shape:
            self._canvas = np.empty(shape, np.uint8)
        return self._canvas

    def show(self, image: Image, status: Status) -> bool:
        """Show nothing."""
        return True

    def attend(self) -> bool:
        """Go on: there is no user."""
        return True

    def close(self) -> None:
        """Do nothing."""


class WindowScreen(HiddenScreen):
    """A window of the desktop."""

    attention_s: float | None = _WINDOW_ATTENTION_S

    def __init__(self) -> None:
        super().__init__()
        self._window = Window()

    def show(self, image: Image, status: Status) -> bool:
        """Show it in the window."""
        return self._window.show(image)

    def attend(self) -> bool:
        """Look for keys, and whether the window was closed."""
        return self._window.attend()

    def close(self) -> None:
        """Close the window."""
        self._window.close()


class WebScreen:
    """A page in a browser."""

    attention_s: float | None = None

    def __init__(self, page: WebPage, feed: Feed) -> None:
        self._page = page
        self._feed = feed

    @classmethod
    def open(cls, host: str, port: int) -> WebScreen:
        """Serve the page; `port` 0 takes any.

        Raises:
            WebServerError: it cannot be served there.
        """
        feed = Feed()
        return cls(WebPage.open(host, port, feed), feed)

    @property
    def url(self) -> str:
        """The address of the page."""
        return self._page.url

    def canvas(self, shape: tuple[int, ...]) -> Image:
        """Return an array that no watcher's picture is made from at the moment."""
        return self._feed.canvas(shape)

    def show(self, image: Image, status: Status) -> bool:
        """Offer it to the watchers."""
        self._feed.publish(image, status)
        return True

    def attend(self) -> bool:
        """Go on: a watcher cannot end the dataflow."""
        return True

    def close(self) -> None:
        """Stop serving."""
        self._page.close()
