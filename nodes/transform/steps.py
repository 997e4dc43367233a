"""The steps from one picture to another, in a fixed order."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

from ..scaling import fitted_size, resized
from .calibration import Calibration, Undistortion

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"horizontal": 1, "vertical": 0, "both": -1}
_BAR_VALUE = 114


class TransformError(DoraRtError):
    """A picture cannot be changed so; one of another size may be."""


@dataclass(frozen=True, slots=True)
class Length:
    """A number of pixels, or a part of the side of a picture."""

    value: float
    is_percent: bool

    def of(self, side: int) -> int:
        """Return it in pixels."""
        return round(side * self.value / 100) if self.is_percent else round(self.value)


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture."""

    left: Length
    top: Length
    width: Length
    height: Length


def parse_crop(text: str) -> Crop:
    """Read `LEFT,TOP,WIDTH,HEIGHT`, each in pixels or percent.

    Raises:
        ValueError: it is something else.
    """
    words = text.replace(" ", "").split(",")
    lengths = []
    for word in words:
        digits = word.removesuffix("%")
        is_percent = digits != word
        if not digits.replace(".", "", 1).isdecimal() or not (is_percent or digits.isdecimal()):
            break
        lengths.append(Length(float(digits), is_percent))
    if len(words) != 4 or len(lengths) != 4 or 0 in (lengths[2].value, lengths[3].value):
        raise ValueError(
            f"'{text}' is not LEFT,TOP,WIDTH,HEIGHT, such as 100,0,640,480 or 25%,0,50%,100%"
        )
    return Crop(*lengths)


class Steps:
    """Undistort, rotate, flip, crop and resize, as far as they are asked for.

    Args:
        calibration: of the camera; None: do not undistort.
        alpha: 0: no black corners, 1: all that the camera saw.
        rotation: degrees clockwise: 0, 90, 180 or 270.
        flip: none, horizontal, vertical or both.
        crop: the part that stays; None: all.
        size: width and height of the result; None: by the other one, or as it is.
        keeps_proportions: put bars where the picture does not fit `size`.
    """

    def __init__(
        self,
        calibration: Calibration | None = None,
        alpha: float = 0.0,
        rotation: int = 0,
        flip: str = "none",
        crop: Crop | None = None,
        size: tuple[int | None, int | None] = (None, None),
        *,
        keeps_proportions: bool = False,
    ) -> None:
        self._undistortion = None if calibration is None else Undistortion(calibration, alpha)
        self._rotation = rotation
        self._flip = flip
        self._crop = crop
        self._size = size
        self._keeps_proportions = keeps_proportions

    @property
    def moves_pixels(self) -> bool:
        """Whether places in the picture are others afterwards."""
        return (
            self._undistortion is not None
            or self._rotation != 0
            or self._flip != "none"
            or self._crop is not None
            or self._size != (None, None)
        )

    def apply(self, image: Image) -> Image:
        """Return the changed picture; the one that was given where nothing is asked for.

        Raises:
            CalibrationError: the calibration is of a picture with other proportions.
            TransformError: nothing of the picture is in the part to crop.
        """
        if self._undistortion is not None:
            image = self._undistortion.apply(image)
        if self._rotation:
            image = cast(Image, cv2.rotate(image, _ROTATIONS[self._rotation]))
        if self._flip != "none":
            image = cast(Image, cv2.flip(image, _FLIPS[self._flip]))
        if self._crop is not None:
            image = _cropped(image, self._crop)
        return self._resized(image)

    def _resized(self, image: Image) -> Image:
        if not self._keeps_proportions:
            return resized(image, *self._size)
        height, width = image.shape[:2]
        to_height, to_width = fitted_size(image.shape, *self._size)
        factor = min(to_width / width, to_height / height)
        inner_width = min(max(round(width * factor), 1), to_width)
        inner_height = min(max(round(height * factor), 1), to_height)
        left, top = (to_width - inner_width) // 2, (to_height - inner_height) // 2
        canvas: Image = np.full((to_height, to_width, 3), _BAR_VALUE, np.uint8)
        inner = resized(image, inner_width, inner_height)
        canvas[top : top + inner_height, left : left + inner_width] = inner
        return canvas


def _cropped(image: Image, crop: Crop) -> Image:
    height, width = image.shape[:2]
    left, top = crop.left.of(width), crop.top.of(height)
    right, bottom = left + crop.width.of(width), top + crop.height.of(height)
    part = image[top:bottom, left:right]
    if part.size == 0:
        raise TransformError(
            f"--crop: nothing of a picture of {width}x{height} is in the part from {left},{top} to "
            f"{right},{bottom}"
        )
    return part
