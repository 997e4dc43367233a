"""What an edge counts, in the words of its reader and of its writer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dora_rt.contract import EdgeConfig
from dora_rt.data import ring
from dora_rt.latency import BUCKETS


@dataclass(frozen=True, slots=True)
class EdgeCounters:
    """What an edge counted so far; latencies as a histogram of `dora_rt.latency`."""

    sent: int
    delivered: int
    dropped: int
    copied: int
    latencies: tuple[int, ...]
    """From the send to the receipt."""
    ages: tuple[int, ...]
    """From the origin to the receipt."""


NOTHING = EdgeCounters(0, 0, 0, 0, (0,) * BUCKETS, (0,) * BUCKETS)


def read_reader(words: memoryview) -> EdgeCounters:
    """Read what the reader of an edge has counted."""
    return EdgeCounters(
        sent=0,
        delivered=words[ring.DELIVERED],
        dropped=words[ring.READER_DROPPED],
        copied=words[ring.COPIED],
        latencies=tuple(words[ring.LATENCIES : ring.LATENCIES + BUCKETS]),
        ages=tuple(words[ring.AGES : ring.AGES + BUCKETS]),
    )


def read_writer(words: memoryview, edges: int, position: int) -> EdgeCounters:
    """Read what the writer of an edge has counted."""
    dropped = words[ring.writer_dropped_index(edges, position)]
    return replace(NOTHING, sent=words[ring.HEAD], dropped=dropped)


def read_waiting(
    output_words: memoryview, edges: int, edge_words: memoryview, config: EdgeConfig
) -> int:
    """Estimate how many samples wait in a queue: both ends go on while this looks at them."""
    begin = output_words[ring.begin_index(edges, config.position)]
    floor = output_words[ring.FLOOR + config.position]
    next_seq = floor & ring.SEQ_MASK
    if begin >> ring.SEQ_BITS == config.generation & 0xFFFF:
        read = edge_words[ring.DELIVERED] + edge_words[ring.DROPPED]
        next_seq = max(next_seq, (begin & ring.SEQ_MASK) + read)
    return min(max(output_words[ring.HEAD] - next_seq, 0), config.queue_size)


def add(*parts: EdgeCounters) -> EdgeCounters:
    """Add up what several generations have counted."""
    return EdgeCounters(
        sent=sum(part.sent for part in parts),
        delivered=sum(part.delivered for part in parts),
        dropped=sum(part.dropped for part in parts),
        copied=sum(part.copied for part in parts),
        latencies=tuple(map(sum, zip(*(part.latencies for part in parts), strict=True))),
        ages=tuple(map(sum, zip(*(part.ages for part in parts), strict=True))),
    )
