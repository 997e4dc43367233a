"""`Subscriber`: one input of a node that another node writes."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dora_rt.contract import InputConfig, NodeConfig, QueuePolicy
from dora_rt.data import fork, names, ring
from dora_rt.data.board import Board, Fate, Peer
from dora_rt.data.header import ENCODING_ARROW, HEADER_NBYTES, HeaderReader
from dora_rt.data.pool import PoolReader
from dora_rt.data.ring import AGES, COPIED, DELIVERED, HEAD, LATENCIES
from dora_rt.data.ring_reader import RingReader
from dora_rt.data.shm import attach_semaphore, attach_words
from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.event import Event
from dora_rt.latency import BUCKETS, SHORT, UNIT_SHIFT, bucket

SMALL_NBYTES = 1024
"""Arrays up to this size are copied out: to copy one costs less than to keep account of it."""


@final
class Subscriber:
    """One input that another node writes."""

    def __init__(self, config: NodeConfig, entry: InputConfig, board: Board) -> None:
        """Attach to what the launcher made."""
        output, edge = entry.output, entry.edge
        assert output is not None, "only an edge has a subscriber"
        assert edge is not None, "only an edge has a subscriber"
        run = config.run
        self.input_id = entry.id
        self.where = f"node {config.node!r}, input {entry.id!r}"
        self.is_ended = False
        self._config = config
        self._entry = entry
        self._edge = edge
        self._board = board
        self._board_place = board.writer_place(edge.number)
        self._peer = Peer(Fate.ALIVE, output.generation, edge.generation)
        self._peer_word = self._peer.to_word()
        self._output_words = attach_words(
            names.output(run, output.number, output.generation),
            lambda words, name: ring.check_output(words, output.slots, len(output.edges), name),
            writable=False,
        )
        self._words = attach_words(
            names.edge(run, edge.number, edge.generation),
            lambda words, name: ring.check_edge(words, edge.slots, name),
            writable=True,
        )
        self._returned = attach_semaphore(names.returned(run, edge.number, edge.generation))
        self._ring = RingReader(
            output_words=self._output_words,
            edge_words=self._words,
            tokens=[
                attach_semaphore(names.token(run, edge.number, edge.generation, slot))
                for slot in range(edge.slots)
            ],
            returned=self._returned,
            position=edge.position,
            edges=len(output.edges),
            generation=edge.generation,
        )
        self._is_blocking = edge.queue_policy is QueuePolicy.BLOCK
        is_latest = edge.queue_policy is QueuePolicy.LATEST
        self._take_sample = self._ring.take_newest if is_latest else self._ring.take
        self._pool = PoolReader(run, output)
        self._headers = HeaderReader()
        self._max_held = edge.max_held
        self._leases: dict[int, weakref.ref[NDArray[Any]]] = {}
        # By slots that forks of this process may look at; they are kept here until those are gone.
        self._inherited: dict[int, set[fork.Heirs]] = {}
        fork.lenders.add(self)
        self._let_go_of = [partial(self._lose_view, slot) for slot in range(edge.slots)]
        # Slots whose last view is gone. A finalizer may run at any moment in any thread, also in
        # the middle of `take`: it only appends, and gives back if nobody else is about to.
        self._let_go: deque[tuple[int, weakref.ref[NDArray[Any]]]] = deque()
        self._lock = threading.Lock()
        self._writer_is_gone = False
        self._dropped = 0  # since the last event
        self._delivered = self._copied = self._all_dropped = self._own_dropped = 0
        self._latencies = [0] * BUCKETS
        self._ages = [0] * BUCKETS

    def take(self) -> Event | None:
        """Give the next sample that is there, or None.

        Raises:
            CorruptSampleError: its header makes no sense; the sample is skipped.
        """
        ring = self._ring
        if (
            self._output_words[HEAD] == ring.next_seq
            and not self._let_go
            and not self._writer_is_gone
        ):
            # Nothing was published since the last sample taken, and nothing is to be tidied up. A
            # HEAD that is seen late does no harm: the doorbell rings after it was written.
            return None
        if self.is_ended:
            return None
        event = None
        self._lock.acquire()
        try:
            if self._let_go:
                fork.settle()
                self._give_back_let_go()
            try:
                taken = self._take_sample(self._writer_is_gone)
            except CorruptSampleError as error:
                self._count_missed()
                raise CorruptSampleError(f"{self.where}: {error}", self.input_id) from error
            if ring.missed:
                self._count_missed()
            if taken is None:
                self.is_ended = self._writer_is_gone
            else:
                event = self._receive(taken[0], taken[1])
        finally:
            self._lock.release()
        if self._let_go:
            self._return_slots()
        return event

    def has_news(self) -> bool:
        """Tell whether the writer has closed its output, died, or come back."""
        return (
            self._board_place[0] != self._peer_word
            or self._output_words[ring.WRITER_CLOSED] != ring.OPEN
        )

    def notices_end(self) -> bool:
        """Tell, once, that the writer has gone; the next `take` that finds nothing is the last.

        Between this look and that `take` the caller must pass through a semaphore, so that all
        that the writer wrote before is visible.
        """
        if self._writer_is_gone or not self.has_news():
            return False
        peer = Peer.from_word(self._board.writer_word(self._edge.number))
        closing = self._output_words[ring.WRITER_CLOSED]
        self._writer_is_gone = (
            peer.fate is Fate.GONE
            or peer.output_generation != self._peer.output_generation
            or closing == ring.CLOSED_FOR_GOOD
            or (closing == ring.CLOSED and not self._edge.writer_returns)
        )
        return self._writer_is_gone

    def successor(self) -> Subscriber | None:
        """Attach to the writer that was started again in place of the one that is gone.

        Call it when `is_ended`; None when there is no such writer.
        """
        word = self._board.writer_word(self._edge.number)
        while Peer.from_word(word).output_generation != self._peer.output_generation:
            try:
                return self._attach_to(Peer.from_word(word))
            except SharedMemoryError:
                # The writer may have died once more meanwhile, and its objects gone with it.
                newer = self._board.writer_word(self._edge.number)
                if newer == word:
                    raise
                word = newer
        return None

    def _attach_to(self, peer: Peer) -> Subscriber:
        assert self._entry.output is not None, "only an edge has a subscriber"
        entry = replace(
            self._entry,
            output=replace(self._entry.output, generation=peer.output_generation),
            edge=replace(self._edge, generation=peer.edge_generation),
        )
        return Subscriber(self._config, entry, self._board)

    def close(self, closing: int = ring.CLOSED) -> None:
        """Take no more; the writer stops feeding this input.

        Args:
            closing: how: one of the closings of `dora_rt.data.ring`.
        """
        if self._words[ring.READER_CLOSED] == ring.OPEN:
            self._words[ring.READER_CLOSED] = closing
            self._returned.release()
        self.is_ended = True

    def keep_for(self, heirs: fork.Heirs) -> bool:
        """Give nothing that is held now back before a fork of this process is gone."""
        for slot in list(self._leases):
            # A set of its own each time, by which `_give_back_inherited` sees that it was changed.
            earlier = self._inherited.get(slot, ())
            self._inherited[slot] = {heirs, *(one for one in earlier if not one.are_gone())}
        return any(list(self._inherited.values()))

    def _receive(self, slot: int, growth: int) -> Event:
        reader = self._ring
        is_leased = is_copied = False
        value: Any
        try:
            place = self._pool.places[slot]
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
                is_leased = len(self._leases) < self._max_held
                if not is_leased and self._inherited:
                    self._give_back_inherited()
                    is_leased = len(self._leases) < self._max_held
                if is_leased:
                    # Every view of the array keeps the array itself alive, so the callback comes
                    # when the last of them is gone.
                    self._leases[slot] = weakref.ref(value, self._let_go_of[slot])
                else:
                    is_copied = True
                    value = value.copy()
                    value.flags.writeable = False
            if encoding == ENCODING_ARROW:
                value = _decoded(value)
        except BaseException as error:
            self._count_dropped(1, own=1)
            self._leases.pop(slot, None)
            reader.give_back(slot)
            if isinstance(error, CorruptSampleError):
                raise CorruptSampleError(f"{self.where}: {error}", self.input_id) from error
            raise
        if not is_leased:
            reader.give_back(slot)
            if is_copied:
                self._words[COPIED] = self._copied = self._copied + 1
        elif self._is_blocking:
            reader.hold()
        now_ns = time.monotonic_ns()
        words, latencies = self._words, self._latencies
        units = now_ns - sent_ns >> UNIT_SHIFT
        place_of = SHORT[units] if 0 <= units < len(SHORT) else bucket(now_ns - sent_ns)
        # Never from the words themselves: who overwrote one must not stop this node by an overflow.
        words[LATENCIES + place_of] = latencies[place_of] = latencies[place_of] + 1
        ages = self._ages
        units = now_ns - origin_ns >> UNIT_SHIFT
        place_of = SHORT[units] if 0 <= units < len(SHORT) else bucket(now_ns - origin_ns)
        words[AGES + place_of] = ages[place_of] = ages[place_of] + 1
        words[DELIVERED] = self._delivered = self._delivered + 1
        dropped, self._dropped = self._dropped, 0
        return Event(
            self.input_id, value, metadata_json, seq, dropped, sent_ns, origin_ns, is_copied
        )

    def _count_missed(self) -> None:
        reader = self._ring
        self._count_dropped(reader.missed, own=reader.passed_over)
        reader.missed = reader.passed_over = 0

    def _count_dropped(self, samples: int, *, own: int) -> None:
        words = self._words
        words[ring.DROPPED] = self._all_dropped = self._all_dropped + samples
        words[ring.READER_DROPPED] = self._own_dropped = self._own_dropped + own
        self._dropped += samples

    def _lose_view(self, slot: int, view: weakref.ref[NDArray[Any]]) -> None:
        if fork.is_forked:
            return  # the parent still holds it
        self._let_go.append((slot, view))
        self._return_slots()

    def _return_slots(self) -> None:
        # Whoever has the lock looks once more after letting go of it, so nothing is forgotten.
        while self._let_go and not fork.under_way and self._lock.acquire(blocking=False):
            try:
                self._give_back_let_go()
            finally:
                self._lock.release()

    def _give_back_let_go(self) -> None:
        while self._let_go and not fork.under_way:
            slot, view = let_go = self._let_go.popleft()
            # Looked at when the view is gone: a fork that begins later does not have it.
            if fork.under_way:
                self._let_go.appendleft(let_go)
            elif not self._inherited.get(slot) and self._leases.get(slot) is view:
                del self._leases[slot]
                self._ring.give_back(slot)

    def _give_back_inherited(self) -> None:
        for slot, heirs in list(self._inherited.items()):
            if not all(one.are_gone() for one in heirs):
                continue
            view = self._leases.get(slot)
            is_let_go = view is not None and view() is None
            if fork.under_way or self._inherited[slot] is not heirs:
                continue  # there is one more fork
            if is_let_go:
                del self._inherited[slot], self._leases[slot]
                self._ring.give_back(slot)
            else:
                heirs.clear()  # and not what one more fork may have put in its place


def _decoded(array: NDArray[Any]) -> Any:
    # Only who receives such a sample needs pyarrow.
    from dora_rt.data.arrow import decoded

    return decoded(array)
