"""`Publisher`: one output of a node, and all its edges."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.contract import OutputConfig
from dora_rt.data import names, ring
from dora_rt.data.board import Board
from dora_rt.data.form import Form
from dora_rt.data.header import (
    DESCRIPTION_OFFSET,
    ENCODING_ARROW,
    ENCODING_BYTES,
    HEADER_NBYTES,
    describe,
    describe_array,
    metadata_start,
    write_number_and_times,
)
from dora_rt.data.loan import Loan, LoanBook
from dora_rt.data.pool import Place, PoolWriter
from dora_rt.data.reader_end import ReaderEnd
from dora_rt.data.ring import READER_CLOSED
from dora_rt.data.ring_writer import RingWriter
from dora_rt.data.sample import sendable
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

_LARGE_NBYTES = 64 * 1024


class Publisher:
    """One output and all its edges. Threads may send at the same time."""

    def __init__(
        self,
        run: str,
        node: str,
        config: OutputConfig,
        board: Board,
        *,
        spin_ns: int | None = None,
    ) -> None:
        """Attach to what the launcher made."""
        self.where = f"node {node!r}, output {config.id!r}"
        self._words = attach_words(
            names.output(run, config.number, config.generation),
            lambda words, name: ring.check_output(words, config.slots, len(config.edges), name),
            writable=True,
        )
        self._ends = [ReaderEnd(run, edge, board, spin_ns=spin_ns) for edge in config.edges]
        self._ring = RingWriter(self._words, config.slots, [end.edge for end in self._ends])
        for end in self._ends:
            end.meet(self._ring)
        self._pool = PoolWriter(run, config)
        self._blocking = [end for end in self._ends if end.edge.blocking]
        self._lock = threading.RLock()
        self._is_sending = False
        self._is_published = False
        self._is_closed = False
        self._slots = config.slots
        self._form = Form(np.dtype(np.uint8), (), self._slots)
        self.loans = LoanBook()
        """Which slots are loaned."""

    def send(self, value: Any, stamp: Stamp) -> None:
        """Copy bytes, or an array of any layout (in C order), into a slot and publish it.

        Raises:
            UnsupportedValueError: the value is nothing that can be sent.
        """
        self._lock.acquire()
        try:
            form = self._form
            if (
                type(value) is not np.ndarray
                or value.dtype is not form.dtype
                or value.shape != form.shape
            ):
                value = sendable(value, self.where)
                if not isinstance(value, np.ndarray):
                    self._send_bytes(value, stamp)
                    return
                self._form = form = Form(value.dtype, value.shape, self._slots)
            metadata_nbytes = len(stamp[0])
            slot, place = self._claim(form.metadata_start + metadata_nbytes)
            try:
                view = form.views[slot]
                if view is None or place[3] != form.growth:
                    view = form.view(slot, place)
                view[...] = value
                if metadata_nbytes != form.metadata_nbytes:
                    form.describe(metadata_nbytes)
                self._publish(slot, place, form.description, form.nbytes, stamp)
            except BaseException:
                self._give_up(slot)
                raise
            self._look_ahead()
        finally:
            self._lock.release()

    def _send_bytes(
        self, value: bytes | bytearray | memoryview | ArrowSample, stamp: Stamp
    ) -> None:
        nbytes, metadata_nbytes = len(value), len(stamp[0])
        slot, place = self._claim(metadata_start(nbytes) + metadata_nbytes)
        try:
            begin = place.offset + HEADER_NBYTES
            encoding = ENCODING_BYTES
            if isinstance(value, (bytes, bytearray, memoryview)):
                place.buffer[begin : begin + nbytes] = value
            else:
                encoding = ENCODING_ARROW
                value.write(memoryview(place.buffer)[begin : begin + nbytes])
            self._publish(slot, place, describe(nbytes, metadata_nbytes, encoding), nbytes, stamp)
        except BaseException:
            self._give_up(slot)
            raise
        self._look_ahead()

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
            closing: how: one of the closings of `dora_rt.data.ring`.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for end in self._ends:
            # A thread that waits for room on this edge looks up, sees the flag and gives up.
            end.edge.returned.release()
        # Also from a signal handler or a destructor in the middle of a send of this very thread.
        with self._lock:
            self._words[ring.WRITER_CLOSED] = closing
            for end in self._ends:
                end.edge.doorbell.release()
            self._pool.close()

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, Place]:
        """Take a slot with room for a payload and its metadata; `finish_loan` ends it."""
        with self._lock:
            if not self._is_sending:
                self.loans.collect(self._ring.free)
            claimed = self._claim(metadata_start(nbytes) + metadata_nbytes)
            self.loans.begin(claimed[0])
            self._is_sending = False
        return claimed

    def finish_loan(self, slot: int, place: Place, array: NDArray[Any], stamp: Stamp) -> None:
        """Publish a loaned slot; if that fails the slot is given back."""
        with self._lock:
            self._begin()
            self.loans.end(slot)
            try:
                if self._is_closed:
                    raise self._closed()
                nbytes = array.nbytes
                description = describe_array(array.dtype, array.shape, nbytes, len(stamp[0]))
                self._publish(slot, place, description, nbytes, stamp)
            except BaseException:
                self._give_up(slot)
                raise
            self._look_ahead()

    def cancel_loan(self, slot: int) -> None:
        """Give a loaned slot back unsent; also in the middle of a send, and if it is no loan."""
        self.loans.give_up(slot)

    def _begin(self) -> None:
        if self._is_sending:
            raise self._nested()
        self._is_sending = True
        self._is_published = False

    def _nested(self) -> DoraRtError:
        # Only the thread that has the lock gets here while a send is going on: in a signal handler
        # or a destructor, when the ring may be between two steps.
        return DoraRtError(
            f"{self.where}: a send began inside another one of the same thread; a signal "
            "handler or a __del__ must not send"
        )

    def _claim(self, nbytes: int) -> tuple[int, Place]:
        if self._is_sending:
            raise self._nested()
        self._is_sending = True
        self._is_published = False
        slot = None
        try:
            if self._is_closed:
                raise self._closed()
            writer, pool = self._ring, self._pool
            free = writer.free
            if nbytes > _LARGE_NBYTES:
                # The slot that came back last is still in the cache.
                writer.collect_all()
            slot = free.pop() if free else self._make_room()
            if pool.has_old_pools:
                self.loans.collect(free)
                pool.retire({slot, *free})
            writer.open(slot)
            place = pool.places[slot]
            if place is None or place[2] < nbytes:
                place = pool.place(slot, nbytes)
        except BaseException:
            if slot is not None:
                self._ring.put_back(slot)
            self._is_sending = False
            raise
        return slot, place

    def _look_ahead(self) -> None:
        """Do what can wait until the readers are awake, and what the next send then need not."""
        writer = self._ring
        try:
            for end in self._ends:
                if end.returned.value:
                    writer.collect(end.edge)
                if end.place[0] != end.word:
                    end.notice(writer)
            if writer.has_news:
                self._notice_readers()
            writer.open_next()
        finally:
            self._is_sending = False

    def _make_room(self) -> int:
        # The plan has a slot for all that may be queued, held and loaned at once.
        writer = self._ring
        self.loans.collect(writer.free)
        while not writer.free:
            self._notice_readers()
            writer.collect_all()
            if not writer.free and not writer.drop_oldest():
                raise TooManyLoansError(
                    f"{self.where}: too many loans are open at the same time; end one first"
                )
        return writer.free.pop()

    def _give_up(self, slot: int) -> None:
        if not self._is_published:
            self._ring.put_back(slot)
        self._is_sending = False

    def _notice_readers(self) -> None:
        if self._is_closed:
            raise self._closed()
        self._ring.has_news = False
        for end in self._ends:
            if end.place[0] != end.word or end.edge.reader_words[READER_CLOSED] != end.closing:
                end.notice(self._ring)

    def _closed(self) -> NodeClosedError:
        return NodeClosedError(f"{self.where}: closed, nothing can be sent any more")

    def _publish(
        self, slot: int, place: Place, description: bytes, nbytes: int, stamp: Stamp
    ) -> None:
        metadata_json, source_ns, origin_ns, deadline_ns = stamp
        for end in self._blocking:
            if len(end.edge.pending) >= end.edge.queue_size:
                self._wait_for_room(deadline_ns)
        buffer, offset, room, growth = place
        if metadata_json:
            begin = metadata_start(nbytes)
            if begin + len(metadata_json) > room:
                raise UnsupportedValueError(
                    f"{self.where}: {len(metadata_json):,} bytes of metadata do not fit behind a "
                    "loan that began without metadata; give the dict to loan() and fill it in the "
                    "block"
                )
            begin += offset
            buffer[begin : begin + len(metadata_json)] = metadata_json
        begin = offset + DESCRIPTION_OFFSET
        buffer[begin : begin + len(description)] = description
        writer = self._ring
        sent_ns = time.monotonic_ns()
        write_number_and_times(buffer, offset, writer.head, sent_ns, source_ns, origin_ns)
        # From the first step of it on, readers may have the slot.
        self._is_published = True
        writer.publish(slot, growth, nbytes)

    def _wait_for_room(self, deadline_ns: int | None) -> None:
        for end in self._blocking:
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
