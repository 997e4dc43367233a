"""Read the inputs `image` and `bbox` of any sender."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np

from dora_rt.errors import DoraRtError
from dora_rt.event import Event

from .drawing import Boxes, Image
from .matching import Detections

_BOX_COLUMNS = 6


class InputError(DoraRtError):
    """An input carries something that is no picture, or are no boxes."""


def read_detections(event: Event) -> Detections:
    """Read boxes: N x 6 float32, or the bytes of it; the labels are in the metadata.

    Raises:
        InputError: it is something else.
    """
    value = event.value
    numbers = (
        np.frombuffer(value, np.uint8)
        if isinstance(value, (bytes, bytearray, memoryview))
        else np.asarray(value)
    )
    if numbers.dtype == np.uint8 and numbers.nbytes % (4 * _BOX_COLUMNS) == 0:
        numbers = np.frombuffer(numbers.tobytes(), np.float32)
    if numbers.dtype == np.uint8 or numbers.size % _BOX_COLUMNS != 0:
        raise InputError(
            f"input '{event.id}' carries {numbers.dtype} {numbers.shape}; expected N x 6 float32: "
            "x1, y1, x2, y2, confidence, class"
        )
    # A copy, so that no slot of the detector is held; it is a few hundred bytes.
    boxes: Boxes = numbers.reshape(-1, _BOX_COLUMNS).astype(np.float32)
    # A box that is not a number cannot be drawn or counted.
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    labels = event.metadata.get("labels")
    names = tuple(str(label) for label in labels) if isinstance(labels, list) else ()
    return Detections(event.origin_ns, boxes, names)


def is_picture(value: Any) -> bool:
    """Return whether the value is pixels, and not the bytes of a file."""
    return isinstance(value, np.ndarray) and value.ndim in (2, 3)


def decode(event: Event) -> Image:
    """Return the picture as H x W x 3 uint8 BGR; read-only where it is the shared memory itself.

    Raises:
        InputError: it is no picture.
    """
    value = event.value
    if is_picture(value):
        channels = 1 if value.ndim == 2 else value.shape[2]
        if value.dtype != np.uint8 or channels not in (1, 3, 4) or 0 in value.shape:
            raise InputError(
                f"input '{event.id}' carries {value.dtype} {value.shape}; "
                "expected H x W x 3 uint8 (BGR), or the bytes of a JPEG or PNG file"
            )
        encoding = event.metadata.get("encoding", "bgr8")
        if channels == 3 and encoding == "rgb8":
            return cast(Image, cv2.cvtColor(value, cv2.COLOR_RGB2BGR))
        if channels == 3:
            return cast(Image, value)
        conversion = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
        return cast(Image, cv2.cvtColor(value, conversion))
    file_bytes = np.frombuffer(value, np.uint8)
    image = cv2.imdecode(file_bytes, cv2.IMREAD_COLOR) if file_bytes.size else None
    if image is None:
        raise InputError(
            f"input '{event.id}' carries {file_bytes.size} bytes that are no JPEG or PNG file; "
            "expected one, or H x W x 3 uint8 (BGR)"
        )
    return cast(Image, image)
