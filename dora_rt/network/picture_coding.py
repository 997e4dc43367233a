"""Values on their way between machines: as they are, or pictures as JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dora_rt.event import Event
from dora_rt.network.gateway_plan import OverNetwork
from dora_rt.network.wire import DTYPES, Encoding, Head, WireError

_CHANNELS = (1, 3)
_SMALLEST_SIDE = 8  # pixels: smaller arrays of bytes are rather matrices
_LONGEST_SIDE = 65_500


@dataclass(frozen=True, slots=True)
class Coded:
    """A value as it crosses."""

    payload: bytes
    encoding: Encoding
    dtype: str = ""
    shape: tuple[int, ...] = ()
    metadata_json: bytes = b""


def can_cross(value: Any) -> bool:
    """Return whether a value means the same on every machine: a `longdouble` does not."""
    return not isinstance(value, np.ndarray) or _dtype_of(value) in DTYPES


def code(event: Event, over_network: OverNetwork) -> Coded:
    """Return a sample as it crosses; what is no picture crosses as it is."""
    value = event.value
    if isinstance(value, bytes):
        return Coded(value, Encoding.BYTES, metadata_json=event.metadata_json)
    if not isinstance(value, np.ndarray):
        return _code_arrow(value, event.metadata_json)
    if over_network.compress == "jpeg" and _is_picture(value):
        return _code_jpeg(value, event.metadata_json, over_network)
    if over_network.max_width is not None and _is_picture(value):
        value = _narrowed(value, over_network.max_width)
    return Coded(
        value.tobytes(), Encoding.ARRAY, _dtype_of(value), value.shape, event.metadata_json
    )


def decode(head: Head, payload: bytes) -> Any:
    """Return the value that crossed.

    Raises:
        WireError: the bytes are no such value.
        CorruptSampleError: they are no array of Arrow.
    """
    if len(payload) != head.nbytes:
        raise WireError(f"a sample of {len(payload)} bytes claims to have {head.nbytes}")
    match head.encoding:
        case Encoding.BYTES:
            return payload
        case Encoding.ARRAY:
            return np.frombuffer(payload, np.dtype(head.dtype)).reshape(head.shape)
        case Encoding.ARROW:
            # Only receivers of such a sample need pyarrow.
            from dora_rt.transport.values.arrow import decoded

            return decoded(np.frombuffer(payload, np.uint8))
        case Encoding.JPEG_BYTES:
            return np.frombuffer(payload, np.uint8)
    return _decode_jpeg(head, payload)


def _code_arrow(value: Any, metadata_json: bytes) -> Coded:
    from dora_rt.transport.values.arrow import ArrowSample

    sample = ArrowSample(value)
    payload = bytearray(len(sample))
    sample.write(memoryview(payload))
    return Coded(bytes(payload), Encoding.ARROW, metadata_json=metadata_json)


def _code_jpeg(picture: Any, metadata_json: bytes, over_network: OverNetwork) -> Coded:
    # Only what asks for it needs OpenCV.
    import cv2

    if over_network.max_width is not None:
        picture = _narrowed(picture, over_network.max_width)
    quality = [cv2.IMWRITE_JPEG_QUALITY, over_network.quality]
    is_done, content = cv2.imencode(".jpg", picture, quality)
    assert is_done, "cv2 raises where it cannot"
    encoding = Encoding.JPEG if over_network.decode else Encoding.JPEG_BYTES
    return Coded(content.tobytes(), encoding, _dtype_of(picture), picture.shape, metadata_json)


def _decode_jpeg(head: Head, payload: bytes) -> Any:
    import cv2

    flags = cv2.IMREAD_GRAYSCALE if len(head.shape) == 2 else cv2.IMREAD_COLOR
    if not 2 <= len(head.shape) <= 3 or max(head.shape) > _LONGEST_SIDE or head.dtype != "|u1":
        raise WireError(f"a picture claims shape {head.shape} of {head.dtype}")
    try:
        picture = cv2.imdecode(
            np.frombuffer(payload, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise WireError(f"a picture of {len(payload)} bytes is no JPEG: {error}") from error
    if picture is None or picture.size != np.prod(head.shape):
        raise WireError(f"a picture of {len(payload)} bytes is no JPEG of shape {head.shape}")
    return picture.reshape(head.shape)


def _is_picture(value: Any) -> bool:
    channels = value.shape[2] if value.ndim == 3 else 1
    return (
        value.dtype == np.uint8
        and value.ndim in (2, 3)
        and channels in _CHANNELS
        and min(value.shape[:2]) >= _SMALLEST_SIDE
        and max(value.shape[:2]) <= _LONGEST_SIDE
    )


def _narrowed(picture: Any, max_width: int) -> Any:
    import cv2

    height, width = picture.shape[:2]
    if width <= max_width:
        return picture
    size = max_width, max(round(height * max_width / width), 1)
    narrowed = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return narrowed.reshape(size[1], size[0], *picture.shape[2:])


def _dtype_of(array: Any) -> str:
    return str(array.dtype.str)
