"""The writer's side of the baton ring; `dora_rt.ring` has the protocol and the layout."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dora_rt.ring import (
    FLOOR,
    HEAD,
    LOG,
    LOG_SHIFT,
    READER_DEAD,
    READER_OPEN,
    READER_STATE,
    SLOT_BITS,
    SLOT_MASK,
    TAKEN,
)
from dora_rt.shm import BusyError, Semaphore


class WriterEdge:
    """The writer's side of one edge: what it knows of the reader, and the queue it keeps."""

    __slots__ = (
        "bit",
        "blocking",
        "doorbell",
        "log_length",
        "log_read",
        "pending",
        "queue_size",
        "reader_state",
        "reader_words",
        "returned",
        "tokens",
    )

    def __init__(
        self,
        *,
        position: int,
        reader_words: memoryview,
        tokens: Sequence[Semaphore],
        returned: Semaphore,
        doorbell: Semaphore,
        queue_size: int,
        blocking: bool,
    ) -> None:
        self.bit = 1 << position
        self.reader_words = reader_words
        self.tokens = tokens
        self.returned = returned
        self.doorbell = doorbell
        self.queue_size = queue_size
        self.blocking = blocking
        self.log_length = 2 * len(tokens)
        self.log_read = 0
        self.reader_state = READER_OPEN
        # (sample number, slot), oldest first. On an edge that drops it also has samples that the
        # reader took meanwhile: the writer learns of those only when it tries their token.
        self.pending: deque[tuple[int, int]] = deque()

    @property
    def is_full(self) -> bool:
        """Tell whether the writer has to wait for this reader."""
        return (
            self.blocking
            and len(self.pending) >= self.queue_size
            and self.reader_state == READER_OPEN
        )


class RingWriter:
    """The one writer of an output. Not thread-safe: its publisher has the lock."""

    def __init__(self, words: memoryview, slots: int, edges: Sequence[WriterEdge]) -> None:
        self.edges = tuple(edges)
        self.head = 0
        # Last in, first out: the slot used a moment ago is still in the cache.
        self.free = list(range(slots - 1, -1, -1))
        self._words = words
        self._slots = slots
        self._batons = [0] * slots
        self._seqs = [-1] * slots
        self._place = FLOOR + len(self.edges)
        self._order = self._place + slots

    def claim(self) -> int | None:
        """Take a slot to write in; None while all are queued or held."""
        self.collect()
        return self.free.pop() if self.free else None

    def put_back(self, slot: int) -> None:
        """Give a claimed slot back unpublished."""
        self.free.append(slot)

    def publish(self, slot: int, generation: int) -> None:
        """Hand a written slot to all open edges as sample number `head`."""
        words = self._words
        seq = self.head
        self._seqs[slot] = seq
        words[self._place + slot] = seq << SLOT_BITS | generation
        batons = 0
        for edge in self.edges:
            if edge.reader_state == READER_OPEN:
                batons |= edge.bit
                edge.pending.append((seq, slot))
                edge.tokens[slot].release()
        self._batons[slot] = batons
        words[self._order + seq % self._slots] = seq + 1 << SLOT_BITS | slot
        self.head = words[HEAD] = seq + 1
        if not batons:
            self.free.append(slot)
            return
        for position, edge in enumerate(self.edges):
            if edge.reader_state == READER_OPEN:
                if not edge.blocking and len(edge.pending) > edge.queue_size:
                    self._trim(edge)
                    words[FLOOR + position] = seq + 1 - len(edge.pending)
                edge.doorbell.release()

    def collect(self) -> None:
        """Read what the readers wrote into their logs: samples taken, and slots given back."""
        for edge in self.edges:
            while edge.returned.value:
                try:
                    edge.returned.acquire(0)
                except BusyError:
                    break
                self.read_log(edge)

    def read_log(self, edge: WriterEdge) -> None:
        """Read the entry that belongs to one post of `returned`, which the caller has taken."""
        entry = edge.reader_words[LOG + edge.log_read % edge.log_length]
        if entry >> LOG_SHIFT != edge.log_read + 1:
            return  # a post without an entry: somebody only woke the writer
        edge.log_read += 1
        if entry & TAKEN:
            if edge.pending:
                edge.pending.popleft()
        else:
            slot = entry & SLOT_MASK
            if slot < self._slots and self._batons[slot] & edge.bit:
                self._free_baton(slot, edge.bit)

    def drop_oldest(self) -> bool:
        """Make room by dropping one waiting sample somewhere; False if there is none to drop."""
        for position, edge in enumerate(self.edges):
            if not edge.blocking and edge.pending:
                self._drop(edge)
                self._words[FLOOR + position] = self.head - len(edge.pending)
                return True
        return False

    def notice_readers(self) -> None:
        """Stop feeding readers that closed their input, and free what dead ones had in hand."""
        for edge in self.edges:
            state = edge.reader_words[READER_STATE]
            if state == edge.reader_state:
                continue
            edge.reader_state = state
            while edge.pending:
                self._drop(edge)
            if state == READER_DEAD:
                for slot, batons in enumerate(self._batons):
                    if batons & edge.bit:
                        self._free_baton(slot, edge.bit)

    def _trim(self, edge: WriterEdge) -> None:
        while len(edge.pending) > edge.queue_size:
            self._drop(edge)

    def _drop(self, edge: WriterEdge) -> None:
        seq, slot = edge.pending.popleft()
        # A slot that meanwhile carries another sample came back, so the reader had this one.
        if self._seqs[slot] != seq or not edge.tokens[slot].value:
            return
        try:
            edge.tokens[slot].acquire(0)
        except BusyError:
            return
        self._free_baton(slot, edge.bit)

    def _free_baton(self, slot: int, bit: int) -> None:
        self._batons[slot] &= ~bit
        if not self._batons[slot]:
            self.free.append(slot)
