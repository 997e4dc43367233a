"""Fit a picture into a network's input without changing its proportions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import FrameError

PADDING = 114
"""Grey value beside the picture, as in the training of all YOLO families."""


class Letterbox:
    """Fill one input blob again and again; nothing but a frame's views is made per frame.

    The picture is scaled by `min(height / frame_height, width / frame_width)` and put into the
    top left corner, as YOLOX does it (yolox/data/data_augment.py, `preproc`, of
    https://github.com/Megvii-BaseDetection/YOLOX). YOLOv5 and YOLOv8 put it into the middle in
    training and do not care in use.

    Attributes:
        blob: the network's input, 1 x 3 x height x width, float32 or float16.
    """

    def __init__(
        self, height: int, width: int, *, is_rgb: bool, scale: float, dtype: np.dtype[np.floating]
    ) -> None:
        self.blob: NDArray[np.floating] = np.empty((1, 3, height, width), dtype)
        self._canvas = np.full((height, width, 3), PADDING, np.uint8)
        self._planes = [np.empty((height, width), np.uint8) for _ in range(3)]
        self._channels = (2, 1, 0) if is_rgb else (0, 1, 2)
        # A factor of the blob's own type: otherwise numpy computes in float64 and converts.
        self._scale = self.blob.dtype.type(scale)
        self._fitted = (height, width)

    def fit(self, frame: NDArray[np.uint8]) -> float:
        """Put a frame into `blob` and return the factor from frame pixels to blob pixels.

        Args:
            frame: H x W x 3 BGR, H x W grey, H x W x 1 grey or H x W x 4 BGRA, uint8.

        Raises:
            FrameError: the array is none of these, or is empty.
        """
        check_frame(frame)
        frame_height, frame_width = frame.shape[:2]
        height, width = self._canvas.shape[:2]
        ratio: float = min(height / frame_height, width / frame_width)
        # Rounding first: 600 * (416 / 600) is a hair below 416 for some widths.
        fitted = (
            max(int(round(frame_height * ratio, 6)), 1),
            max(int(round(frame_width * ratio, 6)), 1),
        )
        if fitted != self._fitted:
            self._canvas.fill(PADDING)
            self._fitted = fitted
        _resize_into(self._canvas[: fitted[0], : fitted[1]], frame)
        # cv2.split into planes of our own and one multiplication each take a tenth of the time of
        # cv2.dnn.blobFromImage (0.15 ms and 1.5 ms for 416 x 416), which allocates as well.
        cv2.split(self._canvas, self._planes)
        for plane, channel in enumerate(self._channels):
            np.multiply(self._planes[channel], self._scale, out=self.blob[0, plane])
        return ratio


def check_frame(frame: NDArray[np.uint8]) -> None:
    """Accept a picture that `Letterbox.fit` can use.

    Raises:
        FrameError: it is none of the kinds that `fit` lists, or is empty.
    """
    is_picture = frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (1, 3, 4))
    if frame.dtype != np.uint8 or not is_picture or frame.size == 0:
        raise FrameError(
            f"got an array of {frame.dtype} with shape {frame.shape}, expected a picture of uint8:"
            " H x W x 3 (BGR), H x W (grey) or H x W x 4 (BGRA)"
        )


def _resize_into(place: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    size = (place.shape[1], place.shape[0])
    if frame.ndim == 3 and frame.shape[2] == 3:
        cv2.resize(frame, size, dst=place, interpolation=cv2.INTER_LINEAR)
        return
    # Converted after the resize: the small picture costs less.
    small = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    is_bgra = small.ndim == 3 and small.shape[2] == 4
    cv2.cvtColor(small, cv2.COLOR_BGRA2BGR if is_bgra else cv2.COLOR_GRAY2BGR, dst=place)
