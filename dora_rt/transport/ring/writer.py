"""The writer's side of the baton ring; `protocol` beside it has the words, the steps, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from dora_rt import compiled
from dora_rt.transport.primitives.fence import Fence, stores_need_fences
from dora_rt.transport.primitives.noted_operations import posting
from dora_rt.transport.primitives.shm import BusyError
from dora_rt.transport.ring.protocol import (
    BEING_WRITTEN,
    FLOOR,
    HEAD,
    LOG,
    LOG_SHIFT,
    READER_CLOSED,
    SENT_NBYTES,
    SLOT_BITS,
    SLOT_MASK,
    TAKEN,
    floor_word,
)
from dora_rt.transport.ring.writer_edge import AWAY, CLOSED, HERE, ReaderState, WriterEdge

# A reader that is always behind never listens, and a semaphore has a largest count. A reader that
# finds so many rings to take before it sleeps sees what was written before one more was spared:
# to take them lasts for microseconds, and no processor delays a store by that (`value` is a plain
# load, which ARM may do before the tokens are posted).
_ENOUGH_RINGS = 64


@compiled.prefer_compiled
class RingWriter(compiled.RingWriterCore):
    """The one writer of an output. Not thread-safe: its publisher has the lock.

    The caller of a method calls `recover` first if an exception came out of an earlier
    call.
    """

    def __init__(
        self, words: memoryview, slots: int, edges: Sequence[WriterEdge], *, latched: bool = False
    ) -> None:
        self.edges = tuple(edges)
        self.head = 0
        self.readers_changed = False
        """Whether a reader has closed its input since the readers were last looked at."""
        # Last in, first out: the slot used a moment ago is still in the cache.
        self.free = list(range(slots - 1, -1, -1))
        self.loaned: set[int] = set()
        """Slots without a sample that are not free either."""
        self._words = words
        self.pass_fence = Fence().pass_through
        self._stores_need_fences = stores_need_fences()
        # `_listening` get tokens; `_all_batons`: mask of readers that must return a new slot.
        self._listening: tuple[WriterEdge, ...] = ()
        self._waited_for: tuple[WriterEdge, ...] = ()
        self._all_batons = 0
        # By slot: the posts of its token, one for each of `_listening`; None: a token is missing.
        self.posts: list[tuple[Callable[[], Any], ...] | None] = [None] * slots
        self.opened = -1
        """The slot of which observers know already that it will change."""
        self._sent_nbytes = 0
        self._slots = slots
        # The newest sample of a latched output has one baton more, which nobody returns before the
        # next one is out: so its slot is neither loaned nor written for a sample that fails.
        self._is_latched = latched
        self._latch = 1 << len(self.edges) if latched else 0
        self._newest_slot = -1
        self._batons = [0] * slots
        self._seqs = [-1] * slots
        self._begin = FLOOR + len(self.edges)
        self._dropped = self._begin + len(self.edges)
        self._place = self._dropped + len(self.edges)
        self._order = self._place + slots
        # The operation in progress: noted before its first step, and read after an exception.
        # Slot, number, growth of the pool, and the bytes sent with it:
        self._publishing: tuple[int, int, int, int] | None = None
        # Edge, number, slot, the count of drops with it, and whether it has a token:
        self._dropping: tuple[WriterEdge, int, int, int, bool] | None = None
        # Edge, and the queue when its reader came:
        self._connecting: tuple[WriterEdge, tuple[tuple[int, int], ...]] | None = None
        self._posted: list[None] = []
        self._derive()

    def prepare(self, slot: int) -> None:
        """Make what posting a claimed slot takes, before anything of that has begun.

        Raises:
            SharedMemoryError, SharedMemoryFullError: a token cannot be made.
        """
        tokens = [edge.token(slot) for edge in self._listening]
        self.posts[slot] = tuple(posting(token, self._posted) for token in tokens)

    def open(self, slot: int) -> None:
        """Do step 1, unless `open_next` has done so, for a sample that the caller then writes."""
        self._words[self._place + slot] = BEING_WRITTEN
        if self._stores_need_fences:
            self.pass_fence()
        self.opened = slot

    def open_next(self) -> None:
        """Open the next slot ahead of time, while no reader waits for this process.

        Its fence is the publisher's lock, which is released and taken again before the slot is
        written.
        """
        if self.free:
            slot = self.free[-1]
            if self._seqs[slot] != self.head - 1:  # observers look at the newest
                self._words[self._place + slot] = BEING_WRITTEN
                self.opened = slot

    def publish(self, slot: int, growth: int, nbytes: int) -> None:
        """Do steps 2 to 5 for a prepared slot that has been written with sample number `head`.

        Args:
            slot: the slot.
            growth: number of the pool that the slot is in.
            nbytes: size of the payload.
        """
        words = self._words
        seq = self.head
        sent_nbytes = self._sent_nbytes + nbytes
        self._posted.clear()
        self._publishing = slot, seq, growth, sent_nbytes
        self._seqs[slot] = seq
        self._batons[slot] = batons = self._all_batons
        if self._stores_need_fences:
            self.pass_fence()
        words[self._place + slot] = seq << SLOT_BITS | growth
        words[self._order + seq % self._slots] = seq + 1 << SLOT_BITS | slot
        self.head = words[HEAD] = seq + 1
        posts = self.posts[slot]
        assert posts is not None, "prepared"
        # All have it before anybody is woken: what a reader makes of it must not reach another one
        # before the sample itself.
        for post in posts:
            post()
        waiting = seq, slot
        for edge in self._listening:
            pending = edge.pending
            pending.append(waiting)
            if len(pending) > edge.limit:
                self._trim(edge)
            if edge.doorbell.value < _ENOUGH_RINGS:
                edge.doorbell.release()
        for edge in self._waited_for:
            edge.pending.append(waiting)
            if len(edge.pending) > edge.limit:
                self._trim(edge)
        self._sent_nbytes = words[SENT_NBYTES] = sent_nbytes
        if self._is_latched:
            self._keep_newest(slot)
        elif not batons:
            self.free.append(slot)
        self.opened = -1
        self._publishing = None

    def recover(self) -> None:
        """Finish the operation that an exception broke off, so that it is done once and whole."""
        if self._publishing is None:
            # While the slot of an entry that was acted on, and not passed yet, is not used again.
            for edge in self.edges:
                self.read_log(edge)
        if self._dropping is not None:
            self._finish_drop(self._dropping)
        if self._publishing is not None:
            self._finish_publish(self._publishing)
        self._derive()
        if self._connecting is not None:
            self._hand_over(*self._connecting)
        for edge in self._listening:
            self._write_floor(edge)
            edge.doorbell.release()
        self.opened = -1
        self.find_free()

    def find_free(self) -> None:
        """Find the slots that carry nothing, those included that an exception has left lying."""
        batons = self._batons
        free = [slot for slot in dict.fromkeys(self.free) if not batons[slot]]
        known = {*free, *self.loaned}
        lost = [slot for slot in range(self._slots) if slot not in known and not batons[slot]]
        self.free = free + lost

    def _finish_publish(self, publishing: tuple[int, int, int, int]) -> None:
        slot, seq, growth, sent_nbytes = publishing
        words = self._words
        self._seqs[slot] = seq
        self._batons[slot] = self._all_batons
        self.pass_fence()
        words[self._place + slot] = seq << SLOT_BITS | growth
        words[self._order + seq % self._slots] = seq + 1 << SLOT_BITS | slot
        self.head = words[HEAD] = seq + 1
        for post in (self.posts[slot] or ())[len(self._posted) :]:
            post()
        for edge in (*self._listening, *self._waited_for):
            if not edge.pending or edge.pending[-1][0] != seq:
                edge.pending.append((seq, slot))
            self._trim(edge)
        self._sent_nbytes = words[SENT_NBYTES] = sent_nbytes
        if self._is_latched:
            for earlier in range(self._slots):
                if earlier != slot:
                    self._free_baton(earlier, self._latch)
            self._newest_slot = slot
        self._publishing = None

    def collect(self, edge: WriterEdge) -> None:
        """Do step 12 for one reader, and find out whether it has closed its input."""
        returned = edge.returned
        with suppress(BusyError):
            for _ in range(returned.value):
                returned.acquire(0)
        self.read_log(edge)
        if edge.reader_words[READER_CLOSED] != edge.closing:
            self.readers_changed = True

    def collect_one(self, edge: WriterEdge) -> None:
        """Do step 12 where `returned` has one post: as `collect`, of what that is mostly for."""
        edge.returned.acquire(0)
        read = edge.log_read
        slot = edge.reader_words[LOG + read % edge.log_length] - (read + 1 << LOG_SHIFT)
        if 0 <= slot < self._slots and (batons := self._batons[slot]) & edge.bit:
            if edge.pending and edge.pending[0][1] == slot:
                edge.pending.popleft()
            self._batons[slot] = batons = batons - edge.bit
            if not batons:
                self.free.append(slot)
            edge.log_read = read + 1
        else:
            self.collect(edge)

    def collect_all(self) -> None:
        """Read the logs of all readers."""
        for edge in self.edges:
            self.collect(edge)

    def read_log(self, edge: WriterEdge) -> None:
        """Read all entries of a reader's log that were not read yet: taken, or given back."""
        words, length = edge.reader_words, edge.log_length
        read = edge.log_read
        while True:
            entry = words[LOG + read % length] - (read + 1 << LOG_SHIFT)
            # An entry of another round, or none yet.
            if not 0 <= entry < 2 * TAKEN:
                return
            slot = entry & SLOT_MASK
            if slot < self._slots:
                pending = edge.pending
                batons = self._batons[slot]
                # An entry that is read a second time finds its slot gone from both.
                if batons & edge.bit:
                    if pending and pending[0][1] == slot:
                        # Also for "given back": "taken" is not logged for a slot given back at
                        # once, nor on an edge that drops.
                        pending.popleft()
                    if entry < TAKEN:
                        self._batons[slot] = batons = batons - edge.bit
                        if not batons:
                            self.free.append(slot)
            edge.log_read = read = read + 1

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

    def connect_reader(self, edge: WriterEdge) -> None:
        """Do steps 15 and 16: hand the queue to a reader that has been connected.

        Raises:
            SharedMemoryError, SharedMemoryFullError: a token cannot be made; the reader then still
                counts as AWAY.
        """
        for _, slot in edge.pending:
            edge.token(slot)
        self._posted.clear()
        # The queue itself gets shorter when the reader is quick and an exception comes in between.
        waiting = tuple(edge.pending)
        self._connecting = edge, waiting
        self._hand_over(edge, waiting)

    def _hand_over(self, edge: WriterEdge, waiting: tuple[tuple[int, int], ...]) -> None:
        first = waiting[0][0] if waiting else self.head
        word = floor_word(edge.generation, first)
        self._words[self._begin + edge.position] = word
        self._words[FLOOR + edge.position] = word
        for _, slot in waiting[len(self._posted) :]:
            posting(edge.token(slot), self._posted)()
        edge.doorbell.release()
        self._set_state(edge, HERE)
        self._connecting = None

    def keep_queue_for_restart(self, edge: WriterEdge) -> None:
        """Post nothing more to a reader that will be restarted; it may still take the queue."""
        if edge.state is HERE:
            edge.posted_below = self.head
            self._set_state(edge, AWAY)

    def bury(self, edge: WriterEdge) -> None:
        """Do steps 13 and 14 for a reader whose process was reaped; its queue then waits here."""
        self.keep_queue_for_restart(edge)
        self.read_log(edge)
        edge.pending = deque(
            (seq, slot)
            for seq, slot in edge.pending
            if self._seqs[slot] == seq and (seq >= edge.posted_below or self._waits(edge, slot))
        )
        edge.posted_below = 0
        if self._is_latched and edge.pending and edge.pending[-1][0] != self.head - 1:
            # The dead reader had claimed the newest before its turn. The next one would take what
            # waits for the newest, as it is not told what is in dead hands.
            newest = self._newest_slot
            self._batons[newest] |= edge.bit
            edge.pending.append((self.head - 1, newest))
        waiting = {slot for _, slot in edge.pending}
        for slot, batons in enumerate(self._batons):
            if batons & edge.bit and slot not in waiting:
                self._free_baton(slot, edge.bit)

    def close_edge(self, edge: WriterEdge) -> None:
        """Stop feeding a reader that has closed its input; slots that it holds come back."""
        while edge.pending:
            # Not counted: "dropped" means that a reader was too slow, and this one reads no more.
            self._drop(edge, counted=0)
        self._set_state(edge, CLOSED)

    def _keep_newest(self, slot: int) -> None:
        """Keep the slot of a latched output's newest sample, and let that of the one before go."""
        earlier, self._newest_slot = self._newest_slot, slot
        if earlier >= 0:
            self._free_baton(earlier, self._latch)

    def _waits(self, edge: WriterEdge, slot: int) -> bool:
        token = edge.tokens[slot]
        return token is not None and token.value > 0

    def _set_state(self, edge: WriterEdge, state: ReaderState) -> None:
        edge.state = state
        self._derive()

    def _derive(self) -> None:
        listening = tuple(edge for edge in self.edges if edge.state is HERE)
        if listening != self._listening:
            self.posts[:] = [None] * self._slots
        self._waited_for = tuple(edge for edge in self.edges if edge.state is AWAY)
        batons = sum(edge.bit for edge in self.edges if edge.state is not CLOSED)
        self._all_batons = batons + self._latch
        self._listening = listening

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

    def _drop(self, edge: WriterEdge, *, counted: int = 1) -> bool:
        """Drop the oldest of the queue; False if the reader had taken it meanwhile."""
        seq, slot = edge.pending[0]
        # A reader that is AWAY has no token of later samples: they are the writer's to take.
        has_token = edge.state is not AWAY or seq < edge.posted_below
        if has_token and not (self._seqs[slot] == seq and self._waits(edge, slot)):
            edge.pending.popleft()
            return False
        self._dropping = edge, seq, slot, edge.dropped + counted, has_token
        return self._finish_drop(self._dropping)

    def _finish_drop(self, dropping: tuple[WriterEdge, int, int, int, bool]) -> bool:
        edge, seq, slot, dropped, has_token = dropping
        if edge.pending and edge.pending[0][0] == seq:
            if not edge.won:
                if not has_token:
                    edge.won.append(slot)
                # A slot that meanwhile carries another sample came back: the reader had this one.
                elif self._seqs[slot] == seq and self._waits(edge, slot):
                    self._take_back(edge, slot)
            edge.pending.popleft()
        is_won = bool(edge.won)
        if is_won:
            self._words[self._dropped + edge.position] = edge.dropped = dropped
            self._free_baton(slot, edge.bit)
        edge.won.clear()
        self._dropping = None
        return is_won

    def _take_back(self, edge: WriterEdge, slot: int) -> None:
        claim = edge.claims[slot]
        assert claim is not None, "who waits has a token"
        with suppress(BusyError):
            claim()

    def _free_baton(self, slot: int, bit: int) -> None:
        had = self._batons[slot]
        if had & bit:
            self._batons[slot] = batons = had - bit
            if not batons:
                self.free.append(slot)
