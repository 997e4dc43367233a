"""Give the frames of a recording in the size that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np

from ..scaling import fitted_size, interpolation
from .frame import Frame, FrameSource, Image, SizeChangedError


class ResizedSource:
    """A source whose pictures are resized, since a recording cannot be asked for another size.

    Args:
        source: the source; it is closed with this one.
        width: in pixels; None: by the height, so that the picture is not distorted.
        height: in pixels; None: by the width.
    """

    def __init__(self, source: FrameSource, width: int | None, height: int | None) -> None:
        self._source = source
        self._width = width
        self._height = height
        self._canvas: Image = np.empty((0, 0, 3), np.uint8)

    @property
    def is_finished(self) -> bool:
        """Whether there will be no further frame."""
        return self._source.is_finished

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame | None]:
        """Wait for a frame of the source; it is resized when it is filled in."""
        with self._source.frame(timeout_s, newest=newest) as frame:
            yield None if frame is None else self._resized(frame)

    def set_fps(self, fps: float | None) -> None:
        """Let the source go on at another rate."""
        self._source.set_fps(fps)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _resized(self, frame: Frame) -> Frame:
        shape = (*fitted_size(frame.shape, self._width, self._height), 3)
        if shape == frame.shape:
            return frame

        def fill(out: Image) -> None:
            if self._canvas.shape != frame.shape:
                self._canvas = np.empty(frame.shape, np.uint8)
            image = self._canvas
            try:
                frame.fill(image)
            except SizeChangedError as changed:
                image = changed.image
            height, width, _ = out.shape
            method = interpolation(image.shape[0], height)
            cv2.resize(image, (width, height), dst=out, interpolation=method)

        return replace(frame, shape=shape, fill=fill)
