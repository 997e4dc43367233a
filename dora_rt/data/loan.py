"""`Loan`: a slot to write in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.data.header import HEADER_NBYTES
from dora_rt.data.sample import METADATA_LIMIT_NBYTES, check_loan
from dora_rt.data.stamp import Stamp

if TYPE_CHECKING:
    from dora_rt.data.publisher import Publisher

_ROOM_NBYTES = 4096  # for metadata that a loan inherits only: a telemetry context


class Loan:
    """A slot to write in place: an array that is sent when the block ends without an exception."""

    __slots__ = ("_array", "_dtype", "_place", "_publisher", "_room", "_shape", "_slot", "_stamp")

    def __init__(
        self,
        publisher: Publisher,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: Callable[[], Stamp],
        has_metadata: bool,
    ) -> None:
        check_loan(shape, dtype, publisher.where)
        self._publisher = publisher
        self._shape = shape
        # Readers get native arrays, so they are written as such.
        self._dtype = dtype.newbyteorder("=")
        self._stamp = stamp
        # The metadata are read when the block ends: it may have filled the dict meanwhile.
        self._room = METADATA_LIMIT_NBYTES if has_metadata else _ROOM_NBYTES

    def __enter__(self) -> NDArray[Any]:
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        self._slot, self._place = self._publisher.begin_loan(nbytes, self._room)
        place = self._place
        array: NDArray[Any] = np.ndarray(
            self._shape, self._dtype, place.buffer, place.offset + HEADER_NBYTES
        )
        self._array = array
        return array

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.send()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Give the slot back unsent."""
        self._array.flags.writeable = False
        self._publisher.cancel_loan(self._slot)

    def send(self) -> None:
        """Send the array; if that fails the slot is given back."""
        array = self._array
        # The name may live on after the block, and the slot is no longer the writer's.
        array.flags.writeable = False
        try:
            stamp = self._stamp()
        except BaseException:
            self._publisher.cancel_loan(self._slot)
            raise
        self._publisher.finish_loan(self._slot, self._place, array, stamp)
