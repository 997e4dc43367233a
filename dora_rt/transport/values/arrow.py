"""pyarrow arrays as samples and back; imported only by processes that use them.

An array of plain numbers without nulls is sent as the ndarray that it is. Any other travels in
Arrow's IPC format, and its reader uses the buffers in it where they are.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import CorruptSampleError, ExtraMissingError, UnsupportedValueError

try:
    import pyarrow
except ImportError as error:
    raise ExtraMissingError(
        "arrays of Arrow need pyarrow, which is not installed: pip install 'dora_rt[arrow]'"
    ) from error

_NUMBERS = tuple(
    np.dtype(code) for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)
_NUMBER_IDS = {pyarrow.from_numpy_dtype(dtype).id for dtype in _NUMBERS}
# By character: numpy has two characters for some types (l and q), and they are of equal dtypes.
_TYPES = {code: pyarrow.from_numpy_dtype(np.dtype(code)) for code in "bBhHiIlLqQefd"}
_BYTE = pyarrow.uint8()
_SIZE = struct.Struct("=Q")
_SMALL_NBYTES = 256 * 1024  # up to here one more copy is cheaper than to count bytes first
_NOTHING = pyarrow.nulls(0)


class ArrowSample:
    """An array that cannot be sent as an ndarray, and the bytes that it takes.

    They begin with the size of a message with the schema, which follows, and then one with the
    values: the fastest way. Large arrays, and those with dictionaries, are a whole stream of
    messages instead, behind a size of 0, which is written without a copy in between.
    """

    __slots__ = ("_batch", "_messages", "array", "nbytes")

    nbytes: int

    def __init__(self, array: Any) -> None:
        self.array = array
        self._batch = pyarrow.RecordBatch.from_arrays([array], names=[""])
        schema = self._batch.schema.serialize().to_pybytes()
        self._messages: tuple[bytes, Any] | None = None
        if _nbytes_of(array) <= _SMALL_NBYTES and not _schema_of(schema).has_dictionary:
            values = self._batch.serialize()
            self._messages = schema, values
            self.nbytes = _values_start(len(schema)) + values.size
        else:
            counting = pyarrow.MockOutputStream()
            self._write_stream(counting)
            self.nbytes = _SIZE.size + counting.size()

    def __len__(self) -> int:
        return self.nbytes

    def write(self, buffer: memoryview) -> None:
        """Write it into memory of `nbytes`."""
        if self._messages is None:
            _SIZE.pack_into(buffer, 0, 0)
            rest = pyarrow.py_buffer(buffer[_SIZE.size :])
            self._write_stream(pyarrow.FixedSizeBufferWriter(rest))
            return
        schema, values = self._messages
        nbytes = len(schema)
        _SIZE.pack_into(buffer, 0, nbytes)
        buffer[_SIZE.size : _SIZE.size + nbytes] = schema
        # Arrow's buffers are of signed bytes.
        buffer[_values_start(nbytes) :] = memoryview(values).cast("B")

    def _write_stream(self, sink: Any) -> None:
        with pyarrow.ipc.new_stream(sink, self._batch.schema) as writer:
            writer.write_batch(self._batch)


class _Schema(NamedTuple):
    schema: Any
    has_dictionary: bool


@lru_cache(maxsize=64)
def _schema_of(message: bytes) -> _Schema:
    schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(message))
    return _Schema(schema, any(map(_has_dictionary, schema.types)))


def _has_dictionary(kind: Any) -> bool:
    if isinstance(kind, pyarrow.DictionaryType):
        return True
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    return any(_has_dictionary(kind.field(index).type) for index in range(kind.num_fields))


def _nbytes_of(array: Any) -> int:
    try:
        return int(array.nbytes)
    except pyarrow.ArrowTypeError:
        # Arrow before 26 cannot tell the part of its buffers that a string_view uses.
        return int(array.get_total_buffer_size())


def _values_start(schema_nbytes: int) -> int:
    return _SIZE.size + (schema_nbytes + 7 & -8)


def sendable_array(data: Any) -> NDArray[Any] | ArrowSample:
    """Return the form in which an array travels: plain numbers as they are, without a copy.

    Args:
        data: a pyarrow.Array, or whatever else has the method `__arrow_c_array__`.
    """
    array = data if isinstance(data, pyarrow.Array) else pyarrow.array(data)
    numbers = as_numbers(array)
    return ArrowSample(array) if numbers is None else numbers


def as_numbers(data: Any) -> NDArray[Any] | None:
    """Return the numbers of an array in place; None if it has anything else, or nulls."""
    if not isinstance(data, pyarrow.Array) or data.type.id not in _NUMBER_IDS or data.null_count:
        return None
    numbers: NDArray[Any] = data.to_numpy()
    return numbers


def decoded(payload: NDArray[Any]) -> Any:
    """Return the array that was written to `payload`; it refers to that memory.

    Raises:
        CorruptSampleError: there is none.
    """
    try:
        array = _read(payload)
        # Sizes only: to look at every offset would cost as much as to use it.
        array.validate()
    except (
        pyarrow.ArrowException,
        EOFError,
        IndexError,
        OSError,
        StopIteration,
        ValueError,
        struct.error,
    ) as error:
        raise CorruptSampleError(
            f"its {payload.nbytes} bytes are no array of Arrow: {error}"
        ) from error
    return array


def _read(payload: NDArray[Any]) -> Any:
    (schema_nbytes,) = _SIZE.unpack_from(payload.data)
    if _values_start(schema_nbytes) > payload.nbytes:
        raise ValueError(f"it claims {schema_nbytes} bytes of schema")
    buffer = pyarrow.py_buffer(payload)
    if not schema_nbytes:
        with pyarrow.ipc.open_stream(buffer.slice(_SIZE.size)) as reader:
            return reader.read_next_batch().column(0)
    message = payload[_SIZE.size : _SIZE.size + schema_nbytes].tobytes()
    values = buffer.slice(_values_start(schema_nbytes))
    return pyarrow.ipc.read_record_batch(values, _schema_of(message).schema).column(0)


def as_arrow(value: Any) -> Any:
    """Return a received value as the flat pyarrow.Array that dora's nodes expect, in place.

    Args:
        value: bytes, an ndarray, a pyarrow.Array, or None, as of the tick of a timer. Of bools a
            copy is made, since Arrow packs them; complex numbers become lists of two floats.

    Raises:
        UnsupportedValueError: Arrow has no such type.
    """
    if isinstance(value, np.ndarray):
        return _from_ndarray(value)
    if isinstance(value, bytes):
        return pyarrow.Array.from_buffers(_BYTE, len(value), [None, pyarrow.py_buffer(value)])
    return _NOTHING if value is None else value


def as_strings(*texts: str) -> Any:
    """Return strings as a pyarrow.Array."""
    return pyarrow.array(texts, pyarrow.string())


def _from_ndarray(array: NDArray[Any]) -> Any:
    kind = _TYPES.get(array.dtype.char)
    if kind is not None and array.flags.c_contiguous:
        return pyarrow.Array.from_buffers(kind, array.size, [None, pyarrow.py_buffer(array)])
    flat = array.reshape(-1)
    if array.dtype.char in "FD":
        parts = flat.view(np.float32 if array.dtype.char == "F" else np.float64)
        return pyarrow.FixedSizeListArray.from_arrays(_from_ndarray(parts), 2)
    try:
        return pyarrow.array(flat)
    except pyarrow.ArrowNotImplementedError as error:
        raise UnsupportedValueError(
            f"an array of dtype {array.dtype} has no form in Arrow; send float64 or complex128"
        ) from error
