"""`Publisher`: one output of a node, and all its edges."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.compiled import IS_COMPILED, PublisherCore, _cores, plain, prefer_compiled
from dora_rt.errors import (
    DoraRtError,
    NodeClosedError,
    SharedMemoryError,
    SharedMemoryFullError,
    TooManyLoansError,
    UnsupportedValueError,
)
from dora_rt.node_config import OutputConfig
from dora_rt.transport.board import Board
from dora_rt.transport.output.array_slots import ArraySlots
from dora_rt.transport.output.loan import Loan, LoanBook
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.reader_end import ReaderEnd
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.noted_operations import locking
from dora_rt.transport.primitives.shm import attach_words
from dora_rt.transport.ring import protocol
from dora_rt.transport.ring.pool import PoolWriter, SlotMemory
from dora_rt.transport.ring.writer import RingWriter
from dora_rt.transport.values.header import (
    DESCRIPTION_OFFSET,
    ENCODING_ARROW,
    ENCODING_BYTES,
    HEADER_NBYTES,
    describe,
    describe_array,
    metadata_start,
    write_number_and_times,
)
from dora_rt.transport.values.sendable import sendable

if TYPE_CHECKING:
    from dora_rt.transport.values.arrow import ArrowSample

_LARGE_NBYTES = 64 * 1024
_SLICE_S = 0.02
_NO_NEWS = memoryview(bytes(8)).cast("Q")


@prefer_compiled
class Publisher(PublisherCore):
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
        """Attach to what the launcher made.

        Args:
            run: the name of the run.
            node: the name of the node in errors.
            config: the output.
            board: the board of the run.
            spin_ns: for how long to poll before each sleep; None: while that pays.
        """
        self.where = f"node {node!r}, output {config.id!r}"
        self._words = attach_words(
            object_names.output(run, config.number, config.generation),
            lambda words, name: protocol.check_output(words, config.slots, config.edge_count, name),
            writable=True,
        )
        self._ends = [ReaderEnd(run, edge, board, spin_ns=spin_ns) for edge in config.edges]
        edges = [end.edge for end in self._ends]
        self._ring = RingWriter(self._words, config.slots, edges, latched=config.latched)
        self._edges = self._ring.edges
        # Without an edge there is no peer to hear of.
        self._board_news = board.news_view(config.edges[0].writer) if config.edges else _NO_NEWS
        self._heard = self._board_news[0]
        self._ring.pass_fence()
        for end in self._ends:
            end.notice(self._ring)
        self._pool = PoolWriter(run, config)
        self._blocking = [end for end in self._ends if end.edge.blocking]
        # Reentrant, so that a signal handler or a destructor in the middle of a send finds out.
        self._lock = threading.RLock()
        self._is_midway = False
        self.is_in_core = False
        """Whether compiled code is sending, which no frame shows."""
        self._is_closed = False
        self._closing = protocol.OPEN
        self._slots = config.slots
        self._array_slots = ArraySlots(np.dtype(np.uint8), (), self._slots)
        self.pulse: Callable[[], int] | None = None
        """Writes the heartbeat and returns when the next one is due; None without a heartbeat."""
        self.loans = LoanBook(self._ring.loaned)
        """Which slots are loaned."""

    def send(self, value: Any, stamp: Stamp) -> None:
        """Copy bytes, or an array of any layout (in C order), into a slot and publish it.

        Raises:
            UnsupportedValueError: the value is nothing that can be sent.
            NodeClosedError: this output is closed.
            SharedMemoryError, SharedMemoryFullError: there is no room for the sample.
            TimeoutError: the stamp's deadline passed first; nothing was sent.
        """
        with self._lock:
            if self._is_midway:
                self._recover()
            array_slots = self._array_slots
            if (
                type(value) is not np.ndarray
                or value.dtype is not array_slots.dtype
                or value.shape != array_slots.shape
            ):
                value = sendable(value, self.where)
                if not isinstance(value, np.ndarray):
                    self._send_bytes(value, stamp)
                    return
                self._array_slots = array_slots = ArraySlots(value.dtype, value.shape, self._slots)
            metadata_nbytes = len(stamp[0])
            try:
                slot, memory = self._claim(array_slots.metadata_start + metadata_nbytes)
                view = array_slots.views[slot]
                if view is None or memory[3] != array_slots.growth:
                    view = array_slots.view(slot, memory)
                view[...] = value
                if metadata_nbytes != array_slots.metadata_nbytes:
                    array_slots.describe(metadata_nbytes)
                self._publish(slot, memory, array_slots.description, array_slots.nbytes, stamp)
                self._look_ahead()
            except BaseException:
                self._end_midway()
                raise

    def send_in_time(self, value: Any, stamp: Stamp) -> None:
        """Do what `send` does, and do not wait longer for a thread that sends than for readers.

        Args:
            value: what to send.
            stamp: with a deadline.

        Raises:
            TimeoutError: the deadline passed first; nothing was sent.
            UnsupportedValueError, NodeClosedError, SharedMemoryError, SharedMemoryFullError: as
                for `send`.
        """
        assert stamp.deadline_ns is not None, "there is a time to wait for"
        wait_s = max(stamp.deadline_ns - time.monotonic_ns(), 0) / 1e9
        has_lock: list[bool] = []
        try:
            locking(self._lock, has_lock, wait_s)
            if not has_lock[0]:
                raise TimeoutError(
                    f"{self.where}: another thread was sending all the time, so nothing was sent "
                    "(it waits for a reader with queue_policy block)"
                )
            self.send(value, stamp)
        finally:
            if True in has_lock:
                self._lock.release()

    def _send_bytes(
        self, value: bytes | bytearray | memoryview | ArrowSample, stamp: Stamp
    ) -> None:
        nbytes, metadata_nbytes = len(value), len(stamp[0])
        try:
            slot, memory = self._claim(metadata_start(nbytes) + metadata_nbytes)
            begin = memory.offset + HEADER_NBYTES
            encoding = ENCODING_BYTES
            if isinstance(value, (bytes, bytearray, memoryview)):
                memory.buffer[begin : begin + nbytes] = value
            else:
                encoding = ENCODING_ARROW
                value.write(memoryview(memory.buffer)[begin : begin + nbytes])
            self._publish(slot, memory, describe(nbytes, metadata_nbytes, encoding), nbytes, stamp)
            self._look_ahead()
        except BaseException:
            self._end_midway()
            raise

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

    def close(self, closing: int = protocol.CLOSED) -> None:
        """Publish no more, and tell the readers; unread samples stay readable.

        In the middle of a send of this very thread, from a signal handler or a destructor, the
        readers hear of it when that send is over.

        Args:
            closing: one of the closings of `dora_rt.transport.ring.protocol`.
        """
        if not self._is_closed:
            self._closing = closing
            self._is_closed = True
        while self._words[protocol.WRITER_CLOSED] == protocol.OPEN:
            # A thread that waits for room on an edge looks up, sees the flag and gives up.
            for end in self._ends:
                end.wake()
            has_lock: list[bool] = []
            try:
                locking(self._lock, has_lock, _SLICE_S)
                if has_lock[0]:
                    if self._is_midway and self._is_nested():
                        return
                    self._end_midway()
            finally:
                if True in has_lock:
                    self._lock.release()

    def notice_readers(self) -> None:
        """Look after readers that have come or gone, also if nothing is sent.

        For the thread that receives, when the board has news for this process.
        """
        while self._heard != self._board_news[0] and not self._is_closed:
            has_lock: list[bool] = []
            try:
                # A thread that waits for room, with the lock, is woken by the same news as well.
                locking(self._lock, has_lock, _SLICE_S)
                if has_lock[0]:
                    if self._is_midway:
                        if self._is_nested():
                            return
                        self._recover()
                    self._is_midway = True
                    self._notice_readers()
                    self._is_midway = False
            except (SharedMemoryError, SharedMemoryFullError):
                # There is no room for a reader's tokens. The next send tries again, and raises.
                self._end_midway()
                return
            finally:
                if True in has_lock:
                    self._lock.release()

    def count_waiting(self) -> int:
        """Return how many of the newest samples some reader with `block` has not taken yet."""
        with self._lock:
            if self._is_midway:
                self._recover()
            for end in self._blocking:
                self._ring.read_log(end.edge)
            return max((len(end.edge.pending) for end in self._blocking), default=0)

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, SlotMemory]:
        """Take a slot with room for a payload and its metadata; `finish_loan` ends it."""
        slot = -1
        try:
            with self._lock:
                if self._is_midway:
                    self._recover()
                try:
                    slot, memory = self._claim(metadata_start(nbytes) + metadata_nbytes)
                    # The caller's writes come after the lock.
                    self._ring.pass_fence()
                    self.loans.begin(slot)
                    self._is_midway = False
                except BaseException:
                    self._end_midway()
                    raise
            return slot, memory
        except BaseException:
            # Also one that came when the lock was let go of.
            self._ring.loaned.discard(slot)
            raise

    def finish_loan(self, slot: int, memory: SlotMemory, array: NDArray[Any], stamp: Stamp) -> None:
        """Publish a loaned slot; if that fails the slot is given back."""
        with self._lock:
            if self._is_midway:
                self._recover()
            try:
                self._is_midway = True
                self.loans.end(slot)
                if self._is_closed:
                    raise self._closed()
                nbytes = array.nbytes
                description = describe_array(array.dtype, array.shape, nbytes, len(stamp[0]))
                self._publish(slot, memory, description, nbytes, stamp)
                self._look_ahead()
            except BaseException:
                self._end_midway()
                raise

    def cancel_loan(self, slot: int) -> None:
        """Take a loaned slot back unsent, without waiting.

        In the middle of a send, of this thread or another one, the slot is found when it is needed.
        """
        self._ring.loaned.discard(slot)
        has_lock: list[bool] = []
        try:
            locking(self._lock, has_lock, 0)
            if has_lock[0] and not self._is_midway:
                self._ring.find_free()
        finally:
            if True in has_lock:
                self._lock.release()

    def _is_nested(self) -> bool:
        """Return whether this very thread is in the middle of a call to this publisher.

        Else an exception has broken one off, and the cleanup after it as well.
        """
        calls = 0
        frame = inspect.currentframe()
        while frame is not None:
            calls += frame.f_code in _CALLS and frame.f_locals.get("self") is self
            frame = frame.f_back
        return calls > 1 or self.is_in_core

    def _recover(self) -> None:
        if self._is_nested():
            raise DoraRtError(
                f"{self.where}: a send began inside another one of the same thread; a signal "
                "handler or a __del__ must not send"
            )
        self._end_midway()

    def _end_midway(self) -> None:
        """Finish the operation that an exception broke off, wherever it was."""
        # Even if it had just ended: this may be broken off, too, and must then begin again.
        self._is_midway = True
        self._ring.recover()
        self._ring.readers_changed = True
        if self._is_closed:
            self._shut()
        self._is_midway = False

    def _shut(self) -> None:
        if self._words[protocol.WRITER_CLOSED] == protocol.OPEN:
            self._pool.close()
            self._words[protocol.WRITER_CLOSED] = self._closing
            for edge in self._edges:
                edge.doorbell.release()

    def _claim(self, nbytes: int) -> tuple[int, SlotMemory]:
        self._is_midway = True
        if self._is_closed:
            raise self._closed()
        writer, pool = self._ring, self._pool
        if writer.readers_changed:
            # An error behind the last sample is raised here, before another one.
            self._notice_readers()
        if pool.has_old_pools:
            # The slot of a loan that was forgotten would keep one there.
            self.loans.collect()
            writer.find_free()
        free = writer.free
        if nbytes > _LARGE_NBYTES:
            # The slot that came back last is still in the cache.
            writer.collect_all()
        slot = free.pop() if free else self._make_room()
        if pool.has_old_pools:
            pool.retire({slot, *free})
        if slot != writer.opened:
            writer.open(slot)
        memory = pool.memories[slot]
        if memory is None or memory[2] < nbytes:
            memory = pool.allocate(slot, nbytes)
            # Something else may have made the pool grow, and no array of this shape may come again.
            self._array_slots.forget_all_but(memory.growth)
        return slot, memory

    def _look_ahead(self) -> None:
        """Do the work that can wait until the readers are awake, ahead of the next send."""
        writer = self._ring
        for edge in self._edges:
            posts = edge.returned.value
            if posts == 1:
                writer.collect_one(edge)
            elif posts:
                writer.collect(edge)
        if writer.readers_changed or self._heard != self._board_news[0]:
            try:
                self._notice_readers()
            except (SharedMemoryError, SharedMemoryFullError):
                # This sample was sent. The next send tries again, and raises.
                writer.readers_changed = True
        if self._is_closed:
            self._shut()
        writer.open_next()
        self._is_midway = False

    def _make_room(self) -> int:
        # The plan has a slot for all that may be queued, held and loaned at once.
        writer = self._ring
        while not writer.free:
            self._notice_readers()
            writer.collect_all()
            self.loans.collect()
            writer.find_free()
            if not writer.free and not writer.drop_oldest():
                raise TooManyLoansError(
                    f"{self.where}: too many loans are open at the same time; end one first"
                )
        return writer.free.pop()

    def _notice_readers(self) -> None:
        writer = self._ring
        heard = self._board_news[0]
        writer.pass_fence()
        writer.readers_changed = False
        try:
            for end in self._ends:
                if end.reader_changed():
                    end.notice(writer)
        except BaseException:
            writer.readers_changed = True
            raise
        self._heard = heard

    def _closed(self) -> NodeClosedError:
        return NodeClosedError(f"{self.where}: closed, nothing can be sent any more")

    def _publish(
        self, slot: int, memory: SlotMemory, description: bytes, nbytes: int, stamp: Stamp
    ) -> None:
        metadata_json, source_ns, origin_ns, deadline_ns = stamp
        for end in self._blocking:
            if len(end.edge.pending) >= end.edge.queue_size:
                self._wait_for_room(deadline_ns)
        buffer, offset, room, growth = memory
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
        if writer.posts[slot] is None:
            writer.prepare(slot)
        sent_ns = time.monotonic_ns()
        write_number_and_times(buffer, offset, writer.head, sent_ns, source_ns, origin_ns)
        writer.publish(slot, growth, nbytes)

    def _wait_for_room(self, deadline_ns: int | None) -> None:
        for end in self._blocking:
            # Checked before each wait: the post that announced it may be taken already.
            self._look_up(end)
            while end.edge.is_full:
                until_ns = deadline_ns
                if self.pulse is not None:
                    # A writer that waits for room is alive.
                    next_ns = self.pulse()
                    until_ns = next_ns if deadline_ns is None else min(next_ns, deadline_ns)
                if not end.wait(until_ns) and until_ns == deadline_ns:
                    raise TimeoutError(
                        f"{self.where}: a reader had no room in time, so nothing was sent (its "
                        f"queue of {end.edge.queue_size} is full, and its policy is block)"
                    )
                self._look_up(end)

    def _look_up(self, end: ReaderEnd) -> None:
        self._ring.read_log(end.edge)
        self._notice_readers()
        if self._is_closed:
            raise self._closed()


if IS_COMPILED:
    _cores.use_publisher(Publisher, globals())
_CALLS = frozenset(
    plain(Publisher, name).__code__
    for name in (
        "send",
        "close",
        "notice_readers",
        "begin_loan",
        "finish_loan",
        "cancel_loan",
    )
)
