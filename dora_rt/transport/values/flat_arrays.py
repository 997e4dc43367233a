"""dora's flat arrays: their dtype, shape and encoding in the metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from dora_rt.transport.values.header import MAX_NDIM

# Encodings of pictures that are not compressed: character of the dtype, and channels.
_PICTURES = {
    "bgr8": ("B", 3),
    "rgb8": ("B", 3),
    "bgra8": ("B", 4),
    "rgba8": ("B", 4),
    "mono8": ("B", 1),
    "mono16": ("H", 1),
}
_OWN_ENCODINGS = {3: "bgr8", 4: "bgra8"}


def shaped(array: NDArray[Any], metadata: Mapping[str, Any]) -> NDArray[Any]:
    """Return a flat array in the shape of its metadata; as it is if there is none that fits.

    `encoding`, `width` and `height` go before `shape`, which a node that turned a picture may have
    passed on unchanged.
    """
    shape = _picture_shape(array, metadata) or metadata.get("shape")
    if (
        shape is None
        or not isinstance(shape, (list, tuple))
        or not all(_is_length(length) for length in shape)
    ):
        return array
    does_fit = math.prod(shape) == array.size and len(shape) <= MAX_NDIM
    return array.reshape(shape) if does_fit else array


def add_shape(metadata: dict[str, Any], array: NDArray[Any]) -> None:
    """Add an array's shape to its metadata; the sender's own keys stay."""
    encoding = metadata.get("encoding")
    if encoding is None and array.ndim == 3 and array.dtype == np.uint8:
        encoding = _OWN_ENCODINGS.get(array.shape[2])
    kind, channels = _PICTURES.get(str(encoding), ("", 0))
    is_picture = array.ndim == 3 and array.shape[2] == channels
    if array.dtype.char == kind and (is_picture or (array.ndim == 2 and channels == 1)):
        metadata.setdefault("encoding", encoding)
        metadata.setdefault("height", array.shape[0])
        metadata.setdefault("width", array.shape[1])
        metadata.setdefault("primitive", "image")
    else:
        metadata.setdefault("shape", list(array.shape))


def _picture_shape(array: NDArray[Any], metadata: Mapping[str, Any]) -> tuple[int, ...] | None:
    encoding = metadata.get("encoding")
    if encoding is None:
        return None
    kind, channels = _PICTURES.get(str(encoding).lower(), ("", 0))
    width, height = metadata.get("width"), metadata.get("height")
    if array.dtype.char != kind or not _is_length(width) or not _is_length(height):
        return None
    if width * height * channels != array.size:
        return None
    return (height, width) if channels == 1 else (height, width, channels)


def _is_length(value: Any) -> TypeGuard[int]:
    return isinstance(value, (int, np.integer)) and bool(value >= 0)
