"""The header in front of every sample, version 1: 128 bytes, then the payload, then metadata.

| bytes | field | |
|---|---|---|
| 0 | seq | the sample's number at its output, from 0 |
| 8 | sent_ns | `time.monotonic_ns()` when it was published |
| 16 | source_ns | when this node captured or made it |
| 24 | origin_ns | `source_ns` of the sample at the start of the chain that led to this one |
| 32 | payload_nbytes | |
| 40 | metadata_nbytes | JSON in UTF-8, after the payload, at the next multiple of 8 |
| 44 | encoding | 0 bytes, 1 ndarray, 2 messages in the IPC format of Arrow |
| 45 | dtype | index into `DTYPES` |
| 46 | ndim | at most 8 |
| 47 | version | 1 |
| 48 | shape | 8 words |

All in native byte order, on one machine. A reader treats every field as untrusted.
"""

from __future__ import annotations

import json
import math
import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.data.times import encoded_time
from dora_rt.errors import CorruptSampleError, UnsupportedValueError

if TYPE_CHECKING:
    from dora_rt.data.arrow import ArrowSample

HEADER_NBYTES = 128
METADATA_LIMIT_NBYTES = 64 * 1024
VERSION = 1
MAX_NDIM = 8
_MOST_ITEMS = (2**63 - 1) // 32  # of an array of the largest dtype
ENCODING_BYTES = 0
ENCODING_NDARRAY = 1
ENCODING_ARROW = 2

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(code) for code in ("?", *"bBhHiIlLqQ", *"efdg", *"FDG")
)
"""Every bool and numeric dtype; the place in this list is the code in the header."""

ARROW: tuple[np.dtype[Any], tuple[int, ...]] = (np.dtype(np.uint8), ())
"""What `read_header` gives for an array of Arrow: so many bytes as the payload has."""

_DTYPE_CODES = {dtype.char: code for code, dtype in enumerate(DTYPES)}
_FIXED = struct.Struct("@4QQIBBBB")
# By the number of dimensions: words of the shape that nobody reads are not written either.
_HEADERS = tuple(struct.Struct(f"@4QQIBBBB{ndim}Q") for ndim in range(MAX_NDIM + 1))
_SHAPES = tuple(struct.Struct(f"@{ndim}Q") for ndim in range(MAX_NDIM + 1))

Buffer = Any  # an mmap, or a memoryview: whatever struct and numpy can write into


def is_sendable_dtype(dtype: np.dtype[Any]) -> bool:
    """Tell whether arrays of this dtype can be sent: bool and numeric ones can."""
    return dtype.char in _DTYPE_CODES


def dtype_code(dtype: np.dtype[Any]) -> int:
    """Give the header's code for a dtype that can be sent."""
    return _DTYPE_CODES[dtype.char]


def sendable(data: Any, where: str) -> NDArray[Any] | bytes | bytearray | memoryview | ArrowSample:
    """Check that a value can be sent, before anything is reserved for it.

    Raises:
        UnsupportedValueError: it is neither bytes nor a bool or numeric array, nor one of Arrow;
            names `where`.
    """
    # First what nearly everything is.
    if type(data) is bytes or (
        type(data) is np.ndarray and data.dtype.char in _DTYPE_CODES and data.ndim <= MAX_NDIM
    ):
        return data
    if isinstance(data, np.ma.MaskedArray):
        raise UnsupportedValueError(
            f"{where}: a masked array would lose its mask; send array.filled(...)"
        )
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        if not is_sendable_dtype(array.dtype) or array.ndim > MAX_NDIM:
            raise UnsupportedValueError(
                f"{where}: an array of {array.ndim} dimensions and dtype {array.dtype} cannot be "
                f"sent; a bool, integer, float or complex one of at most {MAX_NDIM} can"
            )
        return array
    if isinstance(data, (bytes, bytearray)):
        return data
    if isinstance(data, memoryview):
        return data.cast("B") if data.c_contiguous and data.nbytes else data.tobytes()
    if hasattr(data, "__arrow_c_array__"):
        # Only who has one in hand has imported pyarrow, or something like it.
        from dora_rt.data.arrow import sendable_array

        return sendable_array(data)
    raise UnsupportedValueError(
        f"{where}: a value of type {type(data).__name__} cannot be sent; send bytes, bytearray, "
        "memoryview, a pyarrow array or a numpy array (np.asarray(...) makes one of a list)"
    )


def check_loan(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Check that an array to be filled in place can be sent.

    Raises:
        UnsupportedValueError: it cannot, for its dtype or its number of dimensions.
        ValueError: there is no such shape. Both name `where`.
    """
    if not is_sendable_dtype(dtype) or len(shape) > MAX_NDIM:
        raise UnsupportedValueError(
            f"{where}: an array of {len(shape)} dimensions and dtype {dtype} cannot be loaned; a "
            f"bool, integer, float or complex one of at most {MAX_NDIM} can"
        )
    if min(shape, default=0) < 0:
        raise ValueError(f"{where}: a loan of shape {shape} is not possible")


def write_header(
    buffer: Buffer,
    offset: int,
    seq_and_times_ns: tuple[int, int, int, int],
    payload_nbytes: int,
    metadata_nbytes: int,
    array: tuple[int, tuple[int, ...]] | None,
    encoding: int,
) -> None:
    """Write a header.

    Args:
        buffer: the pool.
        offset: where the slot begins, in bytes.
        seq_and_times_ns: the sample's number; when it was sent, its source time, its origin.
        payload_nbytes: size of the payload.
        metadata_nbytes: size of the metadata.
        array: dtype code and shape, or None for what is no ndarray.
        encoding: of what is no ndarray.
    """
    if array is None:
        _FIXED.pack_into(
            buffer,
            offset,
            *seq_and_times_ns,
            payload_nbytes,
            metadata_nbytes,
            encoding,
            0,
            0,
            VERSION,
        )
        return
    code, shape = array
    _HEADERS[len(shape)].pack_into(
        buffer,
        offset,
        *seq_and_times_ns,
        payload_nbytes,
        metadata_nbytes,
        ENCODING_NDARRAY,
        code,
        len(shape),
        VERSION,
        *shape,
    )


def read_header(
    buffer: Buffer, offset: int, slot_nbytes: int
) -> tuple[int, int, int, int, tuple[np.dtype[Any], tuple[int, ...]] | None, bytes]:
    """Read a header as it is found in a slot, and check it against the slot's size.

    Returns:
        The sample's number, when it was sent, its origin, the size of its payload (which begins
        `HEADER_NBYTES` behind `offset`), dtype and shape, or ARROW, or None for bytes, and the
        metadata.

    Raises:
        CorruptSampleError: the header makes no sense.
    """
    (
        seq,
        sent_ns,
        _source_ns,
        origin_ns,
        nbytes,
        metadata_nbytes,
        encoding,
        code,
        ndim,
        version,
    ) = _FIXED.unpack_from(buffer, offset)
    metadata_offset = HEADER_NBYTES + (nbytes + 7 & -8)
    if metadata_offset + metadata_nbytes > slot_nbytes or version != VERSION:
        raise CorruptSampleError(
            f"sample {seq} (header version {version}) claims {nbytes} bytes and "
            f"{metadata_nbytes} bytes of metadata in a slot of {slot_nbytes} bytes"
        )
    array_type = None
    if encoding == ENCODING_ARROW:
        array_type = ARROW
    elif encoding != ENCODING_BYTES:
        if encoding != ENCODING_NDARRAY or code >= len(DTYPES) or ndim > MAX_NDIM:
            raise CorruptSampleError(
                f"sample {seq} has encoding {encoding}, dtype code {code}, {ndim} dimensions"
            )
        dtype, shape = DTYPES[code], _SHAPES[ndim].unpack_from(buffer, offset + _FIXED.size)
        if math.prod(shape) * dtype.itemsize != nbytes or (not nbytes and not _has_strides(shape)):
            raise CorruptSampleError(
                f"sample {seq} claims shape {shape} of {dtype} in {nbytes} bytes"
            )
        array_type = dtype, shape
    metadata_json = b""
    if metadata_nbytes:
        begin = offset + metadata_offset
        metadata_json = bytes(buffer[begin : begin + metadata_nbytes])
    return seq, sent_ns, origin_ns, nbytes, array_type, metadata_json


def _has_strides(shape: tuple[int, ...]) -> bool:
    # An array with nothing in it has strides all the same, and those must fit into a word.
    return math.prod(length or 1 for length in shape) <= _MOST_ITEMS


def metadata_start(payload_nbytes: int) -> int:
    """Give the offset of the metadata from the start of the slot."""
    return HEADER_NBYTES + (payload_nbytes + 7 & -8)


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """Write metadata as JSON; numpy scalars and arrays become plain numbers and lists.

    Raises:
        UnsupportedValueError: a key is not a string, a value has no JSON form, or it is too large.
    """
    for key in metadata:
        if not isinstance(key, str):
            raise UnsupportedValueError(
                f"metadata key {key!r} is of type {type(key).__name__}: keys must be strings"
            )
    try:
        encoded = _ENCODER.encode(metadata).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedValueError(
            f"metadata cannot be sent: {error}; use strings, numbers, bools, None, datetimes, "
            "lists and dicts"
        ) from error
    if len(encoded) > METADATA_LIMIT_NBYTES:
        raise UnsupportedValueError(
            f"metadata of {len(encoded):,} bytes is too large: at most {METADATA_LIMIT_NBYTES:,} "
            "bytes; send larger things as an output of their own"
        )
    return encoded


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, datetime):
        return encoded_time(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))
