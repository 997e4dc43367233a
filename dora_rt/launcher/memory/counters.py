"""Counters of an edge, in the words of its reader and of its writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dora_rt.latency import BUCKETS
from dora_rt.launcher.memory.shared_words import read_words
from dora_rt.node_config import EdgeConfig, OutputConfig
from dora_rt.transport.primitives import object_names
from dora_rt.transport.ring import protocol


@dataclass(frozen=True, slots=True)
class EdgeCounters:
    """Counters of an edge; latencies as a histogram of `dora_rt.latency`."""

    sent: int
    delivered: int
    dropped: int
    copied: int
    latencies: tuple[int, ...]
    """From the send to the receipt."""
    ages: tuple[int, ...]
    """From the origin to the receipt."""
    waiting: int = 0
    """Samples in the queue, as an estimate: both ends go on during the look."""


_NO_LATENCIES = (0,) * BUCKETS
NOTHING = EdgeCounters(0, 0, 0, 0, _NO_LATENCIES, _NO_LATENCIES)


def read_present(run: str, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters | None:
    """Return the counters of both ends of an edge; None if a segment of theirs is gone."""
    # The reader's first: what it has received by now, the writer has counted before.
    read = _read_edge(run, edge, protocol.LOG)
    words = read_output(run, output)
    if read is None or words is None:
        return None
    received = _received(read)
    return replace(
        received,
        sent=words[protocol.HEAD],
        dropped=received.dropped + words[_dropped_index(output, edge)],
        waiting=_waiting(output, edge, words, read),
    )


def read_reader(run: str, edge: EdgeConfig) -> EdgeCounters | None:
    """Return the counters of the reader of an edge; None if its segment is gone."""
    words = _read_edge(run, edge, protocol.LOG)
    return None if words is None else _received(words)


def read_writer(run: str, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters | None:
    """Return the counters of the writer for one edge; None if its segment is gone."""
    words = read_output(run, output)
    if words is None:
        return None
    dropped = words[_dropped_index(output, edge)]
    return replace(NOTHING, sent=words[protocol.HEAD], dropped=dropped)


def read_output(run: str, output: OutputConfig) -> list[int] | None:
    """Return the words of an output and of all its edges; None if its segment is gone."""
    name = object_names.output(run, output.number, output.generation)
    return read_words(name, protocol.FLOOR + 3 * output.edge_count)


def read_sent(run: str, output: OutputConfig) -> tuple[int, int]:
    """Return the samples and bytes that an output has sent; 0 if its segment is gone."""
    words = read_words(object_names.output(run, output.number, output.generation), protocol.FLOOR)
    return (0, 0) if words is None else (words[protocol.HEAD], words[protocol.SENT_NBYTES])


def has_read_all(run: str, output: OutputConfig, edge: EdgeConfig) -> bool:
    """Whether a reader that lives no longer needs an earlier generation of its writer."""
    read = _read_edge(run, edge, protocol.LATENCIES)
    words = read_output(run, output)
    if read is None or words is None:
        return True  # removed from outside: those that have mapped it keep it
    if read[protocol.LEFT] or read[protocol.READER_CLOSED] != protocol.OPEN:
        return True
    begin = words[protocol.begin_index(output.edge_count, edge.position)]
    if begin >> protocol.SEQ_BITS != edge.generation & 0xFFFF:
        # The writer died before it had anything for this reader, which may still copy the newest.
        return not (output.latched and words[protocol.HEAD])
    taken = read[protocol.DELIVERED] + read[protocol.DROPPED]
    return (begin & protocol.SEQ_MASK) + taken >= words[protocol.HEAD]


def add(parts: Iterable[EdgeCounters | None]) -> EdgeCounters | None:
    """Return the sum of the counters of generations; None if one of them is not known."""
    known: list[EdgeCounters] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return EdgeCounters(
        sent=sum(part.sent for part in known),
        delivered=sum(part.delivered for part in known),
        dropped=sum(part.dropped for part in known),
        copied=sum(part.copied for part in known),
        latencies=_add([part.latencies for part in known]),
        ages=_add([part.ages for part in known]),
        waiting=sum(part.waiting for part in known),
    )


def _read_edge(run: str, edge: EdgeConfig, count: int) -> list[int] | None:
    return read_words(object_names.edge(run, edge.number, edge.generation), count)


def _dropped_index(output: OutputConfig, edge: EdgeConfig) -> int:
    return protocol.writer_dropped_index(output.edge_count, edge.position)


def _received(words: Sequence[int]) -> EdgeCounters:
    return EdgeCounters(
        sent=0,
        delivered=words[protocol.DELIVERED],
        dropped=words[protocol.READER_DROPPED],
        copied=words[protocol.COPIED],
        latencies=tuple(words[protocol.LATENCIES : protocol.LATENCIES + BUCKETS]),
        ages=tuple(words[protocol.AGES : protocol.AGES + BUCKETS]),
    )


def _waiting(
    output: OutputConfig, edge: EdgeConfig, words: Sequence[int], read: Sequence[int]
) -> int:
    begin = words[protocol.begin_index(output.edge_count, edge.position)]
    next_seq = words[protocol.FLOOR + edge.position] & protocol.SEQ_MASK
    if begin >> protocol.SEQ_BITS == edge.generation & 0xFFFF:
        taken = read[protocol.DELIVERED] + read[protocol.DROPPED]
        next_seq = max(next_seq, (begin & protocol.SEQ_MASK) + taken)
    return min(max(words[protocol.HEAD] - next_seq, 0), edge.queue_size)


def _add(histograms: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    # Most are empty, and a run may have a thousand edges that are looked at twice a second.
    filled = [histogram for histogram in histograms if histogram is not _NO_LATENCIES]
    if len(filled) < 2:
        return filled[0] if filled else _NO_LATENCIES
    return tuple(map(sum, zip(*filled, strict=True)))
