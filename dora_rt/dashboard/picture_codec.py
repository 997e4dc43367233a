"""Pictures and boxes of any node, encoded for a browser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.detections import (
    BOX_COLUMNS,
    Detections,
    NoBoxesError,
    finding_of,
    label_of,
    numbered,
    read_detections,
    read_found,
)
from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.picture import NoPictureError, PictureFile, picture_of, read_picture

LONGEST_LABEL = 40
"""Letters of the name of a class, on the page."""

_FILES = ("jpeg", "png", "webp", "bmp")  # that every browser shows
_WIDEST = 1280
_QUALITY = 80
_MOST_BOXES = 100
_SMALLEST_SIDE = 8  # pixels: smaller arrays of bytes are rather matrices


class Kind(Enum):
    """The kind of value that an output carries, as far as the page can show it."""

    PICTURE = "picture"
    BOXES = "boxes"
    FOUND = "found"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as a file, and its size as it was sent."""

    content: bytes
    media_type: str
    width: int
    height: int
    is_turned: bool = False
    """Whether it is a photo that the browser shows turned: what is wide there may be high here."""


def as_numpy(value: Any) -> Any:
    """Return an array of Arrow, as dora's nodes send them, as one of numpy; all else unchanged."""
    if not hasattr(value, "to_numpy"):
        return value
    try:
        return value.to_numpy(zero_copy_only=False)
    except (NotImplementedError, TypeError, ValueError):
        # Nothing in it can be drawn into a picture.
        return value


def kind_of(event: Event) -> Kind:
    """Return what kind of value a sample has."""
    if (name := finding_of(event.id)) is not None:
        # Before pictures, for masks could be one.
        try:
            read_found(name, event.value, event.metadata)
        except (NoBoxesError, CorruptSampleError):
            return Kind.OTHER
        return Kind.FOUND
    try:
        picture = read_picture(event.value, event.metadata)
        is_picture = isinstance(picture, PictureFile) or min(picture.size) >= _SMALLEST_SIDE
    except (NoPictureError, CorruptSampleError):
        is_picture = False
    if is_picture:
        return Kind.PICTURE
    return Kind.BOXES if _can_be_boxes(event) else Kind.OTHER


def encode(event: Event) -> Encoded:
    """Return a picture for a browser: files unchanged, pixels as JPEG.

    Raises:
        NoPictureError: it is none.
        CorruptSampleError: its metadata were overwritten in shared memory.
    """
    found = read_picture(event.value, event.metadata)
    width, height = found.size
    if isinstance(found, PictureFile) and found.kind in _FILES:
        content = bytes(found.content)
        return Encoded(content, f"image/{found.kind}", width, height, found.is_turned)
    pixels = picture_of(event.value, event.metadata)
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        pixels = cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    is_done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not is_done:
        raise NoPictureError(f"a picture of {width} x {height} pixels cannot be made a JPEG file")
    return Encoded(jpeg.tobytes(), "image/jpeg", width, height)


def boxes_on(picture: Encoded, found: Detections) -> list[dict[str, Any]] | None:
    """Return boxes as the page draws them; None for those of a picture of another size."""
    width, height = picture.width, picture.height
    if not found.are_of(width, height) and not (picture.is_turned and found.are_of(height, width)):
        return None
    surest = np.argsort(-found.boxes[:, 4], kind="stable")[:_MOST_BOXES]
    return [
        {
            "corners": [round(float(side), 1) for side in box[:4]],
            "confidence": round(float(box[4]), 3),
            "class": int(box[5]),
            "label": numbered(
                label_of(int(box[5]), found.labels)[:LONGEST_LABEL], found.ids, index
            ),
        }
        for index, box in zip(surest, found.boxes[surest], strict=True)
    ]


def _can_be_boxes(event: Event) -> bool:
    """Whether a sample has boxes: corners in order, confidences of at most 1."""
    value = event.value
    if isinstance(value, np.ndarray) and not (value.dtype == np.uint8 and value.ndim == 1):
        # Whole numbers, and flat ones without names, are rather something else.
        is_table = value.ndim == 2 and value.shape[1:] == (BOX_COLUMNS,)
        if value.dtype.kind != "f" or not (is_table or value.ndim == 1):
            return False
    elif not event.id.rpartition("/")[2].startswith("b"):
        # Of bytes only the name of the output says that they are boxes: `bbox`, `boxes`.
        return False
    try:
        boxes = read_detections(value, event.metadata).boxes
    except (NoBoxesError, CorruptSampleError):
        return False
    are_boxes = (
        (boxes[:, 2] >= boxes[:, 0])
        & (boxes[:, 3] >= boxes[:, 1])
        & (boxes[:, 4] >= 0)
        & (boxes[:, 4] <= 1)
    )
    return bool(are_boxes.all())
