"""The edges of a plan: which output feeds which inputs, with every queue, slot and name."""

from __future__ import annotations

import mmap
from collections import defaultdict
from dataclasses import dataclass, replace

from dora_rt.descriptor.tree.model import (
    Input,
    LogSource,
    Node,
    Operator,
    OutputSource,
    RestartPolicy,
    TimerSource,
)
from dora_rt.log_record import LogLevel
from dora_rt.node_config import (
    ClockConfig,
    EdgeConfig,
    InputConfig,
    LinkConfig,
    OutputConfig,
    QueuePolicy,
)
from dora_rt.plan.circles import group, is_aside, reach
from dora_rt.plan.machine_part import GATEWAY, MachinePart
from dora_rt.plan.plan import Circle, EdgePlan
from dora_rt.plan.relay_process import RELAY, Relayed, line_sources, needs_relay, relay_node

# A reader has up to two samples in hand on their way to `next`, beside those that it holds (step 9
# of transport/ring/protocol.py).
SLOTS_IN_HAND = 2
_OPEN_LOANS = 3  # slots beyond what is queued, held and in hand, to write the next samples in
_ROOM_NBYTES = 128 + 4096  # header and metadata of a slot with a given `slot_bytes`


@dataclass(frozen=True, slots=True)
class _Port:
    """An output of the descriptor, with its process and its operator there."""

    source: OutputSource
    process: int
    operator: int | None
    port_id: str
    is_latched: bool = False


@dataclass(frozen=True, slots=True)
class _Reader:
    """An input of the descriptor that reads another node's output."""

    input: Input
    process: int
    operator: int | None
    port_id: str
    target: str
    keeps_alive: bool
    """False where the node does not go on for it: logs beside other inputs, answers to calls."""


class Edges:
    """The edges of a dataflow, and the inputs and outputs of the processes at their ends.

    Attributes:
        groups: the processes of the dataflow, and the nodes in each.
        names: names of all processes by number, the relay included.
        relay: the number of the relay, if there is one.
        gateway: the number of the gateway to other machines, if there is one.
        inputs: inputs of each process.
        outputs: outputs of each process.
        links: edges between operators of one process, by output.
        external: outputs of operators that leave their process, and their names outside.
        edges: all edges, as the user knows them.
        relayed: the content of each output of the relay.
    """

    def __init__(self, part: MachinePart) -> None:
        descriptor = part.descriptor
        self._part = part
        self.groups = group(descriptor.nodes)
        self.names = dict(enumerate(name for name, _ in self.groups))
        self.gateway: int | None = None
        if part.gateway is not None:
            self.gateway = len(self.names) - 1
        self.relay: int | None = None
        if needs_relay(descriptor):
            self.relay = len(self.names)
            self.names[self.relay] = RELAY
        self.inputs: list[list[InputConfig]] = [[] for _ in self.names]
        self.outputs: list[list[OutputConfig]] = [[] for _ in self.names]
        self.links: defaultdict[OutputSource, list[LinkConfig]] = defaultdict(list)
        self.external: dict[OutputSource, str] = {}
        self.edges: list[EdgePlan] = []
        self.relayed: list[Relayed] = []
        self._until: dict[str, frozenset[int]] = {}
        self._ports: dict[OutputSource, _Port] = {}
        # Outputs that carry the lines of a process: its number, and whether as log records.
        self._line_ports: dict[OutputSource, tuple[int, bool]] = {}
        self._readers: defaultdict[OutputSource, list[_Reader]] = defaultdict(list)
        self._log_readers: list[tuple[LogSource, _Reader]] = []
        self._aside: set[int] = set()  # edges for which their readers do not go on
        self._process_of = {
            node.id: number for number, (_, nodes) in enumerate(self.groups) for node in nodes
        }
        self._clock = descriptor.clock
        for number, (_, nodes) in enumerate(self.groups):
            self._collect(number, nodes)
        for port in self._ports.values():
            self._wire(port)
        for output, (number, are_records) in self._line_ports.items():
            self._connect_lines(output, number, are_records=are_records)
        for source, reader in self._log_readers:
            self._connect_log(source, reader)

    def processes(self) -> list[tuple[str, list[Node]]]:
        """Return the name and the nodes of each process, by number; the relay is the last one."""
        if self.relay is None:
            return self.groups
        return [*self.groups, (RELAY, [self._relay_node()])]

    def upstream(self) -> dict[int, set[int]]:
        """Return, for each process, those that write the inputs for which it goes on."""
        upstream = self._written_by()
        if self.relay is not None:
            # It is the last to be stopped: the others print until their end.
            upstream[self.relay] = set().union(*self.until().values())
        if self.gateway is not None:
            # So is this one: it goes on until the ends of all its streams have crossed.
            upstream[self.gateway] = set(self.names) - {self.gateway}
        return upstream

    def circles(self) -> list[Circle]:
        """Return, for each process, those that are both before and after it, by number."""
        upstream = self.upstream()
        if self.gateway is not None:
            # Circles that lead over other machines are known by name.
            upstream = {number: before - {self.gateway} for number, before in upstream.items()}
            upstream[self.gateway] = set()
        numbers = {name: number for number, name in self.names.items()}
        before = {number: reach(number, upstream) for number in upstream}
        circles = []
        for number, name in self.names.items():
            members = {other for other in before[number] if number in before[other]}
            wide = self._part.wide_circles.get(name, frozenset())
            members |= {numbers[other] for other in wide if other in numbers}
            feeders = set().union(*(upstream[member] for member in members)) - members
            circles.append(Circle(frozenset(members), frozenset(feeders)))
        return circles

    def _relay_node(self) -> Node:
        place = self.groups[0][1][0].place
        return relay_node(self.relayed, self.until(), self.names, place)

    def _written_by(self) -> dict[int, set[int]]:
        upstream: dict[int, set[int]] = {number: set() for number in self.names}
        for edge in self.edges:
            if edge.edge is not None and edge.number not in self._aside:
                upstream[edge.edge.reader].add(edge.edge.writer)
        return upstream

    def until(self) -> dict[str, frozenset[int]]:
        """Return, for each output of the relay, the processes of which the last one ends it.

        Logs end when all have ended that do not wait for just that.
        """
        upstream = self._written_by()
        waiting = {reader.process for _, reader in self._log_readers if reader.keeps_alive}
        waiting |= {number for number in self.names if waiting & reach(number, upstream)}
        others = frozenset(
            number
            for number, (_, nodes) in enumerate(self.groups)
            if number not in waiting and not nodes[0].is_dynamic and number != self.gateway
        )
        return {one.output: self._until.get(one.output, others) for one in self.relayed}

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
        target = node.id if operator is None else operator_name(node, operator)
        prefix = "" if operator is None else f"{target}/"
        lines = line_sources(node)
        for output in owner.outputs:
            source = OutputSource(node.id, output.id, operator.id if operator else None)
            if source not in lines:
                self._ports[source] = _Port(
                    source, number, index, prefix + output.id, output.is_latched
                )
            else:
                self._line_ports[source] = (number, lines[source])
        reads_only_asides = all(is_aside(entry) for entry in owner.inputs)
        for entry in owner.inputs:
            port_id = prefix + entry.id
            if isinstance(entry.source, TimerSource):
                self.inputs[number].append(self._timer(number, port_id, entry.source))
                continue
            keeps_alive = reads_only_asides or not is_aside(entry)
            reader = _Reader(
                entry, number, index, port_id, f"{target}/{entry.id}", keeps_alive=keeps_alive
            )
            if isinstance(entry.source, LogSource):
                self._log_readers.append((entry.source, reader))
            else:
                self._readers[entry.source].append(reader)

    def _timer(self, process: int, port_id: str, source: TimerSource) -> InputConfig:
        clock = self._clock
        # The process that makes the clock may do so by a timer, which would wait for itself.
        is_real = source.is_real or clock is None or self._process_of[clock.node] == process
        return InputConfig(port_id, source.period_ns, follows_clock=not is_real)

    def clock(self, process: int) -> ClockConfig | None:
        """Return what a process is told of the clock; None if the dataflow has none."""
        clock = self._clock
        if clock is None or self._process_of[clock.node] != process:
            return None if clock is None else ClockConfig()
        periods = {
            number: tuple(
                sorted(
                    {entry.period_ns for entry in inputs if entry.follows_clock and entry.period_ns}
                )
            )
            for number, inputs in enumerate(self.inputs)
        }
        return ClockConfig(
            self.external[clock], tuple((number, one) for number, one in periods.items() if one)
        )

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
        # The clock is set where samples leave their process.
        if port.operator is None or across or port.source == self._clock:
            self._connect(port, across)

    def _connect_lines(self, source: OutputSource, process: int, *, are_records: bool) -> None:
        # A process that reads its own lines does not wait for their end.
        readers = [
            replace(reader, keeps_alive=reader.process != process)
            for reader in self._readers[source]
        ]
        if self.relay is None or not readers:
            return
        port_id = str(source)
        is_dynamic = self.groups[process][1][0].is_dynamic
        self._until[port_id] = frozenset(() if is_dynamic else (process,))
        name = self.names[process]
        self.relayed.append(Relayed(port_id, name, frozenset(), LogLevel.STDOUT, are_records))
        self._connect(_Port(source, self.relay, None, port_id), readers)

    def _connect_log(self, source: LogSource, reader: _Reader) -> None:
        assert self.relay is not None, "there is one if anybody reads logs"
        port_id = f"{source} for {reader.target}"
        node = None if source.node is None else self.names[self._process_of[source.node]]
        left_out = {self.names[reader.process]}
        if node is None:
            # Two nodes that print what the other one prints would never be done.
            left_out |= {
                self.names[other.process] for log, other in self._log_readers if log.node is None
            }
            left_out |= set() if self.gateway is None else {GATEWAY}
        relayed = Relayed(port_id, node, frozenset(left_out), source.level, are_records=True)
        self.relayed.append(relayed)
        shown = OutputSource(RELAY, str(source).partition("/")[2])
        self._connect(_Port(shown, self.relay, None, port_id), [reader])

    def _link(self, port: _Port, reader: _Reader) -> None:
        entry = reader.input
        assert reader.operator is not None, "only operators share a process"
        number = len(self.edges)
        size = None if entry.queue_policy is QueuePolicy.BLOCK else entry.queue_size
        self.links[port.source].append(LinkConfig(number, reader.operator, entry.id, size))
        self.edges.append(
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
            + sum(entry.max_held + SLOTS_IN_HAND for entry in inputs)
            + _OPEN_LOANS
            + port.is_latched  # which keeps one
        )
        first = len(self.edges)
        output = OutputConfig(
            id=port.port_id,
            number=sum(len(outputs) for outputs in self.outputs),
            slots=slots,
            slot_nbytes=_slot_nbytes([entry.slot_nbytes for entry in inputs]),
            edge_count=len(readers),
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
            latched=port.is_latched,
        )
        self.outputs[port.process].append(output)
        self.external[port.source] = port.port_id
        # What comes from another machine has the name that it has there.
        source = self._part.sources.get(port.source, port.source)
        is_text = port.process == self.relay or port.source in self._part.lines
        seen = output.for_reader()
        if port.process == self.gateway:
            seen = replace(seen, id=str(source))
        for reader, edge in zip(readers, output.edges, strict=True):
            self.inputs[reader.process].append(
                InputConfig(
                    reader.port_id,
                    output=seen,
                    edge=edge,
                    timeout_ns=to_ns(reader.input.timeout_s),
                    is_text=is_text,
                    source_node=source.node,
                    keeps_alive=reader.keeps_alive,
                    is_far=port.process == self.gateway,
                )
            )
            if not reader.keeps_alive:
                self._aside.add(edge.number)
            stream, target = None, reader.target
            if self.gateway == port.process:
                stream = self._part.streams[port.port_id]
            elif self.gateway == reader.process:
                stream = self._part.streams[reader.port_id]
                target = ", ".join(stream.targets)
            self.edges.append(
                EdgePlan(
                    edge.number,
                    str(source),
                    target,
                    edge.queue_size,
                    edge.queue_policy,
                    output,
                    edge,
                    stream,
                )
            )

    def _returns(self, process: int) -> bool:
        if process == self.relay:
            return True
        _, nodes = self.groups[process]
        first = nodes[0]
        return first.is_dynamic or first.supervision.restart is not RestartPolicy.NEVER


def operator_name(node: Node, operator: Operator) -> str:
    """Return the name of an operator: that of its node, or `node/operator`."""
    return node.id if operator.id is None else f"{node.id}/{operator.id}"


def _slot_nbytes(requested: list[int | None]) -> int:
    largest = max((nbytes for nbytes in requested if nbytes is not None), default=0)
    if not largest:
        return 0
    return -(-(largest + _ROOM_NBYTES) // mmap.PAGESIZE) * mmap.PAGESIZE


def to_ns(duration_s: float | None) -> int | None:
    """Return seconds in nanoseconds."""
    return None if duration_s is None else int(duration_s * 1e9)
