"""Generations of shared objects: made at each restart, kept until no process needs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dora_rt.errors import SharedMemoryError
from dora_rt.launcher.memory.counters import NOTHING, EdgeCounters
from dora_rt.launcher.memory.shared_words import read_words, write_word
from dora_rt.node_config import EdgeConfig, OutputConfig
from dora_rt.transport.board import Fate
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import (
    SHM_DIRECTORY,
    Segment,
    attach_semaphore,
    create_semaphore,
    unlink_segments,
    unlink_semaphores,
)
from dora_rt.transport.ring import protocol

Generation = tuple[int, int]
"""The number of an output or of an edge, and which generation of it."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """An earlier generation: its names, its counters, and the conditions of its removal."""

    segment: str
    returned: str | None
    output: Generation | None
    edge: Generation | None
    is_read: Callable[[], bool]
    count: dict[int, Callable[[], EdgeCounters | None]]
    """By number of the edge."""
    unattached: set[int] = field(default_factory=set)

    def counters(self, edge: int) -> EdgeCounters | None:
        """Return the counters of an edge; NOTHING for an edge that it does not have."""
        return self.count[edge]() if edge in self.count else NOTHING


def unlink_outdated(
    run: str, removed: Collection[Outdated], kept: Collection[Outdated], present: dict[int, int]
) -> None:
    """Remove the names of generations, and of the pools and tokens that their writers made.

    Args:
        run: the run.
        removed: the generations to remove.
        kept: those that a process still needs.
        present: the newest generation of each edge. Tokens of an edge go that are older than
            that: a writer that had not looked yet may have made some for a reader long gone.
    """
    unlink_segments([outdated.segment for outdated in removed], None)
    unlink_semaphores([one.returned for one in removed if one.returned is not None])
    outputs = {outdated.output for outdated in removed}
    edges = {outdated.edge[0] for outdated in removed if outdated.edge is not None}
    needed = {outdated.edge for outdated in kept}
    # One look at the folder: there may be thousands of slots, and few of them have a token.
    made = re.compile(rf"(?:sem\.)?(drt-{run}-([oe])(\d+)\.(\d+)[gt]\d+)")
    for entry in SHM_DIRECTORY.iterdir():
        match = made.fullmatch(entry.name)
        if match is None:
            continue
        number, generation = int(match[3]), int(match[4])
        if match[2] == "o":
            if (number, generation) in outputs:
                unlink_segments([f"/{match[1]}"], None)
        elif (
            number in edges and generation < present[number] and (number, generation) not in needed
        ):
            unlink_semaphores([f"/{match[1]}"])


@dataclass(slots=True)
class OutputMemory:
    """The present generation of an output, and the totals of those before it."""

    config: OutputConfig
    sent_before: int = 0
    nbytes_before: int = 0


@dataclass(slots=True)
class EdgeMemory:
    """The present generation of an edge, and the totals of the removed ones before it."""

    config: EdgeConfig
    output: int
    before: EdgeCounters | None = NOTHING
    reader_fate: Fate = Fate.ALIVE
    writer_fate: Fate = Fate.ALIVE
    reader_starts: int = 0


def create_output(run: str, config: OutputConfig) -> None:
    """Make the segment of an output, and its pool if its size is known from the beginning."""
    name = object_names.output(run, config.number, config.generation)
    words = create_words(name, protocol.output_nbytes(config.slots, config.edge_count))
    protocol.format_output(words, config.slots, config.edge_count)
    if config.slot_nbytes:
        pool = object_names.pool(run, config.number, config.generation, 0)
        Segment.create(pool, config.slots * config.slot_nbytes).close()


def create_edge(run: str, config: EdgeConfig) -> None:
    """Make the segment of an edge, and the semaphore that its reader posts.

    The writer makes the tokens, each when it first has a sample for this reader in that slot:
    most of them are never needed.
    """
    name = object_names.edge(run, config.number, config.generation)
    words = create_words(name, protocol.edge_nbytes(config.slots))
    protocol.format_edge(words, config.slots)
    create_semaphore(object_names.returned(run, config.number, config.generation)).close()


def create_words(name: str, nbytes: int) -> memoryview:
    """Return the 8-byte words of a new segment, which stays mapped as long as they are used."""
    segment = Segment.create(name, nbytes)
    segment.close()
    return segment.words()


def wake_writer(run: str, number: int, generation: int) -> None:
    """Wake the writer of an edge if it waits for room there."""
    try:
        returned = attach_semaphore(object_names.returned(run, number, generation))
    except SharedMemoryError:
        return  # removed from outside: the writer sees the board at its next send
    returned.release()
    returned.close()


def keep_closed(run: str, old: EdgeConfig, new: EdgeConfig) -> None:
    """Tell the next writer of an input that its reader, which lives, has closed it.

    A reader that closes at this moment may write the same.
    """
    words = read_words(object_names.edge(run, old.number, old.generation), protocol.LATENCIES)
    if words is not None and words[protocol.READER_CLOSED] != protocol.OPEN:
        name = object_names.edge(run, new.number, new.generation)
        write_word(name, protocol.READER_CLOSED, words[protocol.READER_CLOSED])
