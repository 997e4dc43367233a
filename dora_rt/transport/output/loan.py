"""`Loan`: a slot to write in place, and which slots of an output are loaned."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dora_rt.compiled import (
    IS_COMPILED,
    LoanBookCore,
    LoanCore,
    _cores,
    prefer_compiled,
    prefer_compiled_function,
    slots,
)
from dora_rt.errors import LoanError, UnsupportedValueError
from dora_rt.transport.output.origin import Origins, Stamp, make_stamp
from dora_rt.transport.primitives import forks
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.ring.pool import SlotMemory
from dora_rt.transport.values.header import HEADER_NBYTES, MAX_NDIM, is_sendable_dtype
from dora_rt.transport.values.sendable import METADATA_LIMIT_NBYTES, check_loan

_ROOM_NBYTES = 4096  # for metadata that a loan inherits only: a telemetry context


BYTE = np.dtype(np.uint8)

# One loan of a slot, distinct from all others of it, alive while its array can be written.
Watch = weakref.ref["NDArray[Any]"]


class LoanBook(LoanBookCore):
    """Which slots of an output are loaned. One whose loan is forgotten comes back by itself.

    A loan may be forgotten at any moment in any thread, also in the middle of a send: then it is
    only put on a list, at which the publisher looks when it needs a slot.
    """

    def __init__(self, loaned: set[int]) -> None:
        """Begin without loans."""
        self._loaned = loaned
        self._watches: dict[int, Watch] = {}
        self._abandoned: deque[Watch] = deque()

    def begin(self, slot: int) -> None:
        """Note that a slot is loaned; with the lock of the output."""
        self._watches.pop(slot, None)  # of the loan before
        if self._abandoned:
            self.collect()  # else each loan that is given up would stay on the list
        self._loaned.add(slot)

    def watch(self, slot: int, array: NDArray[Any]) -> Watch:
        """Free a loaned slot as soon as its array is unreachable; return what watches that."""
        # Every view of the array keeps the array itself alive. The callback has no step in Python,
        # in which an exception out of a signal handler could get lost, and the slot with it.
        watch = weakref.ref(array, self._abandoned.append)
        self._watches[slot] = watch
        return watch

    def end(self, slot: int) -> None:
        """Note that a loan is sent; with the lock of the output."""
        self._loaned.discard(slot)
        self._watches.pop(slot, None)

    def abandon(self, watch: Watch) -> None:
        """Let a slot come back later, unless that loan of it was ended before."""
        self._abandoned.append(watch)

    def collect(self) -> None:
        """Take the slots of loans that were given up for loaned no more."""
        while self._abandoned:
            watch = self._abandoned[0]
            # An exception out of a signal handler may have come before it was noted here; and
            # another thread may begin to watch meanwhile.
            for slot, of_slot in list(self._watches.items()):
                if of_slot is watch:
                    self._loaned.discard(slot)
            self._abandoned.popleft()


class Lender(Protocol):
    """The output that a loan is of: a `Publisher`, or one of a `FakeNode`."""

    where: str
    loans: LoanBook

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, SlotMemory]:
        """Take a slot with room for a payload and its metadata."""

    def finish_loan(self, slot: int, place: SlotMemory, array: NDArray[Any], stamp: Stamp) -> None:
        """Publish a loaned slot; if that fails the slot is given back."""

    def cancel_loan(self, slot: int) -> None:
        """Give a loaned slot back unsent."""


class _State(Enum):
    PREPARED = "its block has not begun"
    OPEN = "it is being written"
    SENT = "it was sent already"
    CANCELLED = "it was given up"


# An enum's member costs a look into its class each time.
PREPARED, OPEN, SENT, CANCELLED = _State.PREPARED, _State.OPEN, _State.SENT, _State.CANCELLED


@prefer_compiled
class Loan(LoanCore):
    """An array in shared memory to write in place; `Node.loan` makes it.

    `with node.loan(...) as array:` gives an uninitialised array in C order and native byte order,
    and sends it when the block ends without an exception. After the block the array is read-only.
    A loan is for one block, and for one sample at most: for another one, make another loan.

    The beginning of the block raises:
        TooManyLoansError: more loans of this output are open than it has slots for.
        SharedMemoryFullError: /dev/shm has no room for the array.
        SharedMemoryError: an object of a reader cannot be made or mapped.
        LoanError: the loan was used before.
        NodeClosedError: the node is closed, or this process is a fork of it.

    Its end raises what `send` raises.
    """

    __slots__ = slots(
        "_array",
        "_beginnings",
        "_dtype",
        "_endings",
        "_held",
        "_publisher",
        "_room",
        "_shape",
        "_stamp",
        "_state",
        "_watch",
    )

    def __init__(
        self,
        publisher: Lender,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: Callable[[], Stamp],
        has_metadata: bool,
    ) -> None:
        """Prepare it; the slot is taken when the block begins.

        Raises:
            UnsupportedValueError: there are no such arrays of this dtype, or of so many dimensions.
            TypeError, ValueError: there is no such shape.
        """
        self._shape = check_loan(shape, dtype, publisher.where)
        self._publisher = publisher
        # Readers get native arrays, so they are written as such.
        self._dtype = dtype if dtype.isnative else dtype.newbyteorder("=")
        self._stamp = stamp
        # The metadata are read when the block ends: it may have filled the dict meanwhile.
        self._room = METADATA_LIMIT_NBYTES if has_metadata else _ROOM_NBYTES
        self._state = PREPARED
        self._beginnings = [True]
        self._endings = [True]
        self._held: list[tuple[int, SlotMemory]] = []
        self._array: NDArray[Any] | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> NDArray[Any]:
        publisher = self._publisher
        if forks.is_forked:
            forks.refuse(publisher.where, "send")
        if not self._begin():
            raise self._misused("begun")
        held: list[tuple[int, SlotMemory]] = []
        self._held = held
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        try:
            # Claimed and noted in one step, between whose parts no signal handler runs: what is
            # claimed is given back by this method, or the watch knows of it.
            held.extend(map(publisher.begin_loan, (nbytes,), (self._room,)))
            slot, memory = held[0]
            array: NDArray[Any] = np.ndarray(
                self._shape, self._dtype, memory.buffer, memory.offset + HEADER_NBYTES
            )
            self._array = array
            self._watch = publisher.loans.watch(slot, array)
            self._state = OPEN
            return array
        except BaseException:
            self._state = CANCELLED
            self._array = None
            for slot, _ in held:
                publisher.cancel_loan(slot)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state is not OPEN:
            return  # the block has ended it
        if kind is None:
            self.send()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Give the memory back unsent; the block then ends without sending.

        A second time, and in a fork, it does nothing.

        Raises:
            LoanError: it was sent.
        """
        if forks.is_forked:
            return  # the loan is the parent's
        if self._state is SENT:
            raise self._misused("given up")
        if self._state is PREPARED:
            self._begin()
            self._state = CANCELLED
            return
        if not self._end():
            return
        self._state = CANCELLED
        self._let_go()
        self._publisher.cancel_loan(self._held[0][0])

    def send(self) -> None:
        """Send the array before the block ends; if that fails the memory is given back.

        Raises:
            LoanError: the block has not begun, or the loan was sent or given up before.
            UnsupportedValueError: metadata or `captured_ns` cannot be sent, or what the block has
                made of the dtype, shape or strides of the array.
            NodeClosedError: the node is closed, or this process is a fork of it.
            SharedMemoryFullError: /dev/shm has no room for an object of a reader.
            SharedMemoryError: an object of a reader cannot be made or mapped.
            DoraRtError: a signal handler or a destructor sends in the middle of a send.
            TimeoutError: a blocking reader had no room in time; nothing was sent to any reader.
        """
        publisher = self._publisher
        if forks.is_forked:
            forks.refuse(publisher.where, "send")
        if self._state is not OPEN:
            raise self._misused("sent")
        if not self._end():
            raise self._misused("sent")
        self._state = SENT
        array = self._let_go()
        slot, memory = self._held[0]
        try:
            self._check_form(array)
            stamp = self._stamp()
        except BaseException:
            self._state = CANCELLED
            publisher.cancel_loan(slot)
            raise
        try:
            publisher.finish_loan(slot, memory, array, stamp)
            self._watch = None  # as long as there is the array, of whose end nobody need hear
        except BaseException:
            self._state = CANCELLED
            # It has given the slot back, unless it was broken off before it began: the book knows.
            if self._watch is not None:
                publisher.loans.abandon(self._watch)
            raise

    def _begin(self) -> bool:
        # To take from a list is one step, which one thread does, once.
        try:
            self._beginnings.pop()
        except IndexError:
            return False
        return True

    def _end(self) -> bool:
        try:
            self._endings.pop()
        except IndexError:
            return False
        return True

    def _let_go(self) -> NDArray[Any]:
        array, self._array = self._array, None
        assert array is not None, "an open loan has an array"
        # The name may live on after the block, and the slot is no longer the writer's.
        array.flags.writeable = False
        return array

    def _check_form(self, array: NDArray[Any]) -> None:
        """Refuse what the block has made of the array, if it cannot be sent as it lies there."""
        dtype = array.dtype
        if dtype is self._dtype and array.shape == self._shape and array.flags.c_contiguous:
            return
        if (
            not is_sendable_dtype(dtype)
            or not dtype.isnative
            or array.ndim > MAX_NDIM
            or not array.flags.c_contiguous
        ):
            raise UnsupportedValueError(
                f"{self._publisher.where}: a loan of {self._dtype} {self._shape} was made an array "
                f"of {array.dtype.str} {array.shape} in its block, which cannot be sent as it lies "
                "in memory; write into the array, and leave its dtype, shape and strides alone"
            )

    def _misused(self, what: str) -> LoanError:
        return LoanError(
            f"{self._publisher.where}: a loan cannot be {what}: {self._state.value}; each loan() "
            "is for one `with` block, and for one sample"
        )


@prefer_compiled_function
def make_loan(
    publisher: Lender,
    origins: Origins,
    shape: int | tuple[int, ...],
    dtype: DTypeLike,
    metadata: dict[str, Any] | None,
    captured_ns: int | None,
    timeout: float | None,
) -> Loan:
    """Prepare a loan whose stamp is made, of the metadata as they are then, when it is sent.

    Raises:
        UnsupportedValueError, TypeError, ValueError: as `Node.loan`.
    """

    def stamp() -> Stamp:
        deadline_ns = deadline_after(timeout)
        return make_stamp(origins, publisher.where, metadata, captured_ns, deadline_ns)

    return Loan(
        publisher,
        (shape,) if isinstance(shape, int) else tuple(shape),
        BYTE if isinstance(dtype, str) and dtype == "uint8" else np.dtype(dtype),
        stamp,
        metadata is not None,
    )


if IS_COMPILED:
    _cores.use_numpy(np.ndarray, np.dtype)
    _cores.use_loans((PREPARED, OPEN, SENT, CANCELLED), globals())
