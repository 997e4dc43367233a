"""Pictures and boxes of any node, encoded for a browser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.event import Event
from dora_rt.transport.values.flat_arrays import shaped

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_BOX_COLUMNS = 6
_WIDEST = 1280
_QUALITY = 80
_MOST_BOXES = 100
_LONGEST_LABEL = 40
_SMALLEST_SIDE = 8  # pixels: smaller arrays of bytes are rather matrices


class Kind(Enum):
    """The kind of value that an output carries, as far as the page can show it."""

    PICTURE = "picture"
    BOXES = "boxes"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as a file; `width` and `height` are None where only the browser reads them."""

    content: bytes
    media_type: str
    width: int | None = None
    height: int | None = None


def as_numpy(value: Any) -> Any:
    """Return an array of Arrow, as dora's nodes send them, as one of numpy; all else unchanged."""
    if not hasattr(value, "to_numpy"):
        return value
    try:
        return value.to_numpy(zero_copy_only=False)
    except (NotImplementedError, TypeError, ValueError):
        # Nothing in it can be drawn into a picture.
        return b""


def kind_of(event: Event) -> Kind:
    """Return what kind of value a sample has."""
    if _file_type(event.value) is not None or _pixels(event) is not None:
        return Kind.PICTURE
    return Kind.BOXES if _boxes(event) is not None else Kind.OTHER


def encode(event: Event) -> Encoded | None:
    """Return a picture for a browser: files unchanged, pixels as JPEG; None for other values."""
    media_type = _file_type(event.value)
    if media_type is not None:
        return Encoded(bytes(event.value), media_type)
    pixels = _pixels(event)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        pixels = cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    is_done, jpeg = cv2.imencode(".jpg", _bgr(pixels, event), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Encoded(jpeg.tobytes(), "image/jpeg", width, height) if is_done else None


def read_boxes(event: Event) -> list[dict[str, Any]]:
    """Return the boxes as the page draws them; boxes with NaN or infinity are left out."""
    boxes = _boxes(event)
    if boxes is None:
        return []
    labels = event.metadata.get("labels")
    names = [str(label)[:_LONGEST_LABEL] for label in labels] if isinstance(labels, list) else []
    drawable = boxes[np.isfinite(boxes).all(axis=1)]
    surest = drawable[np.argsort(-drawable[:, 4], kind="stable")][:_MOST_BOXES]
    return [
        {
            "corners": [round(float(side), 1) for side in box[:4]],
            "confidence": round(float(box[4]), 3),
            "class": int(box[5]),
            "label": names[int(box[5])] if 0 <= box[5] < len(names) else f"class {int(box[5])}",
        }
        for box in surest
    ]


def _file_type(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype != np.uint8:
            return None
        value = value[: len(_PNG)].tobytes()
    begin = bytes(value[: len(_PNG)])
    if begin.startswith(_JPEG):
        return "image/jpeg"
    return "image/png" if begin == _PNG else None


def _pixels(event: Event) -> NDArray[np.uint8] | None:
    value = event.value
    if not isinstance(value, np.ndarray):
        return None
    value = shaped(value, event.metadata)
    channels = 1 if value.ndim == 2 else value.shape[2] if value.ndim == 3 else 0
    if value.dtype != np.uint8 or channels not in (1, 3, 4):
        return None
    return value if min(value.shape[:2]) >= _SMALLEST_SIDE else None


def _bgr(pixels: NDArray[np.uint8], event: Event) -> NDArray[np.uint8]:
    encoding = str(event.metadata.get("encoding", "")).lower()
    if encoding == "rgb8":
        return cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if encoding == "rgba8":
        return cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGR))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    return pixels


def _boxes(event: Event) -> NDArray[np.float32] | None:
    """Return N x 6 numbers if they can be boxes: corners in order, a confidence of at most 1."""
    value, are_bytes = event.value, True
    if isinstance(value, np.ndarray):
        are_bytes = value.dtype == np.uint8 and value.ndim == 1
        if not are_bytes and value.dtype.kind != "f":
            return None
    if not are_bytes:
        numbers = value
    elif len(value) % (4 * _BOX_COLUMNS) == 0 and event.id.rpartition("/")[2].startswith("b"):
        # Beyond that, only the name of the output says that they are boxes: `bbox`, `boxes`.
        numbers = np.frombuffer(bytes(value), np.float32)
    else:
        return None
    is_table = numbers.ndim == 2 and numbers.shape[1] == _BOX_COLUMNS
    if not is_table and (numbers.ndim != 1 or numbers.size % _BOX_COLUMNS):
        return None
    boxes = numbers.reshape(-1, _BOX_COLUMNS).astype(np.float32)
    are_boxes = (
        (boxes[:, 2] >= boxes[:, 0])
        & (boxes[:, 3] >= boxes[:, 1])
        & (boxes[:, 4] >= 0)
        & (boxes[:, 4] <= 1)
    )
    return boxes if bool(are_boxes.all()) else None
