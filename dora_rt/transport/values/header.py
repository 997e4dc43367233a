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

All in native byte order, on one machine. A reader treats every field as untrusted. The first four
are new in every sample; the rest, the *description*, mostly stays the same from one to the next, so
a writer makes its bytes once, and a reader checks them once.
"""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import numpy as np

from dora_rt.compiled import HeaderReaderCore
from dora_rt.errors import CorruptSampleError

HEADER_NBYTES = 128
VERSION = 1
MAX_NDIM = 8
_MOST_NBYTES = sys.maxsize
ENCODING_BYTES = 0
ENCODING_NDARRAY = 1
ENCODING_ARROW = 2

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(code) for code in ("?", *"bBhHiIlLqQ", *"efdg", *"FDG")
)
"""Every bool and numeric dtype; the place in this list is the code in the header."""

ArrayType = tuple[np.dtype[Any], tuple[int, ...]]
"""Dtype and shape."""

_BYTE = np.dtype(np.uint8)
Buffer = Any  # an mmap, or a memoryview: whatever struct and numpy can write into

Header = tuple[int, int, int, int, int, ArrayType | None, bytes]
"""The sample's number, when it was sent, its origin, the size of its payload (which begins
`HEADER_NBYTES` behind the header) and its encoding, dtype and shape (of the messages of Arrow: so
many bytes; None for bytes), and the metadata.
"""

_DTYPE_CODES = {dtype.char: code for code, dtype in enumerate(DTYPES)}
SENDABLE_CHARS = frozenset(_DTYPE_CODES)
"""`dtype.char` of all that can be sent."""

_NUMBER_AND_TIMES = struct.Struct("@4Q")
_FIXED = struct.Struct("@QIBBBB")
# By the number of dimensions: unused words of the shape are not written.
_DESCRIPTIONS = tuple(struct.Struct(f"@QIBBBB{ndim}Q") for ndim in range(MAX_NDIM + 1))
_SHAPES = tuple(struct.Struct(f"@{ndim}Q") for ndim in range(MAX_NDIM + 1))

DESCRIPTION_OFFSET = _NUMBER_AND_TIMES.size
write_number_and_times = _NUMBER_AND_TIMES.pack_into
"""`(buffer, offset, seq, sent_ns, source_ns, origin_ns)`."""
read_number_and_times = _NUMBER_AND_TIMES.unpack_from
"""`(buffer, offset)` to `(seq, sent_ns, source_ns, origin_ns)`."""


def is_sendable_dtype(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of this dtype can be sent: bool and numeric ones can."""
    return dtype.char in SENDABLE_CHARS


def metadata_start(payload_nbytes: int) -> int:
    """Return the offset of the metadata from the start of the header."""
    return HEADER_NBYTES + (payload_nbytes + 7 & -8)


def describe(payload_nbytes: int, metadata_nbytes: int, encoding: int = ENCODING_BYTES) -> bytes:
    """Return the description of a sample that is no ndarray; it goes to `DESCRIPTION_OFFSET`."""
    return _FIXED.pack(payload_nbytes, metadata_nbytes, encoding, 0, 0, VERSION)


def describe_array(
    dtype: np.dtype[Any], shape: tuple[int, ...], payload_nbytes: int, metadata_nbytes: int
) -> bytes:
    """Return the description of a sample that is an ndarray of a dtype that can be sent."""
    return _DESCRIPTIONS[len(shape)].pack(
        payload_nbytes,
        metadata_nbytes,
        ENCODING_NDARRAY,
        _DTYPE_CODES[dtype.char],
        len(shape),
        VERSION,
        *shape,
    )


def read_header(buffer: Buffer, offset: int, slot_nbytes: int) -> Header:
    """Read a header as it is found in a slot, and check it against the slot's size.

    Raises:
        CorruptSampleError: the header makes no sense.
    """
    seq, sent_ns, _source_ns, origin_ns = read_number_and_times(buffer, offset)
    nbytes, metadata_nbytes, encoding, code, ndim, version = _FIXED.unpack_from(
        buffer, offset + DESCRIPTION_OFFSET
    )
    begin = metadata_start(nbytes)
    if begin + metadata_nbytes > slot_nbytes or version != VERSION:
        raise CorruptSampleError(
            f"sample {seq} (header version {version}) claims {nbytes} bytes and "
            f"{metadata_nbytes} bytes of metadata in a slot of {slot_nbytes} bytes"
        )
    array_type = None
    if encoding == ENCODING_ARROW:
        array_type = _BYTE, (nbytes,)
    elif encoding != ENCODING_BYTES:
        if encoding != ENCODING_NDARRAY or code >= len(DTYPES) or ndim > MAX_NDIM:
            raise CorruptSampleError(
                f"sample {seq} has encoding {encoding}, dtype code {code}, {ndim} dimensions"
            )
        shape_offset = offset + DESCRIPTION_OFFSET + _FIXED.size
        dtype, shape = DTYPES[code], _SHAPES[ndim].unpack_from(buffer, shape_offset)
        if math.prod(shape) * dtype.itemsize != nbytes or (
            not nbytes and not has_strides(shape, dtype)
        ):
            raise CorruptSampleError(
                f"sample {seq} claims shape {shape} of {dtype} in {nbytes} bytes"
            )
        array_type = dtype, shape
    metadata_json = b""
    if metadata_nbytes:
        begin += offset
        metadata_json = bytes(buffer[begin : begin + metadata_nbytes])
    return seq, sent_ns, origin_ns, nbytes, encoding, array_type, metadata_json


class HeaderReader(HeaderReaderCore):
    """Reads the headers of one input; a description like the one before is not checked again."""

    def __init__(self) -> None:
        self._description = b"?"  # like none that there is
        self._description_end = 0
        self._nbytes = self._encoding = 0
        self._array_type: ArrayType | None = None
        self._metadata_begin = self._end = 0

    def read(self, buffer: Buffer, offset: int, slot_nbytes: int) -> Header:
        """Read and check a header, as `read_header` does.

        Raises:
            CorruptSampleError: the header makes no sense.
        """
        description = buffer[offset + DESCRIPTION_OFFSET : offset + self._description_end]
        if description != self._description or self._end > slot_nbytes:
            return self._read_new(buffer, offset, slot_nbytes)
        seq, sent_ns, _source_ns, origin_ns = read_number_and_times(buffer, offset)
        metadata_json = b""
        if self._metadata_begin:
            metadata_json = bytes(buffer[offset + self._metadata_begin : offset + self._end])
        return (
            seq,
            sent_ns,
            origin_ns,
            self._nbytes,
            self._encoding,
            self._array_type,
            metadata_json,
        )

    def _read_new(self, buffer: Buffer, offset: int, slot_nbytes: int) -> Header:
        header = read_header(buffer, offset, slot_nbytes)
        _, _, _, nbytes, encoding, array_type, metadata_json = header
        # Made anew and not copied: the checked bytes are the known ones, even if memory changes.
        if array_type is None or encoding == ENCODING_ARROW:
            description = describe(nbytes, len(metadata_json), encoding)
        else:
            dtype, shape = array_type
            description = describe_array(dtype, shape, nbytes, len(metadata_json))
        # Nothing is known while only part of it is noted: an exception may come in between.
        self._description = b"?"
        self._description_end = DESCRIPTION_OFFSET + len(description)
        self._nbytes, self._encoding, self._array_type = nbytes, encoding, array_type
        begin = metadata_start(nbytes)
        self._metadata_begin = begin if metadata_json else 0
        self._end = begin + len(metadata_json)
        self._description = description
        return header


def has_strides(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether numpy can make an array of this shape.

    Also one with nothing in it has strides, and those must fit into a word.
    """
    items = math.prod(shape) or math.prod(length or 1 for length in shape)
    return items * dtype.itemsize <= _MOST_NBYTES
