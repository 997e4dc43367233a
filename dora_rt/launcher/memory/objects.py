"""Makes the shared objects of outputs and edges, each generation anew; none stays mapped here."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.errors import SharedMemoryError
from dora_rt.launcher.memory.counters import NOTHING, EdgeCounters
from dora_rt.launcher.memory.shared_words import read_words, write_word
from dora_rt.node_config import EdgeConfig, OutputConfig
from dora_rt.transport.board import Fate
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import Segment, attach_semaphore, create_semaphore
from dora_rt.transport.ring import protocol


@dataclass(slots=True)
class Output:
    """The present generation of an output, and what those before it counted."""

    config: OutputConfig
    sent_before: int = 0
    nbytes_before: int = 0


@dataclass(slots=True)
class Edge:
    """The present generation of an edge, and what those before it counted that are gone."""

    config: EdgeConfig
    output: int
    before: EdgeCounters | None = NOTHING
    reader_fate: Fate = Fate.ALIVE
    writer_fate: Fate = Fate.ALIVE
    reader_starts: int = 0


def create_output(run: str, config: OutputConfig) -> None:
    """Make the segment of an output, and its pool if that is to be there from the beginning."""
    name = object_names.output(run, config.number, config.generation)
    words = create_words(name, protocol.output_nbytes(config.slots, config.edge_count))
    protocol.format_output(words, config.slots, config.edge_count)
    if config.slot_nbytes:
        pool = object_names.pool(run, config.number, config.generation, 0)
        Segment.create(pool, config.slots * config.slot_nbytes).close()


def create_edge(run: str, config: EdgeConfig) -> None:
    """Make the segment of an edge, and the semaphore that its reader posts.

    The tokens are made by the writer, each when it first has something for this reader in that
    slot: of all that an edge may come to need, most never is.
    """
    name = object_names.edge(run, config.number, config.generation)
    words = create_words(name, protocol.edge_nbytes(config.slots))
    protocol.format_edge(words, config.slots)
    create_semaphore(object_names.returned(run, config.number, config.generation)).close()


def create_words(name: str, nbytes: int) -> memoryview:
    """Make a segment of 8-byte words; it is mapped as long as they are used."""
    segment = Segment.create(name, nbytes)
    segment.close()
    return segment.words()


def wake_writer(run: str, number: int, generation: int) -> None:
    """Wake the writer of an edge, should it wait for room there."""
    try:
        returned = attach_semaphore(object_names.returned(run, number, generation))
    except SharedMemoryError:
        return  # somebody has removed it: the word on the board is seen at the next send
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
