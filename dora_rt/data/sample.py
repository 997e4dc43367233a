"""The header in front of every sample, version 1: 128 bytes, then the payload, then metadata.

| bytes | field | |
|---|---|---|
| 0 | seq | the sample's number at its output, from 0 |
| 8 | sent_ns | `time.monotonic_ns()` when it was published |
| 16 | source_ns | when this node captured or made it |
| 24 | origin_ns | `source_ns` of the sample at the start of the chain that led to this one |
| 32 | payload_nbytes | |
| 40 | metadata_nbytes | JSON in UTF-8, after the payload, at the next multiple of 8 |
| 44 | encoding | 0 bytes, 1 ndarray, 2 a stream in the IPC format of Arrow |
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
_LARGEST_EXTENT_NBYTES = 2**63 - 1
ENCODING_BYTES = 0
ENCODING_NDARRAY = 1
ENCODING_ARROW = 2

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(code) for code in ("?", *"bBhHiIlLqQ", *"efdg", *"FDG")
)
"""Every bool and numeric dtype; the place in this list is the code in the header."""

_BYTE = np.dtype(np.uint8)
_DTYPE_CODES = {dtype.char: code for code, dtype in enumerate(DTYPES)}
_HEADER = struct.Struct("@4QQIBBBB8Q")
_NO_SHAPE = (0,) * MAX_NDIM

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


def write_header(
    buffer: Buffer,
    offset: int,
    *,
    seq: int,
    times_ns: tuple[int, int, int],
    nbytes: tuple[int, int],
    array: tuple[int, tuple[int, ...]] | None,
    encoding: int,
) -> None:
    """Write a header.

    Args:
        buffer: the pool.
        offset: where the slot begins, in bytes.
        seq: the sample's number.
        times_ns: sent, source, origin.
        nbytes: of payload and metadata.
        array: dtype code and shape, or None for what is no ndarray.
        encoding: what the payload is.
    """
    code, shape = array if array is not None else (0, ())
    _HEADER.pack_into(
        buffer,
        offset,
        seq,
        *times_ns,
        *nbytes,
        encoding,
        code,
        len(shape),
        VERSION,
        *shape,
        *_NO_SHAPE[len(shape) :],
    )


class ReceivedHeader:
    """A header as it was found in a slot, checked against the slot's size."""

    __slots__ = (
        "dtype",
        "is_arrow",
        "metadata_json",
        "nbytes",
        "origin_ns",
        "payload_offset",
        "sent_ns",
        "seq",
        "shape",
    )

    def __init__(self, buffer: Buffer, offset: int, slot_nbytes: int) -> None:
        (
            self.seq,
            self.sent_ns,
            _source_ns,
            self.origin_ns,
            self.nbytes,
            metadata_nbytes,
            encoding,
            code,
            ndim,
            version,
            *shape,
        ) = _HEADER.unpack_from(buffer, offset)
        self.payload_offset = offset + HEADER_NBYTES
        metadata_offset = metadata_start(self.nbytes)
        if metadata_offset + metadata_nbytes > slot_nbytes or version != VERSION:
            raise CorruptSampleError(
                f"sample {self.seq} (header version {version}) claims {self.nbytes} bytes and "
                f"{metadata_nbytes} bytes of metadata in a slot of {slot_nbytes} bytes"
            )
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.is_arrow = encoding == ENCODING_ARROW
        if self.is_arrow:
            self.dtype, self.shape = _BYTE, (self.nbytes,)
        elif encoding != ENCODING_BYTES:
            self._read_array(encoding, code, ndim, shape)
        begin = offset + metadata_offset
        self.metadata_json = bytes(buffer[begin : begin + metadata_nbytes])

    def view(self, buffer: Buffer) -> NDArray[Any]:
        """View the payload in place as the array it was; one of Arrow as the bytes it is."""
        assert self.dtype is not None, "what was sent as bytes has no view"
        array: NDArray[Any] = np.ndarray(self.shape, self.dtype, buffer, self.payload_offset)
        return array

    def _read_array(self, encoding: int, code: int, ndim: int, shape: list[int]) -> None:
        if encoding != ENCODING_NDARRAY or code >= len(DTYPES) or ndim > MAX_NDIM:
            raise CorruptSampleError(
                f"sample {self.seq} has encoding {encoding}, dtype code {code}, {ndim} dimensions"
            )
        self.dtype = DTYPES[code]
        self.shape = tuple(shape[:ndim])
        # An array with nothing in it has strides all the same, and those must fit into a word.
        itemsize = self.dtype.itemsize
        if math.prod(self.shape) * itemsize != self.nbytes or (
            self.nbytes == 0
            and math.prod(length or 1 for length in self.shape) * itemsize > _LARGEST_EXTENT_NBYTES
        ):
            raise CorruptSampleError(
                f"sample {self.seq} claims shape {self.shape} of {self.dtype} "
                f"in {self.nbytes} bytes"
            )


def metadata_start(payload_nbytes: int) -> int:
    """Give the offset of the metadata from the start of the slot."""
    return HEADER_NBYTES + (payload_nbytes + 7) // 8 * 8


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
        encoded = json.dumps(metadata, default=_plain, separators=(",", ":")).encode()
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
