"""Values and metadata that can be sent as a sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import UnsupportedValueError
from dora_rt.metadata import encoded_time
from dora_rt.transport.values.header import MAX_NDIM, SENDABLE_CHARS, has_strides, is_sendable_dtype

if TYPE_CHECKING:
    from dora_rt.transport.values.arrow import ArrowSample

METADATA_LIMIT_NBYTES = 64 * 1024


def sendable(data: Any, where: str) -> NDArray[Any] | bytes | bytearray | memoryview | ArrowSample:
    """Check that a value can be sent, before anything is reserved for it.

    Raises:
        UnsupportedValueError: it is neither bytes nor a bool or numeric array, nor one of Arrow;
            names `where`.
    """
    # The most common case first.
    if type(data) is bytes or (
        type(data) is np.ndarray and data.dtype.char in SENDABLE_CHARS and data.ndim <= MAX_NDIM
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
        # A caller that has one has imported pyarrow, or something like it.
        from dora_rt.transport.values.arrow import sendable_array

        return sendable_array(data)
    raise UnsupportedValueError(
        f"{where}: a value of type {type(data).__name__} cannot be sent; send bytes, bytearray, "
        "memoryview, a pyarrow array or a numpy array (np.asarray(...) makes one of a list)"
    )


def check_loan(shape: Sequence[SupportsIndex], dtype: np.dtype[Any], where: str) -> tuple[int, ...]:
    """Check that an array to be filled in place can be sent, and return its shape as plain numbers.

    Raises:
        UnsupportedValueError: it cannot, for its dtype or its number of dimensions.
        ValueError, TypeError: there is no such shape. All name `where`.
    """
    if not is_sendable_dtype(dtype) or len(shape) > MAX_NDIM:
        raise UnsupportedValueError(
            f"{where}: an array of {len(shape)} dimensions and dtype {dtype} cannot be loaned; a "
            f"bool, integer, float or complex one of at most {MAX_NDIM} can"
        )
    try:
        # Numbers of numpy would overflow in silence when they are multiplied.
        lengths = tuple(map(index, shape))
    except TypeError as error:
        raise TypeError(f"{where}: a loan of shape {shape} is not possible: {error}") from error
    if min(lengths, default=0) < 0 or not has_strides(lengths, dtype):
        raise ValueError(f"{where}: a loan of shape {shape} and dtype {dtype} is not possible")
    return lengths


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
