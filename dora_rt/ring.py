"""The baton ring: which slot carries which sample, and who may touch it.

One output has `slots` numbered slots and any number of edges, one per reader. Each edge has one
token semaphore per slot, and one `returned` semaphore. POSIX semaphores are the only atomics that
pure Python has; `sem_trywait` on a token is a claim that exactly one process wins.

Publishing sample n in a slot that the writer owns:

1. write the sample, and `PLACE[slot] = n, generation`;
2. post the slot's token on each edge: each reader now may have the baton;
3. write `ORDER[n % slots] = n, slot`, then `HEAD = n + 1`;
4. where an edge holds more than its queue, take the oldest tokens back (won: dropped; lost: the
   reader has that sample), then write `FLOOR[edge]`: nothing below it waits any more;
5. ring the readers' doorbells.

Reading sample n: at or above FLOOR, `ORDER` says n, the token is won, and `PLACE[slot]` says n.

Giving back: the reader writes the slot's number into its own log, then posts `returned`; the
writer reads one entry of the log for each post it takes. A slot is free when all batons are back.

Nothing is locked, so nothing stays locked when a process is killed. Every word has one writing
process. ORDER, PLACE and the log carry the number of their sample or entry, so a reader that sees
a word early or late (ARM does not keep the order of plain stores) sees that it is not the one it
looks for; sample memory itself is only touched after a token or a `returned` post was won, and
POSIX says that these synchronize memory. FLOOR is what tells "dropped" from "token not here yet".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.latency import BUCKETS
from dora_rt.shm import BusyError, Semaphore

MAGIC = int.from_bytes(b"dora_rt1", "little")
MAX_SLOTS = 1 << 16

# Output segment, in 8-byte words. The launcher writes the first line once, the writer the rest.
_OUTPUT_SLOTS = 1
_OUTPUT_EDGES = 2
HEAD = 8  # samples published so far
WRITER_CLOSED = 9  # 1 when the writer will publish no more; the launcher says it for the dead
_FLOOR = 16  # one word per edge

# Edge segment. The launcher writes the first line once, the reader the rest.
_EDGE_SLOTS = 1
DELIVERED = 8
DROPPED = 9
COPIED = 10
READER_STATE = 11  # one of the three below; the launcher writes the last one, after reaping
READER_OPEN, READER_CLOSED, READER_DEAD = 0, 1, 2
LATENCIES = 16  # histogram of delivery latencies
_LOG = LATENCIES + BUCKETS

_SLOT_BITS = 16
_SLOT_MASK = MAX_SLOTS - 1
_TAKEN = 1 << _SLOT_BITS  # a log entry that says "taken from the queue" and not "given back"
_LOG_SHIFT = _SLOT_BITS + 1


def output_nbytes(slots: int, edges: int) -> int:
    """Give the size of an output segment in bytes."""
    return 8 * (_FLOOR + edges + 2 * slots)


def edge_nbytes(slots: int) -> int:
    """Give the size of an edge segment in bytes."""
    # Each slot can be in the log twice: taken, and given back.
    return 8 * (_LOG + 2 * slots)


def format_output(words: memoryview, slots: int, edges: int) -> None:
    """Write the first line of a new output segment; runs in the launcher."""
    words[_OUTPUT_SLOTS] = slots
    words[_OUTPUT_EDGES] = edges
    words[0] = MAGIC


def format_edge(words: memoryview, slots: int) -> None:
    """Write the first line of a new edge segment; runs in the launcher."""
    words[_EDGE_SLOTS] = slots
    words[0] = MAGIC


def check_output(words: memoryview, slots: int, edges: int, name: str) -> None:
    """Compare the first line of an output segment with what the launcher said.

    Raises:
        SharedMemoryError: they differ.
    """
    _check(words, (MAGIC, slots, edges), output_nbytes(slots, edges), name)


def check_edge(words: memoryview, slots: int, name: str) -> None:
    """Compare the first line of an edge segment with what the launcher said.

    Raises:
        SharedMemoryError: they differ.
    """
    _check(words, (MAGIC, slots), edge_nbytes(slots), name)


def _check(words: memoryview, expected: tuple[int, ...], nbytes: int, name: str) -> None:
    found = tuple(words[: len(expected)])
    if found != expected or words.nbytes < nbytes:
        raise SharedMemoryError(
            f"{name} begins with {found} and has {words.nbytes} bytes; expected {expected} and at "
            f"least {nbytes} bytes: it was overwritten, or made by another version of dora_rt"
        )


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
        self._place = _FLOOR + len(self.edges)
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
        words[self._place + slot] = seq << _SLOT_BITS | generation
        batons = 0
        for edge in self.edges:
            if edge.reader_state == READER_OPEN:
                batons |= edge.bit
                edge.pending.append((seq, slot))
                edge.tokens[slot].release()
        self._batons[slot] = batons
        words[self._order + seq % self._slots] = seq + 1 << _SLOT_BITS | slot
        self.head = words[HEAD] = seq + 1
        if not batons:
            self.free.append(slot)
            return
        for position, edge in enumerate(self.edges):
            if edge.reader_state == READER_OPEN:
                if not edge.blocking and len(edge.pending) > edge.queue_size:
                    self._trim(edge)
                    words[_FLOOR + position] = seq + 1 - len(edge.pending)
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
        entry = edge.reader_words[_LOG + edge.log_read % edge.log_length]
        if entry >> _LOG_SHIFT != edge.log_read + 1:
            return  # a post without an entry: somebody only woke the writer
        edge.log_read += 1
        if entry & _TAKEN:
            if edge.pending:
                edge.pending.popleft()
        else:
            slot = entry & _SLOT_MASK
            if slot < self._slots and self._batons[slot] & edge.bit:
                self._free_baton(slot, edge.bit)

    def drop_oldest(self) -> bool:
        """Make room by dropping one waiting sample somewhere; False if there is none to drop."""
        for position, edge in enumerate(self.edges):
            if not edge.blocking and edge.pending:
                self._drop(edge)
                self._words[_FLOOR + position] = self.head - len(edge.pending)
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


class RingReader:
    """One reader of an output. Not thread-safe: its subscriber has the lock."""

    def __init__(
        self,
        *,
        output_words: memoryview,
        edge_words: memoryview,
        tokens: Sequence[Semaphore],
        returned: Semaphore,
        position: int,
        edges: int,
        announces_takes: bool,
        newest_only: bool,
    ) -> None:
        self.seq = -1
        """Number of the sample taken last."""
        self.missed = 0
        """Samples dropped between the one taken last and the one before."""
        self._words = output_words
        self._edge_words = edge_words
        self._tokens = tokens
        self._returned = returned
        self._slots = len(tokens)
        self._floor = _FLOOR + position
        self._place = _FLOOR + edges
        self._order = self._place + self._slots
        self._announces_takes = announces_takes
        self._newest_only = newest_only
        self._next = 0
        self._logged = 0
        self._early: dict[int, tuple[int, int]] = {}

    def take(self, *, is_final: bool = False) -> tuple[int, int] | None:
        """Take the next sample, if one is there; it is mine until `give_back`.

        Args:
            is_final: the writer is gone, so a token that is not here will never come.

        Returns:
            Slot and generation, or None. `seq` and `missed` then tell about the sample.

        Raises:
            CorruptSampleError: a word of the ring names a slot that does not exist.
        """
        self.missed = 0
        taken = self._take(is_final)
        if taken is None or not self._newest_only:
            return taken
        while (newer := self._take(is_final)) is not None:
            self.give_back(taken[0])
            self.missed += 1
            taken = newer
        return taken

    def give_back(self, slot: int) -> None:
        """Let go of a taken slot; the writer may write it again."""
        self._log(slot)

    def _take(self, is_final: bool) -> tuple[int, int] | None:
        words = self._words
        while True:
            seq = self._next
            floor = words[self._floor]
            if seq < floor:
                self._skip_to(min((floor, *(early for early in self._early if early < floor))))
                seq = self._next
            if self._early and seq in self._early:
                return self._accept(seq, self._early.pop(seq))
            word = words[self._order + seq % self._slots]
            if word >> _SLOT_BITS != seq + 1:
                if is_final and self._early:
                    self._skip_to(min(self._early))
                    continue
                return None
            slot = word & _SLOT_MASK
            if slot >= self._slots:
                raise CorruptSampleError(
                    f"sample {seq} claims to be in slot {slot}, there are {self._slots}"
                )
            if not self._claim(slot):
                if is_final:
                    self._skip_to(seq + 1)
                elif words[self._floor] <= seq:
                    # The token is on its way (or the writer is just about to say that it dropped
                    # this sample): the doorbell rings after that.
                    return None
                continue
            place = words[self._place + slot]
            found = (slot, place & _SLOT_MASK)
            if place >> _SLOT_BITS == seq:
                return self._accept(seq, found)
            # The slot was recycled between the look at ORDER and the claim, so `seq` was dropped
            # and this is the baton of a later sample: keep it until its turn comes.
            self._early[place >> _SLOT_BITS] = found

    def _claim(self, slot: int) -> bool:
        token = self._tokens[slot]
        if not token.value:
            return False
        try:
            token.acquire(0)
        except BusyError:
            return False
        return True

    def _accept(self, seq: int, found: tuple[int, int]) -> tuple[int, int]:
        self.seq = seq
        self._next = seq + 1
        if self._announces_takes:
            self._log(_TAKEN)
        return found

    def _skip_to(self, seq: int) -> None:
        self.missed += seq - self._next
        self._next = seq

    def _log(self, entry: int) -> None:
        logged = self._logged
        self._edge_words[_LOG + logged % (2 * self._slots)] = logged + 1 << _LOG_SHIFT | entry
        self._logged = logged + 1
        self._returned.release()
