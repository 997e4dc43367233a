"""`Subscriber`: one input of a node that another node writes."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dora_rt.compiled import IS_COMPILED, SubscriberCore, _cores, prefer_compiled
from dora_rt.errors import CorruptSampleError, DoraRtError, SharedMemoryError
from dora_rt.event import Event
from dora_rt.latency import BUCKETS, SHORT, UNIT_SHIFT, bucket
from dora_rt.node_config import EdgeConfig, InputConfig, NodeConfig, OutputConfig, QueuePolicy
from dora_rt.transport.board import Board, Fate, Peer
from dora_rt.transport.input.observer import Observer
from dora_rt.transport.primitives import forks, object_names
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.primitives.noted_operations import locking
from dora_rt.transport.primitives.shm import (
    ClosedError,
    Semaphore,
    attach_semaphore,
    attach_words,
    find_semaphore,
)
from dora_rt.transport.ring import protocol
from dora_rt.transport.ring.pool import PoolReader
from dora_rt.transport.ring.protocol import AGES, COPIED, DELIVERED, HEAD, LATENCIES
from dora_rt.transport.ring.reader import RingReader
from dora_rt.transport.values.header import ENCODING_ARROW, HEADER_NBYTES, HeaderReader

_SHORT = len(SHORT)
_UNREADABLE = (DoraRtError, ImportError, MemoryError, ValueError)
SMALL_NBYTES = 1024
"""Arrays up to this size are copied out: to copy one costs less than to keep account of it."""


@final
@prefer_compiled
class Subscriber(SubscriberCore):
    """One input that another node writes."""

    _arrive: Callable[..., Event] | None = None
    """Does the second half of `_receive`, where it is compiled: the account is kept there."""

    def __init__(self, config: NodeConfig, entry: InputConfig, board: Board) -> None:
        """Attach to what the launcher made."""
        output, edge = entry.output, entry.edge
        assert output is not None, "only an edge has a subscriber"
        assert edge is not None, "only an edge has a subscriber"
        run = config.run
        self.input_id = entry.id
        self.where = f"node {config.node!r}, input {entry.id!r}"
        self.is_ended = False
        self._is_closed = self._is_retired = False
        self._is_midway = False  # of a call that ends, or that an exception has broken off
        self._config = config
        self._entry = entry
        self._output = output
        self._edge = edge
        self._board = board
        self._board_word = board.writer_word_view(edge.number)
        self._peer = Peer(Fate.ALIVE, output.generation, edge.generation)
        self._peer_word = self._peer.to_word()
        self._output_words = attach_words(
            object_names.output(run, output.number, output.generation),
            lambda words, name: protocol.check_output(words, output.slots, output.edge_count, name),
            writable=False,
        )
        self._words = attach_words(
            object_names.edge(run, edge.number, edge.generation),
            lambda words, name: protocol.check_edge(words, edge.slots, name),
            writable=True,
        )
        self._returned = attach_semaphore(object_names.returned(run, edge.number, edge.generation))
        self._ring = RingReader(
            output_words=self._output_words,
            edge_words=self._words,
            find_token=partial(_find_token, run, edge),
            returned=self._returned,
            slots=edge.slots,
            position=edge.position,
            edges=output.edge_count,
            generation=edge.generation,
        )
        self._is_blocking = edge.queue_policy is QueuePolicy.BLOCK
        self._is_latest = edge.queue_policy is QueuePolicy.LATEST
        self._take_sample = self._ring.take_newest if self._is_latest else self._ring.take
        self._pool = PoolReader(run, output)
        self._headers = HeaderReader()
        self._max_held = edge.max_held
        # By slots that forks of this process may look at; they are kept here until those are gone.
        self._inherited: dict[int, set[forks.Heirs]] = {}
        forks.note_lender(self)
        self._let_go_of = [partial(self._lose_view, slot) for slot in range(edge.slots)]
        # Slots whose last view is gone. A finalizer may run at any moment in any thread, also in
        # the middle of `take`: it only appends, and gives back if no other thread is about to.
        self._let_go: deque[int] = deque()
        self._lock = threading.Lock()
        self._writer_is_gone = False
        self.awaits_latched = output.latched
        """Until the first sample: whether one that was there before comes ahead of it."""
        self._copied = self._dropped = self._last_dropped = 0
        self._latencies = [0] * BUCKETS
        self._ages = [0] * BUCKETS

    def take(self) -> Event | None:
        """Return the next sample that is there, or None.

        Raises:
            CorruptSampleError: its header makes no sense; the sample is skipped.
        """
        reader = self._ring
        head = self._output_words[HEAD]
        if (
            head == reader.next_seq
            and not self._let_go
            and not self._writer_is_gone
            and not self._is_midway
            and not self.awaits_latched
        ):
            # Nothing was published since the last sample taken, and there is nothing to tidy up. A
            # HEAD that is seen late does no harm: the doorbell rings after it was written.
            if reader.held:
                self._find_lost_views()
                self._return_slots()
            return None
        event = None
        self._is_midway = True
        try:
            with self._lock:
                if self.is_ended:
                    self._is_midway = False
                    return None
                if reader.arriving or reader.logging is not None:
                    reader.recover()
                if self._let_go:
                    forks.settle()
                    self._give_back_let_go()
                if self.awaits_latched and (event := self._take_latched()):
                    self._is_midway = self.awaits_latched = False
                    return event
                try:
                    taken = self._take_sample(head, self._writer_is_gone)
                except CorruptSampleError as error:
                    raise CorruptSampleError(f"{self.where}: {error}", self.input_id) from error
                if taken is not None:
                    event = self._receive(taken[0], taken[1])
                    self.awaits_latched = False
                else:
                    self._note_dropped(reader.next_seq, reader.arrived[1])
                    self._find_lost_views()
                    # Never back to False: another thread may have closed this meanwhile.
                    if self._writer_is_gone:
                        # Of a writer that never had one for this reader.
                        event = self._copy_newest(head) if self.awaits_latched else None
                        self.awaits_latched = False
                        self.is_ended |= event is None
            self._is_midway = False
        finally:
            if self._let_go or self._is_closed:
                self._return_slots()
        return event

    def _take_latched(self) -> Event | None:
        """Copy the newest sample if it was sent before this reader was there, and none since."""
        begin = self._ring.find_next()
        Fence().pass_through()
        if begin is None or begin != self._output_words[HEAD]:
            return None  # what waits already, or was sent since, is newer and comes by the ring
        return self._copy_newest(begin)

    def _copy_newest(self, head: int) -> Event | None:
        observer = Observer(self._config.run, self._output, words=self._output_words)
        return observer.latched(head, self.input_id)

    @property
    def head(self) -> int:
        """How many samples the writer has published in this generation."""
        return self._output_words[HEAD]

    def position(self) -> tuple[OutputConfig, int] | None:
        """Return the output that is read, as it is at present, and the number that comes next.

        None if the writer has not said yet where this reader begins.
        """
        seq = self._ring.find_next()
        return None if seq is None else (self._output, seq)

    def writer_changed(self) -> bool:
        """Return whether the writer has closed its output, died, or come back."""
        return (
            self._board_word[0] != self._peer_word
            or self._output_words[protocol.WRITER_CLOSED] != protocol.OPEN
        )

    def notice_end(self) -> bool:
        """Return True, once, when the writer has gone; the next empty `take` is the last.

        Between this look and that `take` the caller must pass through a semaphore, so that all
        that the writer wrote before is visible.
        """
        if self._writer_is_gone or not self.writer_changed():
            return False
        peer = Peer.from_word(self._board.writer_word(self._edge.number))
        closing = self._output_words[protocol.WRITER_CLOSED]
        self._writer_is_gone = (
            peer.fate is Fate.GONE
            or peer.output_generation != self._peer.output_generation
            or closing == protocol.CLOSED_FOR_GOOD
            or (closing == protocol.CLOSED and not self._edge.writer_returns)
        )
        return self._writer_is_gone

    def successor(self) -> Subscriber | None:
        """Attach to the writer that was started again in place of the one that is gone.

        Call it when `is_ended`; None when there is no such writer.
        """
        word = self._board.writer_word(self._edge.number)
        generation = self._peer.output_generation
        while (newest := Peer.from_word(word)).output_generation != generation:
            generation += 1
            try:
                successor = self._attach_to(generation)
            except SharedMemoryError:
                # It was removed as unneeded. The newest may be gone as well: its writer has died
                # once more meanwhile.
                newer = self._board.writer_word(self._edge.number)
                if newer == word and generation == newest.output_generation:
                    raise
                word = newer
                continue
            if self._is_blocking or generation == newest.output_generation:
                self._retire()
                return successor
            successor.pass_over_all()
        return None

    def pass_over_all(self) -> None:
        """Count all samples of a writer that is gone as dropped: a newer one has newer samples."""
        head = self._output_words[HEAD]
        lost = self._output_words[
            protocol.writer_dropped_index(self._output.edge_count, self._edge.position)
        ]
        # Once DROPPED says that nothing is left to read, the launcher may add up and remove these.
        self._words[protocol.READER_DROPPED] = head - lost
        Fence().pass_through()
        self._words[protocol.DROPPED] = head
        self._retire()

    def _attach_to(self, generation: int) -> Subscriber:
        # As long as this reader lives, each new edge comes with a new output.
        ahead = generation - self._peer.output_generation
        entry = replace(
            self._entry,
            output=replace(self._output, generation=generation),
            edge=replace(self._edge, generation=self._peer.edge_generation + ahead),
        )
        return Subscriber(self._config, entry, self._board)

    def _retire(self) -> None:
        # Its writer is gone, so no process waits for slots that views still hold.
        with self._lock:
            self._words[protocol.LEFT] = 1
            self.is_ended = self._is_retired = True
            self._ring.close()
            with suppress(ClosedError):
                self._returned.close()
            # Else the mappings stay until the collector of circles comes by, which
            # may never be in a node that is at rest.
            self._let_go_of.clear()

    def close(self, closing: int = protocol.CLOSED) -> None:
        """Take no more; the writer stops feeding this input.

        Args:
            closing: one of the closings of `dora_rt.transport.ring.protocol`.
        """
        self.is_ended = self._is_closed = True
        self._return_slots()
        if self._is_retired or self._words[protocol.READER_CLOSED] != protocol.OPEN:
            return
        self._words[protocol.READER_CLOSED] = closing
        # A thread that receives may just be moving on to the next writer.
        with suppress(ClosedError):
            self._returned.release()
        if closing != protocol.CLOSED_FOR_NOW:
            self._close_newer(closing)

    def _close_newer(self, closing: int) -> None:
        """Close the input for the writer's next generation as well.

        The launcher looks at READER_CLOSED once it has said on the board that there are new
        objects, and this looks at the board once it has written READER_CLOSED: behind a fence
        each, so that one of the two sees the other.
        """
        Fence().pass_through()
        edge = self._edge
        newest = Peer.from_word(self._board.writer_word(edge.number)).edge_generation
        for generation in range(self._peer.edge_generation + 1, newest + 1):
            # Where it is gone already, no process looks at it.
            with suppress(SharedMemoryError):
                words = attach_words(
                    object_names.edge(self._config.run, edge.number, generation),
                    lambda words, name: protocol.check_edge(words, edge.slots, name),
                    writable=True,
                )
                words[protocol.READER_CLOSED] = closing
                returned = attach_semaphore(
                    object_names.returned(self._config.run, edge.number, generation)
                )
                returned.release()
                returned.close()

    def keep_for(self, heirs: forks.Heirs) -> bool:
        """Keep all slots that are held now until a fork of this process is gone."""
        for slot in list(self._ring.held):
            # A set of its own each time: `_forget_heirs` may be emptying the one before.
            # And a copy of that one, which it changes in another thread meanwhile.
            earlier = tuple(self._inherited.get(slot, ()))
            self._inherited[slot] = {heirs, *(one for one in earlier if not one.are_gone())}
        return any(list(self._inherited.values()))

    def _receive(self, slot: int, growth: int) -> Event:
        reader = self._ring
        is_leased = is_copied = False
        value: Any
        try:
            place = self._pool.memories[slot]
            if place is None or place[3] != growth:
                place = self._pool.locate(slot, growth)
            buffer, offset, room, _ = place
            seq, sent_ns, origin_ns, nbytes, encoding, array_type, metadata_json = (
                self._headers.read(buffer, offset, room)
            )
            if seq != reader.seq:
                raise CorruptSampleError(f"slot {slot} holds sample {seq}, expected {reader.seq}")
            begin = offset + HEADER_NBYTES
            if array_type is None:
                value = buffer[begin : begin + nbytes]
            elif nbytes <= SMALL_NBYTES:
                value = np.ndarray(array_type[1], array_type[0], buffer[begin : begin + nbytes])
            else:
                value = np.ndarray(array_type[1], array_type[0], buffer, begin)
                is_leased = len(reader.held) < self._max_held or self._has_room_for_view()
                if is_leased:
                    # Every view of the array keeps the array itself alive, so the callback comes
                    # when the last of them is gone.
                    reader.held[slot] = weakref.ref(value, self._let_go_of[slot])
                else:
                    is_copied = True
                    value = value.copy()
                    value.flags.writeable = False
            if encoding == ENCODING_ARROW:
                value = _decoded(value)
        except _UNREADABLE as error:
            # Only this: an exception of a signal handler, a time limit say, costs no sample.
            reader.leave(reader.seq, slot)
            if isinstance(error, CorruptSampleError):
                raise CorruptSampleError(f"{self.where}: {error}", self.input_id) from error
            raise
        if self._arrive is not None:
            return self._arrive(
                slot, value, seq, sent_ns, origin_ns, metadata_json, is_leased, is_copied
            )
        now_ns = time.monotonic_ns()
        words, latencies = self._words, self._latencies
        units = now_ns - sent_ns >> UNIT_SHIFT
        place_of = SHORT[units] if 0 <= units < _SHORT else bucket(now_ns - sent_ns)
        # Never from the words themselves: an overwritten one must not be an overflow here.
        words[LATENCIES + place_of] = latencies[place_of] = latencies[place_of] + 1
        ages = self._ages
        units = now_ns - origin_ns >> UNIT_SHIFT
        place_of = SHORT[units] if 0 <= units < _SHORT else bucket(now_ns - origin_ns)
        words[AGES + place_of] = ages[place_of] = ages[place_of] + 1
        last_seq, delivered = reader.arrived
        if last_seq != seq:  # else an exception came in between, and it was counted already
            self._last_dropped = dropped = seq - last_seq - 1
            delivered += 1
            reader.arrived = seq, delivered
        else:
            dropped = self._last_dropped
        words[DELIVERED] = delivered
        if dropped:
            self._note_dropped(seq + 1, delivered)
        if is_copied:
            words[COPIED] = self._copied = self._copied + 1
        event = Event(
            self.input_id, value, metadata_json, seq, dropped, sent_ns, origin_ns, is_copied
        )
        if is_leased:
            reader.keep(slot, tells=self._is_blocking)
        else:
            reader.give_back(slot)
        return event

    def _keep_early(self, slot: int, place: int) -> None:
        """Keep what compiled code has claimed in place of the sample that it looked for."""
        try:
            self._ring.keep_early(self._ring.next_seq, slot, place)
        except CorruptSampleError as error:
            raise CorruptSampleError(f"{self.where}: {error}", self.input_id) from error

    def _note_dropped(self, next_seq: int, delivered: int) -> None:
        dropped = next_seq - self._ring.first_seq - delivered
        if dropped != self._dropped:
            self._words[protocol.DROPPED] = self._dropped = dropped

    def _has_room_for_view(self) -> bool:
        self._forget_heirs()
        self._find_lost_views()
        self._give_back_let_go()
        return len(self._ring.held) < self._max_held

    def _forget_heirs(self) -> None:
        for heirs in list(self._inherited.values()):
            if all(one.are_gone() for one in heirs):
                heirs.clear()

    def _find_lost_views(self) -> None:
        # A signal handler may have raised in the finalizer of a view, unseen. And
        # the end of a fork is not announced.
        for slot, view in list(self._ring.held.items()):
            if view() is None and not self._inherited.get(slot):
                self._let_go.append(slot)

    def _lose_view(self, slot: int, _: weakref.ref[NDArray[Any]]) -> None:
        if forks.is_forked:
            return  # the parent still holds it
        self._let_go.append(slot)
        self._return_slots()

    def _return_slots(self) -> None:
        # The thread that has the lock looks once more after releasing it, so nothing is forgotten.
        while (
            (self._let_go and not forks.under_way)
            or self._has_claims_left()
            or (self._is_closed and self._let_go_of)
        ):
            has_lock: list[bool] = []
            try:
                locking(self._lock, has_lock, 0)
                if not has_lock[0]:
                    return
                if self._has_claims_left():
                    self._ring.give_claims_back()
                elif self._ring.logging is not None:
                    self._ring.recover()
                self._give_back_let_go()
                if self._is_closed:
                    self._let_go_of.clear()  # as in `_retire`
            finally:
                if True in has_lock:
                    self._lock.release()

    def _has_claims_left(self) -> bool:
        return self._is_closed and not self._is_retired and self._ring.has_claims

    def _give_back_let_go(self) -> None:
        reader = self._ring
        while self._let_go:
            slot = self._let_go[0]
            # A late one may find the slot in use again.
            view = reader.held.get(slot)
            is_lost = view is not None and view() is None
            # Looked at behind that: what began before may have the view, and all that begins later
            # has not.
            if forks.under_way:
                return
            if self._is_retired:
                reader.held.pop(slot, None)
            elif is_lost and slot not in reader.arriving and not self._inherited.get(slot):
                reader.give_back(slot)
            self._let_go.popleft()


if IS_COMPILED:
    _cores.use_subscriber(Subscriber, vars(forks))


def _find_token(run: str, edge: EdgeConfig, slot: int) -> Semaphore | None:
    return find_semaphore(object_names.token(run, edge.number, edge.generation, slot))


def _decoded(array: NDArray[Any]) -> Any:
    # Only receivers of such a sample need pyarrow.
    from dora_rt.transport.values.arrow import decoded

    return decoded(array)
