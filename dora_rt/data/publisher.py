"""`Publisher`: one output of a node, and all its edges."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.contract import OutputConfig
from dora_rt.data import names, ring
from dora_rt.data.board import Board
from dora_rt.data.pool import Place, PoolWriter
from dora_rt.data.reader_end import ReaderEnd
from dora_rt.data.ring_writer import RingWriter
from dora_rt.data.sample import (
    ENCODING_ARROW,
    ENCODING_BYTES,
    ENCODING_NDARRAY,
    HEADER_NBYTES,
    MAX_NDIM,
    METADATA_LIMIT_NBYTES,
    dtype_code,
    is_sendable_dtype,
    metadata_start,
    write_header,
)
from dora_rt.data.shm import attach_words
from dora_rt.data.stamp import Stamp
from dora_rt.errors import (
    DoraRtError,
    NodeClosedError,
    TooManyLoansError,
    UnsupportedValueError,
)

if TYPE_CHECKING:
    from dora_rt.data.arrow import ArrowSample

_ROOM_NBYTES = 4096  # for metadata that a loan inherits only: a telemetry context


class Publisher:
    """One output and all its edges. Threads may send at the same time."""

    def __init__(self, run: str, node: str, config: OutputConfig, board: Board) -> None:
        """Attach to what the launcher made."""
        self.where = f"node {node!r}, output {config.id!r}"
        self._words = attach_words(
            names.output(run, config.number, config.generation),
            lambda words, name: ring.check_output(words, config.slots, len(config.edges), name),
            writable=True,
        )
        self._ends = [ReaderEnd(run, edge, board) for edge in config.edges]
        self._ring = RingWriter(self._words, config.slots, [end.edge for end in self._ends])
        for end in self._ends:
            end.meet(self._ring)
        self._pool = PoolWriter(run, config)
        self._lock = threading.Lock()
        self._owner = 0
        self._is_closed = False

    def send_bytes(self, data: bytes | bytearray | memoryview, stamp: Stamp) -> None:
        """Copy bytes into a slot and publish it."""
        nbytes = len(data)
        with self._sending():
            slot = self._claim()
            try:
                place = self._pool.place(slot, _needed(nbytes, len(stamp.metadata_json)))
                begin = place.offset + HEADER_NBYTES
                place.buffer[begin : begin + nbytes] = data
                self._complete(place, nbytes, None, stamp, ENCODING_BYTES)
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._ring.publish(slot, place.growth)

    def send_array(self, array: NDArray[Any], stamp: Stamp) -> None:
        """Copy an array of any layout into a slot, in C order, and publish it."""
        code = dtype_code(array.dtype)
        with self._sending():
            slot = self._claim()
            try:
                place = self._pool.place(slot, _needed(array.nbytes, len(stamp.metadata_json)))
                # Not array.dtype itself: that may be big-endian.
                target: NDArray[Any] = np.ndarray(
                    array.shape,
                    array.dtype.newbyteorder("="),
                    place.buffer,
                    place.offset + HEADER_NBYTES,
                )
                np.copyto(target, array)
                self._complete(place, array.nbytes, (code, array.shape), stamp, ENCODING_NDARRAY)
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._ring.publish(slot, place.growth)

    def send_arrow(self, sample: ArrowSample, stamp: Stamp) -> None:
        """Write an array of Arrow into a slot and publish it."""
        nbytes = sample.nbytes
        with self._sending():
            slot = self._claim()
            try:
                place = self._pool.place(slot, _needed(nbytes, len(stamp.metadata_json)))
                begin = place.offset + HEADER_NBYTES
                sample.write(memoryview(place.buffer)[begin : begin + nbytes])
                self._complete(place, nbytes, None, stamp, ENCODING_ARROW)
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._ring.publish(slot, place.growth)

    def loan(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: Callable[[], Stamp],
        *,
        has_metadata: bool,
    ) -> Loan:
        """Prepare a loan; the slot is taken when its block begins."""
        return Loan(self, shape, dtype, stamp, has_metadata)

    def close(self, closing: int = ring.CLOSED) -> None:
        """Publish no more, and tell the readers; what they have not read yet stays readable.

        Args:
            closing: CLOSED because this process ends, or CLOSED_FOR_GOOD.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for end in self._ends:
            # A thread that waits for room on this edge looks up, sees the flag and gives up.
            end.edge.returned.release()
        if self._owner == threading.get_ident():
            # A signal handler or a destructor in the middle of a send of this very thread.
            self._say_closed(closing)
        else:
            with self._lock:
                self._say_closed(closing)

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, Place]:
        """Take a slot with room for a payload and its metadata; `finish_loan` ends it."""
        with self._sending():
            slot = self._claim()
            try:
                return slot, self._pool.place(slot, _needed(nbytes, metadata_nbytes))
            except BaseException:
                self._ring.put_back(slot)
                raise

    def finish_loan(self, slot: int, place: Place, array: NDArray[Any], stamp: Stamp) -> None:
        """Publish a loaned slot; if that fails the slot is given back."""
        code = dtype_code(array.dtype)
        with self._sending():
            try:
                self._complete(place, array.nbytes, (code, array.shape), stamp, ENCODING_NDARRAY)
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._ring.publish(slot, place.growth)

    def cancel_loan(self, slot: int) -> None:
        """Give a loaned slot back unsent."""
        with self._sending():
            self._ring.put_back(slot)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        if self._owner == threading.get_ident():
            raise DoraRtError(
                f"{self.where}: a send began inside another one of the same thread; a signal "
                "handler or a __del__ must not send"
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0

    def _say_closed(self, closing: int) -> None:
        self._words[ring.WRITER_CLOSED] = closing
        for end in self._ends:
            end.edge.doorbell.release()
        self._pool.close()

    def _claim(self) -> int:
        self._notice_readers()
        writer = self._ring
        while (slot := writer.claim()) is None:
            # The plan has a slot for all that may be queued, held and loaned at once.
            if not writer.drop_oldest():
                raise TooManyLoansError(
                    f"{self.where}: too many loans are open at the same time; end one first"
                )
        if self._pool.has_old_pools:
            self._pool.retire({slot, *writer.free})
        return slot

    def _notice_readers(self) -> None:
        if self._is_closed:
            raise NodeClosedError(f"{self.where}: closed, nothing can be sent any more")
        for end in self._ends:
            end.notice(self._ring)

    def _complete(
        self,
        place: Place,
        nbytes: int,
        array: tuple[int, tuple[int, ...]] | None,
        stamp: Stamp,
        encoding: int,
    ) -> None:
        self._wait_for_room(stamp.deadline_ns)
        metadata_json = stamp.metadata_json
        begin = place.offset + metadata_start(nbytes)
        end = begin + len(metadata_json)
        if end > place.offset + place.nbytes:
            raise UnsupportedValueError(
                f"{self.where}: {len(metadata_json):,} bytes of metadata do not fit behind a loan "
                "that began without metadata; give the dict to loan() and fill it in the block"
            )
        if metadata_json:
            place.buffer[begin:end] = metadata_json
        write_header(
            place.buffer,
            place.offset,
            seq=self._ring.head,
            times_ns=(time.monotonic_ns(), stamp.source_ns, stamp.origin_ns),
            nbytes=(nbytes, len(metadata_json)),
            array=array,
            encoding=encoding,
        )

    def _wait_for_room(self, deadline_ns: int | None) -> None:
        for end in self._ends:
            # Looked at before each wait: the post that told of it may be taken already.
            self._notice_readers()
            while end.edge.is_full:
                if not end.wait(deadline_ns):
                    raise TimeoutError(
                        f"{self.where}: a reader had no room in time, so nothing was sent (its "
                        f"queue of {end.edge.queue_size} is full, and its policy is block)"
                    )
                self._ring.read_log(end.edge)
                self._notice_readers()


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
        if not is_sendable_dtype(dtype) or len(shape) > MAX_NDIM:
            raise UnsupportedValueError(
                f"{publisher.where}: an array of {len(shape)} dimensions and dtype {dtype} cannot "
                f"be loaned; a bool, integer, float or complex one of at most {MAX_NDIM} can"
            )
        if min(shape, default=0) < 0:
            raise ValueError(f"{publisher.where}: a loan of shape {shape} is not possible")
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
        if kind is not None:
            self.cancel()
        else:
            self.send()

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


def _needed(payload_nbytes: int, metadata_nbytes: int) -> int:
    return metadata_start(payload_nbytes) + metadata_nbytes
