"""`Subscriber`: one input of a node that another node writes."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from dora_rt.contract import InputConfig, NodeConfig, QueuePolicy
from dora_rt.data import fork, names, ring
from dora_rt.data.board import Board, Fate, Peer
from dora_rt.data.pool import PoolReader
from dora_rt.data.ring_reader import RingReader
from dora_rt.data.sample import ReceivedHeader
from dora_rt.data.shm import attach_semaphore, attach_words
from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.event import Event
from dora_rt.latency import bucket


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
            announces_takes=edge.queue_policy is QueuePolicy.BLOCK,
            newest_only=edge.queue_policy is QueuePolicy.LATEST,
        )
        self._pool = PoolReader(run, output)
        self._max_held = edge.max_held
        self._leases: dict[int, weakref.ref[NDArray[Any]]] = {}
        # Slots whose last view is gone. A finalizer may run at any moment in any thread, also in
        # the middle of `take`: it only appends, and gives back if nobody else is about to.
        self._let_go: deque[int] = deque()
        self._lock = threading.Lock()
        self._writer_is_gone = False
        self._dropped = 0
        self._counts = [0] * ring.LOG

    def take(self) -> Event | None:
        """Give the next sample that is there, or None.

        Raises:
            CorruptSampleError: its header makes no sense; the sample is skipped.
        """
        if self.is_ended:
            return None
        with self._lock:
            self._give_back_let_go()
            try:
                taken = self._ring.take(is_final=self._writer_is_gone)
            except CorruptSampleError as error:
                self._count_dropped(self._ring.missed, own=self._ring.passed_over)
                raise CorruptSampleError(f"{self.where}: {error}") from error
            if self._ring.missed:
                self._count_dropped(self._ring.missed, own=self._ring.passed_over)
            if taken is None:
                event = None
                self.is_ended = self._writer_is_gone
            else:
                try:
                    event = self._receive(*taken)
                except BaseException as error:
                    self._count_dropped(1, own=1)
                    self._ring.give_back(taken[0])
                    if isinstance(error, CorruptSampleError):
                        raise CorruptSampleError(f"{self.where}: {error}") from error
                    raise
        if self._let_go:
            self._return_slots()
        return event

    def notices_end(self) -> bool:
        """Tell, once, that the writer has gone; the next `take` that finds nothing is the last.

        Between this look and that `take` the caller must pass through a semaphore, so that all
        that the writer wrote before is visible.
        """
        word = self._board.writer_word(self._edge.number)
        closing = self._output_words[ring.WRITER_CLOSED]
        if self._writer_is_gone or (word == self._peer_word and closing == ring.OPEN):
            return False
        peer = Peer.from_word(word)
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
            closing: CLOSED because this process ends, or CLOSED_FOR_GOOD.
        """
        if self._words[ring.READER_CLOSED] == ring.OPEN:
            self._words[ring.READER_CLOSED] = closing
            self._returned.release()
        self.is_ended = True

    def _receive(self, slot: int, growth: int) -> Event:
        place = self._pool.locate(slot, growth)
        buffer = place.buffer
        header = ReceivedHeader(buffer, place.offset, place.nbytes)
        if header.seq != self._ring.seq:
            raise CorruptSampleError(
                f"slot {slot} holds sample {header.seq}, expected {self._ring.seq}"
            )
        latency_ns = time.monotonic_ns() - header.sent_ns
        copied = False
        value: Any
        if header.dtype is None:
            begin = header.payload_offset
            value = buffer[begin : begin + header.nbytes]
            self._ring.give_back(slot)
        elif header.nbytes == 0 or len(self._leases) >= self._max_held:
            copied = header.nbytes > 0
            array = header.view(buffer).copy()
            array.flags.writeable = False
            value = _decoded(array) if header.is_arrow else array
            self._ring.give_back(slot)
        else:
            array = header.view(buffer)
            value = _decoded(array) if header.is_arrow else array
            # Every view of the array keeps the array itself alive, so the callback comes when the
            # last of them is gone.
            self._leases[slot] = weakref.ref(array, partial(self._let_go_of, slot))
        self._count(ring.DELIVERED)
        if copied:
            self._count(ring.COPIED)
        self._count(ring.LATENCIES + bucket(latency_ns))
        dropped, self._dropped = self._dropped, 0
        return Event(
            self.input_id,
            value,
            header.metadata_json,
            seq=header.seq,
            dropped=dropped,
            sent_ns=header.sent_ns,
            origin_ns=header.origin_ns,
            copied=copied,
        )

    def _count_dropped(self, samples: int, *, own: int) -> None:
        self._count(ring.DROPPED, samples)
        self._count(ring.READER_DROPPED, own)
        self._dropped += samples

    def _count(self, word: int, samples: int = 1) -> None:
        # Never from the word itself: who overwrote it must not stop this node by an overflow.
        self._counts[word] = self._words[word] = self._counts[word] + samples

    def _let_go_of(self, slot: int, _: weakref.ref[NDArray[Any]]) -> None:
        if fork.is_forked:
            return  # the parent still holds it
        self._let_go.append(slot)
        self._return_slots()

    def _return_slots(self) -> None:
        # Whoever has the lock looks once more after letting go of it, so nothing is forgotten.
        while self._let_go and self._lock.acquire(blocking=False):
            try:
                self._give_back_let_go()
            finally:
                self._lock.release()

    def _give_back_let_go(self) -> None:
        while self._let_go:
            slot = self._let_go.popleft()
            del self._leases[slot]
            self._ring.give_back(slot)


def _decoded(array: NDArray[Any]) -> Any:
    # Only who receives such a sample needs pyarrow.
    from dora_rt.data.arrow import decoded

    return decoded(array)
