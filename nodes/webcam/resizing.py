"""Give the frames of a recording in the size that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np

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
            is_smaller = height < image.shape[0]
            method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
            cv2.resize(image, (width, height), dst=out, interpolation=method)

        return replace(frame, shape=shape, fill=fill)


def fitted_size(shape: tuple[int, ...], width: int | None, height: int | None) -> tuple[int, int]:
    """Return height and width of a picture of `shape` in the size that was asked for."""
    own_height, own_width = shape[:2]
    if width is None and height is None:
        return own_height, own_width
    if width is None:
        assert height is not None
        return height, max(round(own_width * height / own_height), 1)
    return height or max(round(own_height * width / own_width), 1), width


def resized(image: Image, width: int | None, height: int | None) -> Image:
    """Return a picture in the size that was asked for; the one that was given if it has it."""
    to_height, to_width = fitted_size(image.shape, width, height)
    if (to_height, to_width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if to_height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (to_width, to_height), interpolation=method), np.uint8)
