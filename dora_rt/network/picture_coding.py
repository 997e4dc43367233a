"""Values on their way between machines: as they are, or pictures as JPEG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dora_rt.errors import CorruptSampleError, UnsupportedValueError
from dora_rt.event import Event
from dora_rt.network.gateway_plan import OverNetwork
from dora_rt.network.wire import DTYPES, Encoding, Head, WireError
from dora_rt.picture import NoPictureError, Pixels, check_size, read_picture
from dora_rt.picture_size import read_size_of
from dora_rt.transport.values.sendable import encode_metadata

_CODED = ("bgr8", "rgb8", "mono8")
_SMALLEST_SIDE = 8  # pixels: smaller arrays of bytes are rather matrices


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
    value, metadata_json = event.value, event.metadata_json
    if over_network.compress == "jpeg" or over_network.max_width is not None:
        pixels = _pixels_of(event)
        if pixels is not None:
            return _code_picture(pixels, event, over_network)
    if isinstance(value, bytes):
        return Coded(value, Encoding.BYTES, metadata_json=metadata_json)
    if not isinstance(value, np.ndarray):
        return _code_arrow(value, metadata_json)
    return _code_array(value, metadata_json)


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


def _code_array(value: Any, metadata_json: bytes) -> Coded:
    return Coded(value.tobytes(), Encoding.ARRAY, _dtype_of(value), value.shape, metadata_json)


def _code_arrow(value: Any, metadata_json: bytes) -> Coded:
    from dora_rt.transport.values.arrow import ArrowSample

    sample = ArrowSample(value)
    payload = bytearray(len(sample))
    sample.write(memoryview(payload))
    return Coded(bytes(payload), Encoding.ARROW, metadata_json=metadata_json)


def _pixels_of(event: Event) -> Pixels | None:
    """Return the picture that a sample is, if it can become smaller."""
    if not isinstance(event.value, np.ndarray):
        return None
    try:
        pixels = read_picture(event.value, event.metadata)
    except (NoPictureError, CorruptSampleError):
        return None  # metadata that make no sense are for the reader to refuse
    if not isinstance(pixels, Pixels) or pixels.encoding not in _CODED:
        return None
    return pixels if min(pixels.size) >= _SMALLEST_SIDE else None


def _code_picture(pixels: Pixels, event: Event, over_network: OverNetwork) -> Coded:
    array, metadata_json = pixels.array, event.metadata_json
    max_width = over_network.max_width
    if max_width is not None and pixels.size[0] > max_width:
        array = _narrowed(array, max_width)
        # Flat pixels have their shape in the metadata.
        metadata_json = _changed(event, {"width": array.shape[1], "height": array.shape[0]})
    is_flat = event.value.ndim == 1
    if over_network.compress is None:
        return _code_array(array.reshape(-1) if is_flat else array, metadata_json)
    # Only what asks for it needs OpenCV.
    import cv2

    if not over_network.decode:
        if pixels.encoding == "rgb8":
            array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
        sizes = {"width": array.shape[1], "height": array.shape[0]}
        metadata_json = _changed(event, {"encoding": "jpeg", **sizes})
    quality = [cv2.IMWRITE_JPEG_QUALITY, over_network.quality]
    is_done, content = cv2.imencode(".jpg", array, quality)
    assert is_done, "cv2 raises where it cannot"
    shape = (array.size,) if is_flat else array.shape
    if event.value.ndim == 3 and array.ndim == 2:
        shape = (*array.shape, 1)
    encoding = Encoding.JPEG if over_network.decode else Encoding.JPEG_BYTES
    return Coded(content.tobytes(), encoding, _dtype_of(array), shape, metadata_json)


def _changed(event: Event, values: Mapping[str, Any]) -> bytes:
    """Return the metadata with other values of the keys that they have already."""
    metadata = event.metadata
    changed = {key: value for key, value in values.items() if key in metadata}
    if not changed:
        return event.metadata_json
    try:
        return encode_metadata({**metadata, **changed})
    except UnsupportedValueError:
        return event.metadata_json  # at the limit of their size


def _decode_jpeg(head: Head, payload: bytes) -> Any:
    import cv2

    # Before memory is spent on what a stranger claims.
    size = read_size_of(io.BytesIO(payload))
    pixels = int(np.prod(head.shape, dtype=np.float64))
    if size is None or head.dtype != "|u1" or pixels not in (size[0] * size[1] * n for n in (1, 3)):
        raise WireError(f"a picture of {len(payload)} bytes is no JPEG of shape {head.shape}")
    try:
        check_size(*size)
        flag = cv2.IMREAD_GRAYSCALE if pixels == size[0] * size[1] else cv2.IMREAD_COLOR
        picture = cv2.imdecode(
            np.frombuffer(payload, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except (NoPictureError, cv2.error) as error:
        raise WireError(f"a picture of {len(payload)} bytes is no JPEG: {error}") from error
    if picture is None or picture.size != pixels:
        raise WireError(f"a picture of {len(payload)} bytes is no JPEG of shape {head.shape}")
    return picture.reshape(head.shape)


def _narrowed(picture: Any, max_width: int) -> Any:
    import cv2

    height, width = picture.shape[:2]
    size = max_width, max(round(height * max_width / width), 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _dtype_of(array: Any) -> str:
    return str(array.dtype.str)
