"""Makes the shared objects of outputs and edges, each generation anew."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.contract import EdgeConfig, OutputConfig
from dora_rt.control.counters import NOTHING, EdgeCounters
from dora_rt.data import names, ring
from dora_rt.data.board import Fate
from dora_rt.data.shm import Segment, Semaphore, create_semaphore


@dataclass(slots=True)
class Output:
    """The present generation of an output, and what those before it counted."""

    config: OutputConfig
    words: memoryview
    sent_before: int = 0
    nbytes_before: int = 0


@dataclass(slots=True)
class Edge:
    """The present generation of an edge, and what those before it counted that are gone."""

    config: EdgeConfig
    output: int
    words: memoryview
    returned: Semaphore
    before: EdgeCounters = NOTHING
    reader_fate: Fate = Fate.ALIVE
    writer_fate: Fate = Fate.ALIVE
    reader_starts: int = 0


def create_output(run: str, config: OutputConfig) -> memoryview:
    """Make the segment of an output, and its pool if that is to be there from the beginning."""
    name = names.output(run, config.number, config.generation)
    words = create_words(name, ring.output_nbytes(config.slots, len(config.edges)))
    ring.format_output(words, config.slots, len(config.edges))
    if config.slot_nbytes:
        pool = names.pool(run, config.number, config.generation, 0)
        Segment.create(pool, config.slots * config.slot_nbytes).close()
    return words


def create_edge(run: str, config: EdgeConfig, output: int) -> Edge:
    """Make the segment and the semaphores of an edge."""
    generation = config.generation
    name = names.edge(run, config.number, generation)
    words = create_words(name, ring.edge_nbytes(config.slots))
    ring.format_edge(words, config.slots)
    for slot in range(config.slots):
        create_semaphore(names.token(run, config.number, generation, slot))
    returned = create_semaphore(names.returned(run, config.number, generation))
    return Edge(config, output, words, returned)


def create_words(name: str, nbytes: int) -> memoryview:
    """Make a segment of 8-byte words; it is mapped as long as they are used."""
    segment = Segment.create(name, nbytes)
    segment.close()
    return segment.words()
