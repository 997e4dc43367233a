"""The writer's side of the baton ring; `dora_rt.data.ring` has the protocol and the layout."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from dora_rt.data.fence import Fence
from dora_rt.data.ring import (
    BEING_WRITTEN,
    FLOOR,
    HEAD,
    LOG,
    LOG_SHIFT,
    MAX_SLOTS,
    SENT_NBYTES,
    SLOT_BITS,
    TAKEN,
    floor_word,
)
from dora_rt.data.shm import BusyError, Semaphore


class ReaderState(Enum):
    """What the writer knows of a reader; AWAY: it will be back, and its queue waits for it."""

    HERE = "here"
    AWAY = "away"
    CLOSED = "closed"


# An enum's member costs a look into its class each time, and these are looked at for each sample.
HERE, AWAY, CLOSED = ReaderState.HERE, ReaderState.AWAY, ReaderState.CLOSED


# A reader that is always behind never comes to listen, and a semaphore has a largest count. With so
# many rings to take before it sleeps, it sees what was written before one more was spared.
_ENOUGH_RINGS = 1024


class WriterEdge:
    """The writer's side of one edge: what it knows of the reader, and the queue it keeps."""

    __slots__ = (
        "bit",
        "blocking",
        "doorbell",
        "generation",
        "limit",
        "log_length",
        "log_read",
        "pending",
        "position",
        "queue_size",
        "reader_words",
        "returned",
        "state",
        "tokens",
    )

    def __init__(
        self, *, position: int, doorbell: Semaphore, queue_size: int, blocking: bool
    ) -> None:
        self.position = position
        self.bit = 1 << position
        self.doorbell = doorbell
        self.queue_size = queue_size
        self.blocking = blocking
        # How many samples may wait before the oldest is dropped.
        self.limit = MAX_SLOTS if blocking else queue_size
        self.state = AWAY
        # (sample number, slot), oldest first. On an edge that drops it also has samples that the
        # reader took meanwhile: the writer learns of those only when it tries their token, or
        # gets their slot back.
        self.pending: deque[tuple[int, int]] = deque()

    def connect(
        self,
        generation: int,
        reader_words: memoryview,
        tokens: Sequence[Semaphore],
        returned: Semaphore,
    ) -> None:
        """Use the shared objects of a new generation of the reader."""
        self.generation = generation
        self.reader_words = reader_words
        self.tokens = tokens
        self.returned = returned
        self.log_length = 2 * len(tokens)
        self.log_read = 0

    @property
    def is_full(self) -> bool:
        """Tell whether the writer has to wait for this reader."""
        return self.blocking and len(self.pending) >= self.queue_size and self.state is not CLOSED


class RingWriter:
    """The one writer of an output. Not thread-safe: its publisher has the lock."""

    def __init__(self, words: memoryview, slots: int, edges: Sequence[WriterEdge]) -> None:
        self.edges = tuple(edges)
        self.head = 0
        self.has_news = False
        """Whether a reader woke the writer without giving anything back: it has closed, then."""
        # Last in, first out: the slot used a moment ago is still in the cache.
        self.free = list(range(slots - 1, -1, -1))
        self._words = words
        self._pass_fence = Fence().pass_through
        # Of the edges, as their states are: who gets tokens, and whose baton each new sample has.
        self._listening: tuple[WriterEdge, ...] = ()
        self._waited_for: tuple[WriterEdge, ...] = ()
        self._all_batons = 0
        self._opened = -1
        self._sent_nbytes = 0
        self._slots = slots
        self._batons = [0] * slots
        self._seqs = [-1] * slots
        self._begin = FLOOR + len(self.edges)
        self._dropped = self._begin + len(self.edges)
        self._place = self._dropped + len(self.edges)
        self._order = self._place + slots

    def put_back(self, slot: int) -> None:
        """Give a claimed slot back unpublished."""
        self.free.append(slot)

    def open(self, slot: int) -> None:
        """Let observers know that what is in a claimed slot will change from now on."""
        if slot != self._opened:
            self._words[self._place + slot] = BEING_WRITTEN
            self._pass_fence()
        self._opened = -1

    def open_next(self) -> None:
        """Open the slot that comes next already now, when nobody waits for this process."""
        if self.free:
            slot = self.free[-1]
            if self._seqs[slot] != self.head - 1:  # the newest is what observers look at
                self._words[self._place + slot] = BEING_WRITTEN
                self._pass_fence()
                self._opened = slot

    def publish(self, slot: int, generation: int, nbytes: int) -> None:
        """Hand a written slot to all edges as sample number `head`, with a payload of `nbytes`."""
        words = self._words
        seq = self.head
        self._seqs[slot] = seq
        self._batons[slot] = batons = self._all_batons
        words[self._place + slot] = seq << SLOT_BITS | generation
        words[self._order + seq % self._slots] = seq + 1 << SLOT_BITS | slot
        self.head = words[HEAD] = seq + 1
        waiting = seq, slot
        # All have it before anybody is woken: what a reader makes of it must not reach another one
        # before the sample itself.
        for edge in self._listening:
            edge.tokens[slot].release()
        for edge in self._listening:
            pending = edge.pending
            pending.append(waiting)
            if len(pending) > edge.limit:
                self._trim(edge)
            if edge.doorbell.value < _ENOUGH_RINGS:
                edge.doorbell.release()
        self._sent_nbytes = words[SENT_NBYTES] = self._sent_nbytes + nbytes
        for edge in self._waited_for:
            edge.pending.append(waiting)
            if len(edge.pending) > edge.limit:
                self._trim(edge)
        if not batons:
            self.free.append(slot)

    def collect(self, edge: WriterEdge) -> None:
        """Read what a reader wrote into its log: samples taken, and slots given back."""
        returned = edge.returned
        while returned.value:
            try:
                returned.acquire(0)
            except BusyError:
                return
            self.read_log(edge)

    def collect_all(self) -> None:
        """Read the logs of all readers."""
        for edge in self.edges:
            self.collect(edge)

    def read_log(self, edge: WriterEdge) -> None:
        """Read the entry that belongs to one post of `returned`, which the caller has taken."""
        read = edge.log_read
        entry = edge.reader_words[LOG + read % edge.log_length] - (read + 1 << LOG_SHIFT)
        if not 0 <= entry <= TAKEN:
            self.has_news = True  # a post without an entry
            return
        edge.log_read = read + 1
        if entry == TAKEN:
            if edge.pending and edge.state is HERE:
                edge.pending.popleft()
        elif entry < self._slots:
            bit = edge.bit
            batons = self._batons[entry]
            if batons & bit:
                if edge.pending and edge.pending[0][1] == entry:
                    # Taken as well, then: nobody says so of what is given back at once, nor on an
                    # edge that drops.
                    edge.pending.popleft()
                self._batons[entry] = batons = batons - bit
                if not batons:
                    self.free.append(entry)

    def drop_oldest(self) -> bool:
        """Make room by dropping one waiting sample somewhere; False if there is none to drop."""
        for edge in self.edges:
            if not edge.blocking and edge.pending:
                self._drop(edge)
                self._write_floor(edge)
                # A reader that has just seen the token gone waits to hear that this was a drop.
                edge.doorbell.release()
                return True
        return False

    def welcome(self, edge: WriterEdge) -> None:
        """Hand the queue to a reader that has just been connected, the first one or a new one."""
        first = edge.pending[0][0] if edge.pending else self.head
        self._set_state(edge, HERE)
        self._words[self._begin + edge.position] = floor_word(edge.generation, first)
        self._write_floor(edge)
        for _, slot in edge.pending:
            edge.tokens[slot].release()
        edge.doorbell.release()

    def keep_for_later(self, edge: WriterEdge) -> None:
        """Take back what a reader that will be restarted has not taken, and keep it in order."""
        if edge.state is HERE:
            self._set_state(edge, AWAY)
            edge.pending = deque(
                (seq, slot) for seq, slot in edge.pending if self._take_back(edge, seq, slot)
            )

    def close_edge(self, edge: WriterEdge) -> None:
        """Stop feeding a reader that has closed its input; what it holds comes back by itself."""
        while edge.pending:
            self._drop(edge)
        self._set_state(edge, CLOSED)

    def free_hands(self, edge: WriterEdge) -> None:
        """Free what a reader's process had in its hands; only after that process was reaped."""
        waiting = {slot for _, slot in edge.pending}
        for slot, batons in enumerate(self._batons):
            if batons & edge.bit and slot not in waiting:
                self._free_baton(slot, edge.bit)

    def _set_state(self, edge: WriterEdge, state: ReaderState) -> None:
        edge.state = state
        self._listening = tuple(edge for edge in self.edges if edge.state is HERE)
        self._waited_for = tuple(edge for edge in self.edges if edge.state is AWAY)
        self._all_batons = sum(edge.bit for edge in self.edges if edge.state is not CLOSED)

    def _trim(self, edge: WriterEdge) -> None:
        dropped = False
        while len(edge.pending) > edge.limit:
            dropped |= self._drop(edge)
        if dropped:
            self._write_floor(edge)

    def _write_floor(self, edge: WriterEdge) -> None:
        if edge.state is HERE:
            floor = edge.pending[0][0] if edge.pending else self.head
            self._words[FLOOR + edge.position] = floor_word(edge.generation, floor)

    def _drop(self, edge: WriterEdge) -> bool:
        """Drop the oldest of the queue; False if the reader had taken it meanwhile."""
        seq, slot = edge.pending.popleft()
        # Who is away has no tokens: what waits for it is the writer's to take.
        if edge.state is AWAY or self._take_back(edge, seq, slot):
            self._words[self._dropped + edge.position] += 1
            self._free_baton(slot, edge.bit)
            return True
        return False

    def _take_back(self, edge: WriterEdge, seq: int, slot: int) -> bool:
        # A slot that meanwhile carries another sample came back, so the reader had this one.
        if self._seqs[slot] != seq or not edge.tokens[slot].value:
            return False
        try:
            edge.tokens[slot].acquire(0)
        except BusyError:
            return False
        return True

    def _free_baton(self, slot: int, bit: int) -> None:
        self._batons[slot] = batons = self._batons[slot] & ~bit
        if not batons:
            self.free.append(slot)
