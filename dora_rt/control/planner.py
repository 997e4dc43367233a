"""From what the user wrote to what will run: every process, name, size and argument decided."""

from __future__ import annotations

import json
import mmap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dora_rt.contract import (
    CONFIG_VERSION,
    EdgeConfig,
    InputConfig,
    LinkConfig,
    NodeConfig,
    OperatorConfig,
    OutputConfig,
    QueuePolicy,
    Route,
)
from dora_rt.control.description import describe
from dora_rt.control.plan import EdgePlan, Plan, ProcessPlan
from dora_rt.descriptor.model import (
    Descriptor,
    Input,
    Node,
    Operator,
    OutputSource,
    RestartPolicy,
    TimerSource,
)

_OPEN_LOANS = 4  # slots beyond what can be queued and held, to write the next samples in
_ROOM_NBYTES = 128 + 4096  # header and metadata of a slot with a given `slot_bytes`


def make_plan(descriptor: Descriptor, *, folder: Path, interpreter: str) -> Plan:
    """Decide everything.

    Args:
        descriptor: a checked dataflow.
        folder: absolute folder of the dataflow file; paths are relative to it, nodes run in it.
        interpreter: the Python that runs `.py` files, modules and operators.
    """
    return _Planner(descriptor, folder, interpreter).plan()


@dataclass(frozen=True, slots=True)
class _Port:
    """An output of the descriptor and where it lives: the process, and its operator there."""

    source: OutputSource
    process: int
    operator: int | None
    port_id: str


@dataclass(frozen=True, slots=True)
class _Reader:
    """An input of the descriptor that reads another node's output."""

    input: Input
    process: int
    operator: int | None
    port_id: str
    target: str


class _Planner:
    def __init__(self, descriptor: Descriptor, folder: Path, interpreter: str) -> None:
        self._file = descriptor.file
        self._description = json.dumps(describe(descriptor))
        self._folder = folder
        self._interpreter = interpreter
        self._groups = _group(descriptor.nodes)
        self._ports: dict[OutputSource, _Port] = {}
        self._readers: defaultdict[OutputSource, list[_Reader]] = defaultdict(list)
        self._inputs: list[list[InputConfig]] = [[] for _ in self._groups]
        self._outputs: list[list[OutputConfig]] = [[] for _ in self._groups]
        self._links: defaultdict[OutputSource, list[LinkConfig]] = defaultdict(list)
        self._external: dict[OutputSource, str] = {}
        self._edges: list[EdgePlan] = []

    def plan(self) -> Plan:
        for number, (_, nodes) in enumerate(self._groups):
            self._collect(number, nodes)
        for port in self._ports.values():
            self._wire(port)
        upstream = self._upstream()
        before = {number: _reach(number, upstream) for number in upstream}
        return Plan(
            self._file,
            tuple(
                self._process(
                    number,
                    frozenset(upstream[number] - {number}),
                    frozenset(other for other in before[number] if number in before[other]),
                )
                for number in range(len(self._groups))
            ),
            tuple(output for outputs in self._outputs for output in outputs),
            tuple(sorted(self._edges, key=lambda edge: edge.number)),
            self._description,
        )

    def _collect(self, number: int, nodes: list[Node]) -> None:
        index = 0
        for node in nodes:
            if node.program is not None:
                self._collect_ports(number, node, None, None)
            for operator in node.operators:
                self._collect_ports(number, node, operator, index)
                index += 1

    def _collect_ports(
        self, number: int, node: Node, operator: Operator | None, index: int | None
    ) -> None:
        owner = node if operator is None else operator
        target = node.id if operator is None else _operator_name(node, operator)
        prefix = "" if operator is None else f"{target}/"
        for output in owner.outputs:
            source = OutputSource(node.id, output.id, operator.id if operator else None)
            self._ports[source] = _Port(source, number, index, prefix + output.id)
        for entry in owner.inputs:
            port_id = prefix + entry.id
            if isinstance(entry.source, TimerSource):
                self._inputs[number].append(InputConfig(port_id, entry.source.period_ns))
            else:
                reader = _Reader(entry, number, index, port_id, f"{target}/{entry.id}")
                self._readers[entry.source].append(reader)

    def _wire(self, port: _Port) -> None:
        readers = self._readers[port.source]
        beside = [
            reader
            for reader in readers
            if port.operator is not None and reader.process == port.process
        ]
        across = [reader for reader in readers if reader not in beside]
        for reader in beside:
            self._link(port, reader)
        if port.operator is None or across:
            self._connect(port, across)

    def _link(self, port: _Port, reader: _Reader) -> None:
        entry = reader.input
        assert reader.operator is not None, "only operators share a process"
        number = len(self._edges)
        size = None if entry.queue_policy is QueuePolicy.BLOCK else entry.queue_size
        self._links[port.source].append(LinkConfig(number, reader.operator, entry.id, size))
        self._edges.append(
            EdgePlan(
                number,
                str(port.source),
                reader.target,
                entry.queue_size,
                entry.queue_policy,
                None,
                None,
            )
        )

    def _connect(self, port: _Port, readers: list[_Reader]) -> None:
        inputs = [reader.input for reader in readers]
        slots = (
            max((entry.queue_size for entry in inputs), default=0)
            + sum(entry.max_held + 1 for entry in inputs)
            + _OPEN_LOANS
        )
        first = len(self._edges)
        output = OutputConfig(
            id=port.port_id,
            number=sum(len(outputs) for outputs in self._outputs),
            slots=slots,
            slot_nbytes=_slot_nbytes([entry.slot_nbytes for entry in inputs]),
            edges=tuple(
                EdgeConfig(
                    number=first + position,
                    position=position,
                    slots=slots,
                    queue_size=reader.input.queue_size,
                    queue_policy=reader.input.queue_policy,
                    max_held=reader.input.max_held,
                    writer=port.process,
                    reader=reader.process,
                    writer_returns=self._returns(port.process),
                    reader_returns=self._returns(reader.process),
                )
                for position, reader in enumerate(readers)
            ),
        )
        self._outputs[port.process].append(output)
        self._external[port.source] = port.port_id
        for reader, edge in zip(readers, output.edges, strict=True):
            self._inputs[reader.process].append(
                InputConfig(
                    reader.port_id,
                    output=output,
                    edge=edge,
                    timeout_ns=_ns(reader.input.timeout_s),
                    source_node=port.source.node,
                )
            )
            self._edges.append(
                EdgePlan(
                    edge.number,
                    str(port.source),
                    reader.target,
                    edge.queue_size,
                    edge.queue_policy,
                    output,
                    edge,
                )
            )

    def _returns(self, process: int) -> bool:
        _, nodes = self._groups[process]
        first = nodes[0]
        return first.is_dynamic or first.supervision.restart is not RestartPolicy.NEVER

    def _upstream(self) -> dict[int, set[int]]:
        upstream: dict[int, set[int]] = {number: set() for number in range(len(self._groups))}
        for edge in self._edges:
            if edge.edge is not None:
                upstream[edge.edge.reader].add(edge.edge.writer)
        return upstream

    def _process(
        self, number: int, upstream: frozenset[int], circle: frozenset[int]
    ) -> ProcessPlan:
        name, nodes = self._groups[number]
        supervision = nodes[0].supervision
        spin_us = nodes[0].resources.spin_us
        env = dict(pair for node in nodes for pair in node.env)
        return ProcessPlan(
            name=name,
            argv=self._argv(nodes[0]),
            folder=str(self._folder),
            env=tuple(env.items()),
            config=NodeConfig(
                version=CONFIG_VERSION,
                run="",
                node=name,
                number=number,
                processes=len(self._groups),
                edges=len(self._edges),
                status_fd=-1,
                lock_fd=-1,
                heartbeat_ns=_ns(supervision.heartbeat_timeout_s),
                spin_ns=None if spin_us is None else 1000 * spin_us,
                inputs=tuple(self._inputs[number]),
                outputs=tuple(self._outputs[number]),
                operators=tuple(
                    self._operator(node, operator) for node in nodes for operator in node.operators
                ),
                api=nodes[0].api,
            ),
            upstream=upstream,
            circle=circle,
            supervision=supervision,
            resources=nodes[0].resources,
            is_dynamic=nodes[0].is_dynamic,
        )

    def _argv(self, node: Node) -> tuple[str, ...]:
        program = node.program
        if program is None:
            return (self._interpreter, "-u", "-m", "dora_rt.runtime")
        if program.module is not None:
            return (self._interpreter, "-u", "-m", program.module, *program.args)
        assert program.path is not None, "a program has a path or a module"
        if node.is_dynamic:
            return ()
        beside = self._folder / program.path
        path = str(beside) if beside.is_file() else program.path
        if path.endswith(".py"):
            return (self._interpreter, "-u", path, *program.args)
        return (path, *program.args)

    def _operator(self, node: Node, operator: Operator) -> OperatorConfig:
        name = _operator_name(node, operator)
        routes = []
        for output in operator.outputs:
            source = OutputSource(node.id, output.id, operator.id)
            routes.append(Route(output.id, self._external.get(source), tuple(self._links[source])))
        return OperatorConfig(
            name=name,
            path=None if operator.path is None else str(self._folder / operator.path),
            module=operator.module,
            inputs=tuple((f"{name}/{entry.id}", entry.id) for entry in operator.inputs),
            routes=tuple(routes),
        )


def _group(nodes: tuple[Node, ...]) -> list[tuple[str, list[Node]]]:
    """Put the nodes of one runtime together; the order of the file stays."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.runtime or node.id, []).append(node)
    return list(groups.items())


def _operator_name(node: Node, operator: Operator) -> str:
    return node.id if operator.id is None else f"{node.id}/{operator.id}"


def _slot_nbytes(requested: list[int | None]) -> int:
    largest = max((nbytes for nbytes in requested if nbytes is not None), default=0)
    if not largest:
        return 0
    return -(-(largest + _ROOM_NBYTES) // mmap.PAGESIZE) * mmap.PAGESIZE


def _ns(duration_s: float | None) -> int | None:
    return None if duration_s is None else int(duration_s * 1e9)


def _reach(start: int, upstream: dict[int, set[int]]) -> set[int]:
    """Give all processes that are somewhere upstream of one."""
    reached: set[int] = set()
    frontier = [start]
    while frontier:
        for other in upstream[frontier.pop()] - reached:
            reached.add(other)
            frontier.append(other)
    return reached
