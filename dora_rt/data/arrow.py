"""pyarrow arrays as samples and back; nobody imports this module who has nothing to do with them.

An array of plain numbers without nulls is sent as the ndarray that it is. Any other travels as a
stream in Arrow's IPC format, and its reader uses the buffers in it where they are.
"""

from __future__ import annotations

from typing import Any

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
_NOTHING = pyarrow.nulls(0)


class ArrowSample:
    """An array that cannot be sent as an ndarray, and the bytes that it takes."""

    __slots__ = ("_batch", "array", "nbytes")

    def __init__(self, array: Any) -> None:
        self.array = array
        self._batch = pyarrow.RecordBatch.from_arrays([array], names=[""])
        counting = pyarrow.MockOutputStream()
        self._write_to(counting)
        self.nbytes: int = counting.size()

    def __len__(self) -> int:
        return self.nbytes

    def write(self, buffer: memoryview) -> None:
        """Write it into memory of `nbytes`."""
        self._write_to(pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(buffer)))

    def _write_to(self, sink: Any) -> None:
        with pyarrow.ipc.new_stream(sink, self._batch.schema) as writer:
            writer.write_batch(self._batch)


def sendable_array(data: Any) -> NDArray[Any] | ArrowSample:
    """Give the form in which an array travels: plain numbers as they are, without a copy.

    Args:
        data: a pyarrow.Array, or whatever else has the method `__arrow_c_array__`.
    """
    array = data if isinstance(data, pyarrow.Array) else pyarrow.array(data)
    numbers = as_numbers(array)
    return ArrowSample(array) if numbers is None else numbers


def as_numbers(data: Any) -> NDArray[Any] | None:
    """Give the numbers of an array in place; None if it has anything else, or nulls."""
    if not isinstance(data, pyarrow.Array) or data.type.id not in _NUMBER_IDS or data.null_count:
        return None
    numbers: NDArray[Any] = data.to_numpy()
    return numbers


def decoded(payload: NDArray[Any]) -> Any:
    """Give the array that was written to `payload`; it refers to that memory.

    Raises:
        CorruptSampleError: there is none.
    """
    try:
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(payload)) as reader:
            array = reader.read_next_batch().column(0)
        # Sizes only: to look at every offset would cost as much as to use it.
        array.validate()
    except (pyarrow.ArrowException, ValueError, OSError, StopIteration, IndexError) as error:
        raise CorruptSampleError(
            f"its {payload.nbytes} bytes are no array of Arrow: {error}"
        ) from error
    return array


def as_arrow(value: Any) -> Any:
    """Give what was received as the flat pyarrow.Array that dora's nodes expect, in place.

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
