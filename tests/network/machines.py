"""Machines of one dataflow in this process: real rings, real gateways, zenoh over loopback."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from dora_rt.event import Event, InputClosed
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.network.gateway import Gateway
from dora_rt.network.gateway_plan import GatewayPlan, MachinePlan, OverNetwork, Stream
from dora_rt.node.session import Session
from dora_rt.node_config import (
    Descriptors,
    NodeConfig,
    NodePlan,
    OutputConfig,
    QueuePolicy,
    RunFacts,
    make_config,
)
from dora_rt.transport.board import Board
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.ports import Ports
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import attach_words
from tests.harness.objects import new_run
from tests.harness.ports import free_port
from tests.harness.ring import Reader, plan_of
from tests.harness.waiting import PATIENCE_S


class Run:
    """The memory of one machine: an output, and readers of it; process 0 writes it."""

    def __init__(self, *readers: Reader) -> None:
        self.plan = plan_of(*readers)
        self.run = new_run()
        self.memory = RunMemory.create(self.plan, self.run)
        name = object_names.board(self.run)
        words = attach_words(name, lambda *_: None, writable=False)
        self.board = Board(words, len(self.plan.processes), len(self.plan.edges), name)
        self._status = os.open("/dev/null", os.O_WRONLY)
        # The gateway keeps its ledgers there.
        self._folder = tempfile.TemporaryDirectory()

    @property
    def output(self) -> OutputConfig:
        return self.plan.outputs[0]

    def attach(self, process: int, plan: NodePlan | None = None) -> Session:
        """Attach a process to the run, in this one."""
        config: NodeConfig = make_config(
            plan or self.plan.processes[process].config,
            RunFacts(self.run, f"{self._folder.name}/description"),
            Descriptors(self._status, -1),
            restart_count=0,
        )
        session = Session(config, self.board, Ports.open(config, self.board))
        self.memory.note_attached(process)
        return session

    def counts(self, reader: int = 0) -> tuple[int, int, int]:
        """Return what was sent, delivered and dropped on an edge."""
        counters = self.memory.counters(self.output, self.output.edges[reader])
        assert counters is not None, "nobody has removed the objects"
        return counters.sent, counters.delivered, counters.dropped

    def close(self) -> None:
        self.memory.close()
        os.close(self._status)
        self._folder.cleanup()


@dataclass
class RunningGateway:
    """A gateway in a thread of its own."""

    run: Run
    process: int
    gateway: Gateway
    session: Session
    thread: threading.Thread
    failures: list[BaseException] = field(default_factory=list)

    def tell_to_stop(self) -> None:
        self.run.memory.tell_to_stop(self.process)

    def join(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive(), "a gateway ends when it is told to"
        self.session.close()

    @property
    def is_over(self) -> bool:
        return not self.thread.is_alive()


def start_gateway(run: Run, process: int, plan: GatewayPlan, node: NodePlan | None = None) -> Any:
    session = run.attach(process, node)
    gateway = Gateway(session, plan, None)
    failures: list[BaseException] = []

    def carry() -> None:
        try:
            gateway.run()
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    return RunningGateway(run, process, gateway, session, thread, failures)


class Crossing:
    """One output that crosses from `robot` to `laptop`."""

    def __init__(self, policy: QueuePolicy, *, queue_size: int, **stream: Any) -> None:
        self._stack = ExitStack()
        self.robot = Run(Reader(queue_size, policy, max_held=64))
        self._stack.callback(self.robot.close)
        self.laptop = Run(Reader(queue_size, policy))
        self._stack.callback(self.laptop.close)
        self.stream = Stream(
            number=0,
            source="writer/output",
            sender="robot",
            receiver="laptop",
            port="input",
            queue_policy=policy,
            queue_size=queue_size,
            max_nbytes=64 << 20,
            targets=("reader/input",),
            **stream,
        )
        self.port = free_port()
        self.machines = (
            MachinePlan("robot", listen=(f"127.0.0.1:{self.port}",)),
            MachinePlan("laptop"),
        )
        self.writer = self.robot.attach(0)
        self.dead_writers: list[Session] = []
        self.reader = self.laptop.attach(1, _far(self.laptop.plan.processes[1].config))
        self.robot.memory.start()
        self.laptop.memory.start()
        self.gateways: dict[str, RunningGateway] = {}

    def plan(self, machine: str) -> GatewayPlan:
        port = "input" if machine == "robot" else "output"
        return GatewayPlan(
            machine=machine,
            machines=self.machines,
            streams=(dataclasses.replace(self.stream, port=port),),
            flow="flow",
            fleet="fleet",
            robot="r1",
            file_sha256="0" * 64,
        )

    def start(self, machine: str, node: NodePlan | None = None) -> RunningGateway:
        run, process = (self.robot, 1) if machine == "robot" else (self.laptop, 0)
        one = start_gateway(run, process, self.plan(machine), node)
        self.gateways[machine] = one
        return one

    def send(self, value: Any, metadata_json: bytes = b"") -> None:
        self.writer.publisher("output").send(value, Stamp(metadata_json, 1, 1))

    def restart_source(self) -> None:
        """Kill the node that sends, and start it again."""
        self.robot.memory.mark_dead(0, returns=True)
        # It says nothing more, as one that was killed.
        self.dead_writers.append(self.writer)
        self.writer = self.robot.attach(0, self.robot.memory.renew(0))

    def end_source(self) -> None:
        self.writer.close_output("output")

    def take(self, within_s: float = PATIENCE_S) -> Event:
        event = self.reader.wait_intact(deadline_in(within_s))
        assert isinstance(event, Event), f"a sample comes, not {event}"
        return event

    def take_any(self, within_s: float = PATIENCE_S) -> Any:
        """Take a sample or a change of the input."""
        return self.reader.wait_intact(deadline_in(within_s))

    def take_all(self, within_s: float = PATIENCE_S) -> list[Event]:
        """Take until the end of the input."""
        taken: list[Event] = []
        while True:
            event = self.reader.wait_intact(deadline_in(within_s))
            if event is None or isinstance(event, InputClosed):
                return taken
            if isinstance(event, Event):
                taken.append(event)

    def close(self) -> None:
        # Together: each waits a moment for the last accounts of the other.
        for one in self.gateways.values():
            one.tell_to_stop()
        for one in self.gateways.values():
            one.join()
        self.writer.close()
        self.reader.close()
        self._stack.close()


def _far(node: NodePlan) -> NodePlan:
    """Return a node whose inputs come from another machine."""
    inputs = tuple(dataclasses.replace(entry, is_far=True) for entry in node.inputs)
    return dataclasses.replace(node, inputs=inputs)


def deadline_in(seconds: float) -> int:
    import time

    return time.monotonic_ns() + int(seconds * 1e9)


@contextmanager
def crossing(
    policy: QueuePolicy = QueuePolicy.DROP_OLDEST,
    *,
    queue_size: int = 10,
    over_network: OverNetwork = OverNetwork(),  # noqa: B008 - frozen
    started: Sequence[str] = ("robot", "laptop"),
) -> Iterator[Crossing]:
    """Wire an output of machine `robot` to a reader on machine `laptop`."""
    one = Crossing(policy, queue_size=queue_size, over_network=over_network)
    try:
        for machine in started:
            one.start(machine)
        yield one
    finally:
        one.close()
