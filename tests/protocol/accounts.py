"""What really happened in a schedule, seen from outside: samples, claims, deliveries, deaths."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dora_rt.event import Event
from dora_rt.node_config import EdgeConfig, NodeConfig, OutputConfig, QueuePolicy
from dora_rt.transport.ring import protocol
from dora_rt.transport.values.header import HEADER_NBYTES
from tests.protocol.memory import Cells, Mapping, Memory
from tests.protocol.scheduler import Process

RUN = "r"
_TOKEN = re.compile(r"/drt-r-e(\d+)\.(\d+)t(\d+)$")
_POOL = re.compile(r"/drt-r-o(\d+)\.(\d+)g\d+$")
_EDGE = re.compile(r"/drt-r-e(\d+)\.(\d+)$")


class Sample(NamedTuple):
    """Which sample a payload became: output, generation of its writer, number."""

    output: int
    generation: int
    seq: int


@dataclass(slots=True)
class Wait:
    """What was so when a reader began to wait."""

    completed: dict[tuple[int, int], int]
    claims: int
    dropped: int


@dataclass(slots=True, eq=False)
class Life:
    """One life of a process, as far as the accounts go."""

    process: Process
    config: NodeConfig
    is_alone: bool = True
    """Whether one thread only receives."""
    was_interrupted: bool = False
    edges: dict[tuple[int, int], Cells] = field(default_factory=dict)
    """The words of the edges that it reads, by number and generation."""
    claims: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    last: dict[int, tuple[Sample, int]] = field(default_factory=dict)
    """By edge: what was delivered last, and when."""
    newest_at_start: dict[int, Sample | None] = field(default_factory=dict)
    """By edge: the newest sample of its output when this life began."""
    latched: dict[int, Sample] = field(default_factory=dict)
    """By edge: what came first because it was there before."""


class Accounts:
    """Keeps the books of one schedule, and finds what does not add up."""

    def __init__(
        self, memory: Memory, edges: tuple[EdgeConfig, ...], outputs: dict[int, int]
    ) -> None:
        """Begin with empty books.

        Args:
            memory: of the schedule.
            edges: all of them.
            outputs: the number of the output of each edge.
        """
        self._memory = memory
        self._fail: Callable[[str], None] = memory.scheduler.fail
        self.edges = edges
        self._output_of = outputs
        self._dropped_index = {
            edge.number: protocol.writer_dropped_index(
                self._edge_count(outputs[edge.number]), edge.position
            )
            for edge in edges
        }
        self.samples: dict[bytes, Sample] = {}
        self._in_slot: dict[tuple[int, int, int], int] = {}
        self.completed: dict[tuple[int, int], int] = {}
        """Samples whose publication is over, by output and generation."""
        self._claimed: dict[tuple[int, Sample], int] = {}
        """By edge and sample: how many were complete when the reader won its token."""
        self._claimers: dict[tuple[int, Sample], int] = {}
        """And which life of its reader that was."""
        self._claims_of: dict[tuple[int, int], int] = defaultdict(int)
        """By edge and generation of its writer."""
        self.delivered: dict[int, list[tuple[Sample, int]]] = defaultdict(list)
        """By edge: samples and the life that got them."""
        self._delivered_keys: set[tuple[int, Sample]] = set()
        self._writer_generation: dict[tuple[int, int], int] = {}
        """Of each generation of an edge."""
        self._starts: dict[tuple[int, int], int] = {}
        self.lives: dict[int, Life] = {}
        """The present one of each process."""
        self.all_lives: list[Life] = []
        self.lost: dict[int, int] = defaultdict(int)
        """By edge: samples in the hands of dead processes."""
        self._output_cells: dict[tuple[int, int], Cells] = {}
        self.has_lost_writer = False
        self.removed: dict[int, int] = {}
        """By edge: at which step objects of it were last removed."""

    # What happens.

    def starts(self, process: Process, config: NodeConfig) -> Life:
        """Note a new life of a process and the generations it will attach to."""
        life = Life(process, config)
        self.lives[process.number] = life
        self.all_lives.append(life)
        for output in config.outputs:
            for edge in output.edges:
                self._writer_generation[edge.number, edge.generation] = output.generation
        for entry in config.inputs:
            assert entry.edge is not None and entry.output is not None
            edge = entry.edge
            self._writer_generation[edge.number, edge.generation] = entry.output.generation
            self._starts[process.life, edge.number] = edge.generation
            life.newest_at_start[edge.number] = self.newest(entry.output.number)
        return life

    def stamped(self, buffer: Mapping, offset: int, seq: int, process: Process | None) -> None:
        """Note the number that a sample gets, before anybody can have it."""
        segment = buffer._segment
        found = _POOL.match(segment.name)
        assert found is not None
        output, generation = int(found[1]), int(found[2])
        payload = segment.cells.values[offset + HEADER_NBYTES]
        self.samples[payload] = Sample(output, generation, seq)
        slots = self._slots(output)
        self._in_slot[output, generation, offset // (len(buffer) // slots)] = seq

    def completes(self, payload: bytes) -> None:
        """Note that the publication of a sample is over."""
        output, generation, seq = self.samples[payload]
        key = output, generation
        self.completed[key] = max(self.completed.get(key, 0), seq + 1)

    def token_taken(self, name: str, process: Process | None) -> None:
        """Note who has won a token."""
        found = _TOKEN.match(name)
        assert found is not None
        number, edge_generation, slot = int(found[1]), int(found[2]), int(found[3])
        edge = self.edges[number]
        if process is None or process.number != edge.reader:
            return
        output = self._output_of[number]
        generation = self._writer_generation[number, edge_generation]
        seq = self._in_slot.get((output, generation, slot))
        if seq is None:
            self._fail(f"{name} is there, but nothing was ever written into its slot")
            return
        sample = Sample(output, generation, seq)
        if (number, sample) in self._claimed:
            self._fail(f"sample {seq} of edge {number} was claimed twice")
        self._claimed[number, sample] = self.completed.get((output, generation), 0)
        self._claimers[number, sample] = process.life
        self._claims_of[number, generation] += 1
        self.lives[process.number].claims[number] += 1

    def attached(self, name: str, cells: Cells, process: Process | None) -> None:
        """Note which words of edges a process writes."""
        found = _EDGE.match(name)
        if found is not None and process is not None:
            life = self.lives[process.number]
            if life.process is process:
                life.edges[int(found[1]), int(found[2])] = cells

    def removes(self, name: str) -> None:
        """Note that a segment is removed."""
        found = _EDGE.match(name)
        if found is not None:
            self.removed[int(found[1])] = self._memory.scheduler.steps

    def waits(self, edge: int, life: Life) -> Wait:
        """Note what is so when a reader begins to wait."""
        return Wait(dict(self.completed), life.claims[edge], self._told_as_dropped(edge))

    def delivers(
        self, edge_number: int, life: Life, wait: Wait, event: Event, payload: bytes
    ) -> None:
        """Check one delivered sample."""
        edge = self.edges[edge_number]
        where = f"edge {edge_number} ({edge.queue_policy.value}, {edge.queue_size})"
        sample = self.samples.get(payload)
        if sample is None or sample.seq != event.seq:
            self._fail(f"torn: {where} got {payload.hex()} as sample {event.seq}; it is {sample}")
            return
        if event.latched:
            self._delivers_latched(edge, life, sample)
            return
        if (edge_number, sample) in self._delivered_keys:
            self._fail(f"delivered twice: {where} got {sample}")
        self._delivered_keys.add((edge_number, sample))
        self.delivered[edge_number].append((sample, life.process.life))
        last = life.last.get(edge_number)
        life.last[edge_number] = sample, life.process.life
        latched = life.latched.get(edge_number)
        if latched is not None and not latched < sample:
            self._fail(f"{where} got {sample} after {latched}, which was latched")
        if last is not None and last[0] == latched:
            last = None
        if life.is_alone:
            self._check_order(where, last, sample, event, life)
            self._check_age(where, edge, life, wait, sample)

    def _delivers_latched(self, edge: EdgeConfig, life: Life, sample: Sample) -> None:
        where = f"edge {edge.number} of {life.process.name}"
        oldest = life.newest_at_start[edge.number]
        if oldest is not None and sample < oldest:
            self._fail(f"{where} got {sample} first, though {oldest} was there already")
        last = life.last.get(edge.number)
        if last is not None and last[0].generation == sample.generation:
            self._fail(f"{where} got {sample} as the first one, after {last[0]}")
        life.latched[edge.number] = sample
        life.last[edge.number] = sample, life.process.life

    def _check_order(
        self, where: str, last: tuple[Sample, int] | None, sample: Sample, event: Event, life: Life
    ) -> None:
        if last is None:
            return
        before = last[0]
        if not before < sample:
            self._fail(f"out of order: {where} got {sample} after {before}")
        elif before.generation == sample.generation and not life.was_interrupted:
            missed = sample.seq - before.seq - 1
            if event.dropped != missed:
                self._fail(f"{where}: {sample} after {before} says {event.dropped} were dropped")

    def _check_age(
        self, where: str, edge: EdgeConfig, life: Life, wait: Wait, sample: Sample
    ) -> None:
        if edge.queue_policy is QueuePolicy.BLOCK:
            return
        claimed_at = self._claimed.get((edge.number, sample))
        if claimed_at is None:
            self._fail(f"{where} got {sample}, whose token it never won")
            return
        behind = claimed_at - edge.queue_size - sample.seq
        if behind > 0 and behind > self._taken_along(edge.number, sample, life):
            self._fail(
                f"older than the queue: {where} claimed {sample} when {claimed_at} were sent"
            )
        if self._memory.weak:
            return  # what is complete need not be seen yet
        if edge.queue_policy is QueuePolicy.LATEST:
            key = sample.output, sample.generation
            completed = wait.completed.get(key, 0)
            # What an exception kept from arriving comes again, whatever was sent since its claim.
            comes_again = life.was_interrupted and claimed_at < completed
            if sample.seq < completed - 1 and not comes_again:
                self._fail(f"not the newest: {where} got {sample} after {wait.completed[key]} sent")
        elif self._is_single(edge):
            early = life.claims[edge.number] - wait.claims - 1
            dropped = self._dropped_by_writer(edge.number) - wait.dropped
            # One more may be won to learn that a token will never come (step 9).
            if early > dropped + 1:
                self._fail(
                    f"claimed early: {where} won {early + 1} tokens to deliver {sample}, while the "
                    f"writer dropped {dropped}"
                )

    def _taken_along(self, number: int, sample: Sample, life: Life) -> int:
        """Count newer samples that earlier readers had claimed: their places went to older ones."""
        return sum(
            edge == number
            and other.generation == sample.generation
            and other.seq > sample.seq
            and claimer != life.process.life
            for (edge, other), claimer in self._claimers.items()
        )

    # Deaths.

    def dies(self, process: Process) -> None:
        """Note what was in the hands of a process that is killed."""
        life = self.lives.get(process.number)
        if life is None or life.process is not process:
            return
        for number in {number for number, _ in life.edges}:
            self.lost[number] += self.in_hands(life, number)
        for output in life.config.outputs:
            self.has_lost_writer = True
            for edge in output.edges:
                self.lost[edge.number] += self._lost_with_writer(output, edge.number)
        for entry in life.config.inputs:
            assert entry.edge is not None
            self.lost[entry.edge.number] += self._lost_with_reader(entry.edge.number)

    def in_hands(self, life: Life, number: int) -> int:
        """Count what a reader has claimed and not yet counted."""
        counted = sum(
            cells.values.get(protocol.DELIVERED, 0) + cells.values.get(protocol.READER_DROPPED, 0)
            for (edge, _), cells in life.edges.items()
            if edge == number
        )
        return max(life.claims[number] - counted, 0)

    def _lost_with_writer(self, output: OutputConfig, number: int) -> int:
        """Count what nobody can have any more, since the writer dies: it waits without a token."""
        generation = output.generation
        words = self._words(output.number, generation)
        if words is None:
            return 0
        dropped = words.get(self._dropped_index[number], 0)
        left = words.get(protocol.HEAD, 0) - dropped - self._claims_of[number, generation]
        return max(left - self._readable(number, generation), 0)

    def _lost_with_reader(self, number: int) -> int:
        """Count what a dying reader could still have had of writers that are dead already."""
        writer = self.lives.get(self.edges[number].writer)
        generations = {
            generation
            for (edge, _), generation in self._writer_generation.items()
            if edge == number
        }
        return sum(
            self._readable(number, generation, or_was=True)
            for generation in generations
            if writer is None
            or not writer.process.is_alive
            or generation != self._present(writer, number)
        )

    def _readable(self, number: int, generation: int, *, or_was: bool = False) -> int:
        """Count the tokens that the present reader of an edge may still win, or could have won."""
        life = self.lives.get(self.edges[number].reader)
        if life is None or not (or_was or life.process.is_alive):
            return 0
        begin = self._starts.get((life.process.life, number), 0)
        return sum(
            count.count
            for name, count in self._memory.semaphores.items()
            if count.token
            and (found := _TOKEN.match(name)) is not None
            and int(found[1]) == number
            and int(found[2]) >= begin
            and self._writer_generation.get((number, int(found[2]))) == generation
            and not self._has_left(life, number, int(found[2]))
        )

    def _has_left(self, life: Life, number: int, generation: int) -> bool:
        """Tell whether a reader has gone on from a generation of its edge."""
        cells = life.edges.get((number, generation))
        return cells is not None and bool(cells.values.get(protocol.LEFT, 0))

    def waiting(self, number: int) -> int:
        """Count the tokens that the present reader of an edge could win."""
        return sum(
            self._readable(number, generation)
            for generation in range(self._newest_generation(self._output_of[number]) + 1)
        )

    def _present(self, writer: Life, number: int) -> int:
        for output in writer.config.outputs:
            if any(edge.number == number for edge in output.edges):
                return output.generation
        return -1

    def _slots(self, output: int) -> int:
        return next(edge.slots for edge in self.edges if self._output_of[edge.number] == output)

    def _edge_count(self, output: int) -> int:
        return sum(1 for edge in self.edges if self._output_of[edge.number] == output)

    def _is_single(self, edge: EdgeConfig) -> bool:
        return sum(1 for other in self.edges if other.reader == edge.reader) == 1

    def _words(self, output: int, generation: int) -> dict[int, Any] | None:
        key = output, generation
        cells = self._output_cells.get(key)
        if cells is None:
            segment = self._memory.segments.get(f"/drt-{RUN}-o{output}.{generation}")
            if segment is None:
                return None
            self._output_cells[key] = cells = segment.cells
        return cells.values

    def _dropped_by_writer(self, number: int) -> int:
        """Count what the writers of an edge have dropped, over all generations."""
        output, index = self._output_of[number], self._dropped_index[number]
        total = 0
        for generation in range(self._newest_generation(output) + 1):
            words = self._words(output, generation)
            total += 0 if words is None else words.get(index, 0)
        return total

    def _told_as_dropped(self, number: int) -> int:
        """Count what the writers of an edge have dropped, without what FLOOR does not say yet."""
        output = self._output_of[number]
        generation = self._newest_generation(output)
        dropped = self._dropped_by_writer(number)
        words = self._words(output, generation)
        if words is None:
            return dropped
        floor = words.get(protocol.FLOOR + self.edges[number].position, 0) & protocol.SEQ_MASK
        claimed = sum(
            edge == number and sample.generation == generation and sample.seq < floor
            for edge, sample in self._claimers
        )
        untold = words.get(self._dropped_index[number], 0) - (floor - claimed)
        return dropped - max(untold, 0)

    def newest(self, output: int) -> Sample | None:
        """Return the newest sample of the present life of an output; None if it has none."""
        generation = self._newest_generation(output)
        head = (self._words(output, generation) or {}).get(protocol.HEAD, 0)
        return Sample(output, generation, head - 1) if head else None

    def slot_of_newest(self, output: int) -> int | None:
        """Return the slot that the newest sample of an output was written into."""
        newest = self.newest(output)
        return next(
            (
                slot
                for (one, generation, slot), seq in self._in_slot.items()
                if newest is not None and Sample(one, generation, seq) == newest
            ),
            None,
        )

    def _newest_generation(self, output: int) -> int:
        return max(
            (
                generation
                for (edge, _), generation in self._writer_generation.items()
                if self._output_of[edge] == output
            ),
            default=0,
        )
