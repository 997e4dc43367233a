"""Pictures in another size: which one, and by which method."""

from __future__ import annotations

import cv2
import numpy as np

from dora_rt.picture import Image


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
    """Return a picture in the size that was asked for; the one that was given if it has it.

    Args:
        image: H x W x 3 uint8.
        width: in pixels; None: by the height, so that the picture is not distorted.
        height: in pixels; None: by the width.
    """
    to_height, to_width = fitted_size(image.shape, width, height)
    if (to_height, to_width) == image.shape[:2]:
        return image
    method = interpolation(image.shape[0], to_height)
    return np.asarray(cv2.resize(image, (to_width, to_height), interpolation=method), np.uint8)


def interpolation(from_height: int, to_height: int) -> int:
    """Return OpenCV's number for the method that looks best from one height to another."""
    return cv2.INTER_AREA if to_height < from_height else cv2.INTER_LINEAR
