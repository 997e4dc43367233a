"""An output with its readers in real shared memory, all in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dora_rt.descriptor.tree.model import Logging, Resources, Supervision
from dora_rt.event import Event
from dora_rt.launcher.memory.run_memory import EdgeCounters, RunMemory
from dora_rt.node_config import (
    Descriptors,
    EdgeConfig,
    InputConfig,
    NodeConfig,
    NodePlan,
    OutputConfig,
    QueuePolicy,
    RunFacts,
    make_config,
)
from dora_rt.plan.edges import SLOTS_IN_HAND
from dora_rt.plan.plan import Circle, EdgePlan, Plan, ProcessPlan
from dora_rt.transport.board import Board
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import attach_words
from dora_rt.transport.ring.reader import RingReader
from dora_rt.transport.ring.writer import RingWriter
from tests.harness.objects import new_run

NO_STAMP = Stamp(b"", 1, 1)


@dataclass(frozen=True)
class Reader:
    """How one reader of the output under test is wired."""

    queue_size: int = 10
    policy: QueuePolicy = QueuePolicy.DROP_OLDEST
    max_held: int = 4


@dataclass
class Wired:
    """One publisher and its subscribers, all in this process."""

    memory: RunMemory
    run: str
    output: OutputConfig
    publisher: Publisher
    subscribers: list[Subscriber]
    board: Board

    def send(self, value: bytes | NDArray[Any], stamp: Stamp = NO_STAMP) -> None:
        self.publisher.send(value, stamp)

    def take(self, reader: int = 0) -> Event:
        event = self.subscribers[reader].take()
        assert event is not None, "there is a sample to take"
        return event

    def counters(self, reader: int = 0) -> EdgeCounters:
        counters = self.memory.counters(self.output, self.output.edges[reader])
        assert counters is not None, "nobody has removed the objects"
        return counters

    @property
    def writer(self) -> RingWriter:
        """The end of the ring that the publisher writes, for what only its protocol shows."""
        return self.publisher._ring

    def reader(self, reader: int = 0) -> RingReader:
        """Return the end of the ring that a subscriber reads."""
        return self.subscribers[reader]._ring

    def restart_reader(self, reader: int = 0, *, keeps_queue: bool = True) -> None:
        """Let a reader's process die and another one begin; the writer has not looked yet."""
        self.memory.mark_dead(reader + 1, returns=True, keeps_queues=keeps_queue)
        config = config_of(self.memory.renew(reader + 1), self.run)
        self.subscribers[reader] = Subscriber(config, config.inputs[0], self.board)

    def look_at_readers(self) -> None:
        """Let the writer see at once which readers have come, died or closed."""
        self.publisher.notice_readers()

    @property
    def free_slots(self) -> int:
        for end in self.publisher._ends:
            self.writer.collect(end.edge)
        self.publisher.loans.collect()
        self.writer.find_free()
        return len(self.writer.free)


@contextmanager
def wired(*readers: Reader, slot_nbytes: int = 0, is_latched: bool = False) -> Iterator[Wired]:
    plan = plan_of(*(readers or (Reader(),)), slot_nbytes=slot_nbytes, is_latched=is_latched)
    run = new_run()
    output = plan.outputs[0]
    with RunMemory.create(plan, run) as memory:
        name = object_names.board(run)
        words = attach_words(name, lambda *_: None, writable=False)
        board = Board(words, len(plan.processes), len(plan.edges), name)
        publisher = Publisher(run, "writer", output, board)
        subscribers = [
            Subscriber(config_of(process.config, run), entry, board)
            for process in plan.processes
            for entry in process.config.inputs
        ]
        for process in plan.processes:
            memory.note_attached(process.config.number)
        memory.start()
        wired = Wired(memory, run, output, publisher, subscribers, board)
        try:
            yield wired
        finally:
            wired.publisher.close()


def config_of(plan: NodePlan, run: str) -> NodeConfig:
    """Make the configuration of a process that runs in the test: it has no launcher."""
    return make_config(plan, RunFacts(run, "/none"), Descriptors(-1, -1), restart_count=0)


def plan_of(*readers: Reader, slot_nbytes: int = 0, is_latched: bool = False) -> Plan:
    """Plan one process with an output, and one for each of its readers."""
    slots = (
        max(reader.queue_size for reader in readers)
        + sum(reader.max_held + SLOTS_IN_HAND for reader in readers)
        + 1
        + is_latched
    )
    edges = tuple(
        EdgeConfig(
            number=position,
            position=position,
            slots=slots,
            queue_size=reader.queue_size,
            queue_policy=reader.policy,
            max_held=reader.max_held,
            writer=0,
            reader=position + 1,
        )
        for position, reader in enumerate(readers)
    )
    output = OutputConfig("output", 0, slots, slot_nbytes, len(edges), edges, latched=is_latched)
    inputs = [(), *((InputConfig("input", output=output, edge=edge),) for edge in edges)]
    processes = tuple(
        ProcessPlan(
            name=f"process{number}",
            argv=(),
            folder=".",
            env=(),
            config=NodePlan(
                node="reader" if number else "writer",
                number=number,
                processes=len(readers) + 1,
                edges=len(readers),
                heartbeat_ns=None,
                spin_ns=None,
                inputs=inputs[number],
                outputs=(output,) if number == 0 else (),
                operators=(),
            ),
            upstream=frozenset(),
            circle=Circle(frozenset(), frozenset()),
            supervision=Supervision(),
            resources=Resources(),
            logging=Logging(),
        )
        for number in range(len(readers) + 1)
    )
    edge_plans = tuple(
        EdgePlan(edge.number, "writer/output", "reader/input", 0, edge.queue_policy, output, edge)
        for edge in edges
    )
    return Plan("test.yml", processes, (output,), edge_plans)
