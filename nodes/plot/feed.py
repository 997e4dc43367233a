"""The feed of the web page: the newest picture as JPEG, encoded once for all watchers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from .drawing import Image
from .statistics import Status

MAX_WATCHERS = 8
MAX_FPS = 30.0
_JPEG_QUALITY = 85


class Feed:
    """The newest picture, which the loop publishes and the web server's threads encode.

    The loop only swaps a reference: the thread of the first watcher that wants a picture encodes
    it, the others take its JPEG. So nothing is encoded while nobody looks, and no watcher, however
    slow, is ever waited for.

    Args:
        clock: nanoseconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._canvases: list[Image] = []
        self._newest: Image | None = None
        self._number = 0
        self._being_encoded: Image | None = None
        self._jpeg = b""
        self._jpeg_number = 0
        self._encoded_ns = 0
        self._watchers = 0
        self._is_closed = False
        self.encoded = 0
        self.status = Status()

    def canvas(self, shape: tuple[int, ...]) -> Image:
        """Return an array to draw in that no watcher's thread reads: three take turns."""
        with self._condition:
            in_use = [one for one in (self._newest, self._being_encoded) if one is not None]
            for canvas in self._canvases:
                if canvas.shape == shape and not any(canvas is one for one in in_use):
                    return canvas
            canvas = np.empty(shape, np.uint8)
            kept = [one for one in self._canvases if one.shape == shape]
            self._canvases = [*kept, canvas]
            return canvas

    def publish(self, image: Image, status: Status) -> None:
        """Make `image` the newest picture; it stays untouched until `canvas` returns it again."""
        with self._condition:
            self.status = status
            self._newest = image
            self._number += 1
            self._condition.notify_all()

    @contextmanager
    def watching(self) -> Iterator[bool]:
        """Be one of the watchers; False if there are as many as are allowed."""
        with self._condition:
            is_allowed = self._watchers < MAX_WATCHERS and not self._is_closed
            self._watchers += is_allowed
        try:
            yield is_allowed
        finally:
            with self._condition:
                self._watchers -= is_allowed

    @property
    def watchers(self) -> int:
        """How many watch at the moment."""
        with self._condition:
            return self._watchers

    @property
    def is_closed(self) -> bool:
        """Whether there will be no more pictures."""
        return self._is_closed

    def next_jpeg(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """Wait for a picture newer than number `after`; None if none comes in time.

        Returns:
            Its number, to be given as the next `after`, and its JPEG bytes.
        """
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        with self._condition:
            while True:
                now_ns = self._clock()
                until_next_ns = self._encoded_ns + round(1e9 / MAX_FPS) - now_ns
                has_news = self._number > after and self._newest is not None
                is_recent = self._jpeg_number == self._number or until_next_ns > 0
                if self._jpeg_number > after and is_recent:
                    return self._jpeg_number, self._jpeg
                if has_news and self._being_encoded is None and until_next_ns <= 0:
                    break
                if self._is_closed or now_ns >= deadline_ns:
                    return None
                wait_ns = deadline_ns - now_ns
                if has_news and until_next_ns > 0:
                    wait_ns = min(wait_ns, until_next_ns)
                self._condition.wait(wait_ns / 1e9)
            assert self._newest is not None
            image, number = self._newest, self._number
            self._being_encoded = image
        return number, self._encode(image, number)

    def close(self) -> None:
        """Let all watchers go."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _encode(self, image: Image, number: int) -> bytes:
        jpeg = b""
        try:
            quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            jpeg = cv2.imencode(".jpg", image, quality)[1].tobytes()
        finally:
            with self._condition:
                self._being_encoded = None
                self._jpeg, self._jpeg_number = jpeg, number
                self._encoded_ns = self._clock()
                self.encoded += 1
                self._condition.notify_all()
        return jpeg
