"""The baton ring: which slot carries which sample, and who may touch it.

One output has `slots` numbered slots and any number of edges, one per reader. Each edge has one
token semaphore per slot that was ever used for it, made by the writer when it first needs it, and
one `returned` semaphore. POSIX semaphores are the only atomics that pure Python has; `sem_trywait`
on a token is a claim that exactly one process wins.

Publishing sample n in a slot that the writer owns:

1. write `PLACE[slot] = BEING_WRITTEN`, and behind a fence the sample;
2. behind a fence write `PLACE[slot] = n, growth`, `ORDER[n % slots] = n, slot`, `HEAD = n + 1`;
3. post the slot's token on each edge: each reader now may have the baton;
4. for each edge: if it holds more than its queue, take the oldest tokens back (won: dropped; lost:
   the reader has that sample), then write `FLOOR[edge]`: nothing below it waits any more;
5. and ring its reader's doorbell.

Reading sample n:

6. `ORDER` says n, and n is not below FLOOR (samples below are passed over);
7. the token of its slot is won;
8. `PLACE[slot]` says n. If it says a later sample, n was dropped and the slot recycled since 6: the
   claim is kept until the turn of that sample comes, unless FLOOR has passed it by then;
9. where 7 is lost although FLOOR does not say "dropped", the token is on its way; unless one that
   was posted later can be won, of n + 1, or is kept as in 8: then n was in the hands of a reader
   that died, and is passed over.

Giving back:

10. the reader writes the slot's number into its own log;
11. and posts `returned`. A post wakes, and says nothing else;
12. the writer reads all entries of the log that it has not read yet. A slot is free when all its
    batons are back.

When a reader's process has died (the launcher has reaped it, and says so on the board):

13. the writer reads its log to the end;
14. keeps the samples whose tokens are still there, and frees the slots that the reader held;
15. the next generation of the reader, as soon as there is one, gets `BEGIN` and FLOOR;
16. the tokens of what was kept, in their order, and a ring. Until then its queue waits here, and is
    trimmed as in 4.

An observer has no edge. It reads `ORDER`, `PLACE` and the sample without a claim, copies, and then
looks, behind a fence, whether `PLACE` still says n.

Nothing is locked, so nothing stays locked when a process is killed. Every word has one writing
process. ORDER, PLACE and the log carry the number of their sample or entry, so a reader that sees
a word early or late (ARM does not keep the order of plain stores) sees that it is not the one it
looks for; sample memory itself is only touched after a token or a `returned` post was won, and
POSIX says that these synchronize memory. FLOOR distinguishes "dropped" from "token not here yet".

A signal handler may raise between any two bytecodes of all this, and the process may go on. So
whoever changes something first writes down, for itself, what it is about to do; each step may be
done twice; and the next operation first brings to an end what was broken off. Whether a semaphore
was taken or posted must be known exactly, so that is noted within the same call into C (`noting`).
"""

from __future__ import annotations

from dora_rt.errors import SharedMemoryError
from dora_rt.latency import BUCKETS

MAGIC = int.from_bytes(b"dora_rt1", "little")
MAX_SLOTS = 1 << 16

# Output segment, in 8-byte words. The launcher writes the first line once, the writer the rest.
_OUTPUT_SLOTS = 1
_OUTPUT_EDGES = 2
HEAD = 8  # samples published so far
WRITER_CLOSED = 9  # one of the closings below, when the writer will publish no more
SENT_NBYTES = 10  # payload of all samples so far
FLOOR = 16  # one word per edge: samples below it do not wait any more; then the same number of
# words BEGIN (first sample meant for the present reader) and WRITER_DROPPED (tokens taken back
# for good), then PLACE and ORDER, one word per slot each

# A process that closes because it ends may come back, if the peer knows that; and it surely does
# if it closes for now.
OPEN, CLOSED, CLOSED_FOR_GOOD, CLOSED_FOR_NOW = 0, 1, 2, 3

# Edge segment. The launcher writes the first line once, the reader the rest.
_EDGE_SLOTS = 1
DELIVERED = 8
DROPPED = 9  # as far as the reader has seen it, its own included
READER_DROPPED = 12  # its own: passed over for a newer one, or corrupt
COPIED = 10
READER_CLOSED = 11  # one of the closings, when the reader will take no more
LEFT = 13  # not 0 once the reader has gone on to a later generation of its writer
LATENCIES = 16  # histogram of delivery latencies
AGES = LATENCIES + BUCKETS  # histogram of the time since the origin, at delivery
LOG = AGES + BUCKETS

GENERATION_BITS = 16  # of FLOOR and BEGIN, which say whose they are; above the sample's number
SEQ_BITS = 64 - GENERATION_BITS
SEQ_MASK = (1 << SEQ_BITS) - 1

SLOT_BITS = 16
SLOT_MASK = MAX_SLOTS - 1
BEING_WRITTEN = (1 << 64) - 1  # of PLACE: no sample has this number
TAKEN = 1 << SLOT_BITS  # of a log entry that says "taken from the queue" and not "given back"
LOG_SHIFT = SLOT_BITS + 1


def floor_word(generation: int, seq: int) -> int:
    """Return the word of FLOOR or BEGIN for the reader of a generation."""
    return (generation & 0xFFFF) << SEQ_BITS | seq


def begin_index(edges: int, position: int) -> int:
    """Return the index of an edge's BEGIN word."""
    return FLOOR + edges + position


def writer_dropped_index(edges: int, position: int) -> int:
    """Return the index of an edge's WRITER_DROPPED word."""
    return FLOOR + 2 * edges + position


def output_nbytes(slots: int, edges: int) -> int:
    """Return the size of an output segment in bytes."""
    return 8 * (FLOOR + 3 * edges + 2 * slots)


def edge_nbytes(slots: int) -> int:
    """Return the size of an edge segment in bytes."""
    # Each slot can be in the log twice: taken, and given back.
    return 8 * (LOG + 2 * slots)


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
