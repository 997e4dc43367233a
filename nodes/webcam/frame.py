"""One frame that a source has, and that can be written where its reader wants it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on offer, valid until the source's `frame` block ends.

    Attributes:
        number: counts the frames of the source, also those never sent.
        captured_ns: when it was taken, `time.monotonic_ns()`.
        shape: height, width, 3, as far as the source knows before `fill`.
        fill: writes the pixels, uint8 BGR, into an array of `shape`. Raises SizeChangedError if
            the pixels turn out to be of another size, FrameLostError if there are none.
        metadata: those of the source for this frame; complete after `fill`.
    """

    number: int
    captured_ns: int
    shape: tuple[int, int, int]
    fill: Callable[[Image], None]
    metadata: dict[str, Any] = field(default_factory=dict)


class FrameSource(Protocol):
    """Where frames come from: a camera, a file, a folder, a scene."""

    @property
    def is_finished(self) -> bool:
        """Whether there will be no further frame."""

    def frame(self, timeout_s: float, *, newest: bool) -> AbstractContextManager[Frame | None]:
        """Wait for a frame that was not given before; None after `timeout_s`, or at the end.

        With `newest`, frames that came in the meantime are skipped; without, a source that can
        wait (a file, not a camera) returns them all.
        """

    def set_fps(self, fps: float | None) -> None:
        """Go on at another rate; None: at that of the source itself; 0: a file at full speed."""

    def close(self) -> None:
        """Close the device or file."""


class SourceError(DoraRtError):
    """A source cannot be opened or read, and trying again would not help."""


class SizeChangedError(Exception):
    """The pixels do not have the announced shape; `image` is a private copy of them."""

    def __init__(self, image: Image) -> None:
        super().__init__(f"the picture is {image.shape[1]}x{image.shape[0]}")
        self.image = image


class FrameLostError(Exception):
    """The source announced a frame, and then could not deliver it."""
