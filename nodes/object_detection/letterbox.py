"""Fit a picture into a network's input, in the proportions and colours that it was trained on."""

from __future__ import annotations

from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import FrameError

PADDING = 114
"""Grey value beside the picture, as in the training of all YOLO families."""


class Fit(Enum):
    """How a picture of any proportions is brought to the size of an input."""

    LETTERBOX = "letterbox"
    STRETCH = "stretch"
    CENTRE = "centre"


class Normalisation(Enum):
    """Mean and deviation of each colour, red first, of pixels from 0 to 1."""

    IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Letterbox:
    """Fill one input blob again and again; nothing but a frame's views is made per frame.

    LETTERBOX: the picture is scaled by `min(height / frame_height, width / frame_width)` and put
    into the top left corner, as YOLOX does it (yolox/data/data_augment.py, `preproc`, of
    https://github.com/Megvii-BaseDetection/YOLOX). YOLOv5 and YOLOv8 put it into the middle in
    training and do not care in use. STRETCH: it fills the input, whatever its proportions. CENTRE:
    its middle fills the input, as classifiers are trained.

    Attributes:
        blob: the network's input, batch x channels x height x width, float32 or float16; only the
            first of a batch is filled.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        is_rgb: bool,
        scale: float,
        dtype: np.dtype[np.floating],
        fit: Fit = Fit.LETTERBOX,
        normalisation: Normalisation | None = None,
        batch: int = 1,
        channels: int = 3,
        is_channels_last: bool = False,
    ) -> None:
        shape = (height, width, channels) if is_channels_last else (channels, height, width)
        self.blob: NDArray[np.floating] = np.zeros((batch, *shape), dtype)
        first = np.moveaxis(self.blob[0], -1, 0) if is_channels_last else self.blob[0]
        self._blob_planes = list(first)
        self._canvas = np.full((height, width, 3), PADDING, np.uint8)
        self._planes = [np.empty((height, width), np.uint8) for _ in range(3)]
        self._channels = (2, 1, 0) if is_rgb else (0, 1, 2)
        # A factor of the blob's own type: otherwise numpy computes in float64 and converts.
        self._scales = [self.blob.dtype.type(scale)] * 3
        self._shifts: list[np.floating] | None = None
        if normalisation is not None:
            means, deviations = normalisation.value
            kind = self.blob.dtype.type
            self._scales = [kind(scale / deviation) for deviation in deviations]
            self._shifts = [kind(m / d) for m, d in zip(means, deviations, strict=True)]
        self._fit = fit
        self._fitted = (height, width)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        height, width = self._canvas.shape[:2]
        return height, width

    def fit(self, frame: NDArray[np.uint8]) -> tuple[float, float]:
        """Put a frame into `blob` and return the factors from frame pixels to blob pixels, x and y.

        Args:
            frame: H x W x 3 BGR, H x W grey, H x W x 1 grey or H x W x 4 BGRA, uint8.

        Raises:
            FrameError: the array is none of these, or is empty.
        """
        check_frame(frame)
        height, width = self._canvas.shape[:2]
        match self._fit:
            case Fit.LETTERBOX:
                ratios = self._put_in_corner(frame)
            case Fit.STRETCH:
                ratios = (width / frame.shape[1], height / frame.shape[0])
                _resize_into(self._canvas, frame)
            case Fit.CENTRE:
                ratios = self._put_middle(frame)
        self._fill_blob()
        return ratios

    def _put_in_corner(self, frame: NDArray[np.uint8]) -> tuple[float, float]:
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
        return ratio, ratio

    def _put_middle(self, frame: NDArray[np.uint8]) -> tuple[float, float]:
        frame_height, frame_width = frame.shape[:2]
        height, width = self._canvas.shape[:2]
        ratio = max(height / frame_height, width / frame_width)
        # At least one pixel of a picture that is a thin line.
        part_height = min(frame_height, max(1, round(height / ratio)))
        part_width = min(frame_width, max(1, round(width / ratio)))
        top, left = (frame_height - part_height) // 2, (frame_width - part_width) // 2
        _resize_into(self._canvas, frame[top : top + part_height, left : left + part_width])
        return ratio, ratio

    def _fill_blob(self) -> None:
        if len(self._blob_planes) == 1:
            grey = cv2.cvtColor(self._canvas, cv2.COLOR_BGR2GRAY)
            np.multiply(grey, self._scales[0], out=self._blob_planes[0])
            return
        # cv2.split into planes of our own and one multiplication each take a tenth of the time of
        # cv2.dnn.blobFromImage (0.15 ms and 1.5 ms for 416 x 416), which allocates as well.
        cv2.split(self._canvas, self._planes)
        for number, channel in enumerate(self._channels):
            plane = self._blob_planes[number]
            np.multiply(self._planes[channel], self._scales[number], out=plane)
            if self._shifts is not None:
                plane -= self._shifts[number]


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
