"""The part of a dataflow that one machine runs, with the gateway in the place of all others."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dora_rt.descriptor.tree.model import (
    Descriptor,
    Input,
    LogSource,
    Machines,
    Node,
    Operator,
    Output,
    OutputSource,
    Place,
    Program,
    RestartPolicy,
    Supervision,
    TimerSource,
)
from dora_rt.network.gateway_plan import (
    GatewayPlan,
    MachinePlan,
    OverNetwork,
    Security,
    Stream,
)
from dora_rt.node_config import QueuePolicy, to_fields
from dora_rt.plan.circles import wide_circles

# No node can be called like this.
GATEWAY = "dora.network"
_CLOCK = "dora.clock"  # reads the clock on the machines that do not have its node
_MAX_HELD = 64
"""Samples that the gateway has sent and the far end has not acknowledged yet."""
_HELD_NBYTES = 64 * 1024**2
_LEAST_HELD = 4
"""So many of those that are large: two are under way at most."""
_MAX_NBYTES = 64 * 1024**2
"""Of a sample that comes in, where no input says by `slot_bytes` how large its samples are."""
_STOP_GRACE_S = 5.0
"""Beyond that of the slowest node: it goes on until the ends of both machines are exchanged."""
_HEARTBEAT_TIMEOUT_S = 10.0
"""A gateway without a sign of life for so long, as one that a signal has stopped, is replaced: it
looks four times a second, and what it has not sent is in the rings."""
_STRICTEST = (QueuePolicy.BLOCK, QueuePolicy.DROP_OLDEST, QueuePolicy.LATEST)


@dataclass(frozen=True, slots=True)
class Membership:
    """Which machine of a dataflow this one is, and what the gateways must agree on.

    Attributes:
        machine: its name in `machines:`.
        robot: part of the names on the network.
        flow: part of the names on the network: the name of the file.
        file_sha256: of the file.
        security: what protects the links.
    """

    machine: str
    robot: str
    flow: str
    file_sha256: str
    security: Security


@dataclass(frozen=True, slots=True)
class MachinePart:
    """What one machine runs; without `machines:` or of no machine in particular: everything.

    Attributes:
        descriptor: its own nodes, and the gateway as the last one.
        sources: the outputs of the gateway, and those of other machines that they bring.
        streams: by names of inputs and outputs of the gateway.
        lines: outputs of the gateway that carry what a node prints.
        wide_circles: the processes of each circle that leads over several machines, by the name of
            each of them.
        gateway: what the gateway is told; None if there is none.
    """

    descriptor: Descriptor
    sources: Mapping[OutputSource, OutputSource] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    lines: frozenset[OutputSource] = frozenset()
    wide_circles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gateway: GatewayPlan | None = None


def part_of(descriptor: Descriptor, membership: Membership, agreed: Descriptor) -> MachinePart:
    """Return the part of a machine of a dataflow that has `machines:`.

    Args:
        descriptor: the dataflow.
        membership: which machine.
        agreed: the dataflow as the file has it, on all machines. It says what crosses: a node that
            was added here reads what comes here anyway.
    """
    assert descriptor.machines is not None, "checked where the machine was named"
    own = membership.machine
    crossings = list(_crossings(agreed))
    gateway = GatewayPlan(
        machine=own,
        machines=_machine_plans(descriptor, descriptor.machines),
        streams=tuple(crossing.stream for crossing in crossings),
        flow=membership.flow,
        fleet=descriptor.machines.fleet,
        robot=membership.robot,
        file_sha256=_agreement(membership.file_sha256, crossings),
        via=descriptor.machines.via,
        security=membership.security,
    )
    leaving = [one for one in crossings if one.stream.sender == own]
    coming = [one for one in crossings if one.stream.receiver == own]
    sources = {OutputSource(GATEWAY, one.stream.port): one.source for one in coming}
    clock = next(
        (
            OutputSource(GATEWAY, one.stream.port)
            for one in coming
            if one.source == descriptor.clock and f"{_CLOCK}/{own}" in one.stream.targets
        ),
        descriptor.clock,
    )
    local = [_with_gateway(node, coming) for node in descriptor.nodes if node.machine == own]
    slowest_s = max((node.supervision.stop_grace_s for node in descriptor.nodes), default=0.0)
    grace_s = slowest_s + _STOP_GRACE_S
    process = _gateway_node(gateway, leaving, coming, descriptor.machines.place, grace_s)
    line_sources = {
        OutputSource(node.id, line.output, line.operator)
        for node in descriptor.nodes
        for line in node.line_outputs
    }
    return MachinePart(
        replace(descriptor, nodes=(*local, process), clock=clock),
        sources=sources,
        streams={one.stream.port: one.stream for one in (*leaving, *coming)},
        lines=frozenset(port for port, source in sources.items() if source in line_sources),
        wide_circles=wide_circles(descriptor.nodes),
        gateway=gateway,
    )


@dataclass(slots=True)
class _Crossing:
    """One stream, with the inputs behind it."""

    stream: Stream
    source: OutputSource
    inputs: list[Input]


def _crossings(descriptor: Descriptor) -> Iterator[_Crossing]:
    machine_of = {node.id: node.machine for node in descriptor.nodes}
    # In the order of the file, which is the same on all machines.
    groups: defaultdict[tuple[OutputSource, str, OverNetwork], list[tuple[Input, str]]]
    groups = defaultdict(list)
    for node in descriptor.nodes:
        for entry, label in _inputs(node):
            source = entry.source
            if not isinstance(source, OutputSource) or node.machine is None:
                continue
            if machine_of[source.node] != node.machine:
                over_network = entry.over_network or OverNetwork()
                groups[source, node.machine, over_network].append((entry, label))
    for receiver in _clock_receivers(descriptor, machine_of):
        assert descriptor.clock is not None, "somebody needs it"
        read = _clock_input(descriptor.clock, descriptor.nodes[0].place)
        groups[descriptor.clock, receiver, OverNetwork()].append((read, f"{_CLOCK}/{receiver}"))
    latched = descriptor.latched_outputs()
    taken: defaultdict[str, int] = defaultdict(int)
    for number, ((source, receiver, over_network), readers) in enumerate(groups.items()):
        inputs = [entry for entry, _ in readers]
        port = f"{receiver}/{source}"
        taken[port] += 1
        if taken[port] > 1:
            port = f"{port}#{taken[port]}"
        policies = {entry.queue_policy for entry in inputs}
        sender = machine_of[source.node]
        assert sender is not None, "all nodes have a machine, or none"
        yield _Crossing(
            Stream(
                number=number,
                source=str(source),
                sender=sender,
                receiver=receiver,
                port=port,
                queue_policy=next(policy for policy in _STRICTEST if policy in policies),
                queue_size=max(entry.queue_size for entry in inputs),
                max_nbytes=_max_nbytes(inputs),
                targets=tuple(label for _, label in readers),
                over_network=over_network,
                is_latched=source in latched,
            ),
            source,
            inputs,
        )


def _clock_receivers(descriptor: Descriptor, machine_of: Mapping[str, str | None]) -> list[str]:
    """Return the machines to which the clock of the dataflow must cross, in a fixed order."""
    clock = descriptor.clock
    if clock is None:
        return []
    others = {machine for machine in machine_of.values() if machine is not None}
    return sorted(others - {machine_of[clock.node]})


def _clock_input(clock: OutputSource, place: Place) -> Input:
    """Return what stands for the clock of another machine: only the newest time counts."""
    return Input(
        id="clock",
        source=clock,
        queue_size=1,
        queue_policy=QueuePolicy.LATEST,
        max_held=1,
        slot_nbytes=None,
        place=place,
    )


def _agreement(file_sha256: str, crossings: Sequence[_Crossing]) -> str:
    """Return a digest of the file and of its streams.

    Arguments and variables of one machine may leave out a node, or change a queue, and streams are
    known by their numbers.
    """
    streams = json.dumps([to_fields(crossing.stream) for crossing in crossings])
    return hashlib.sha256(f"{file_sha256} {streams}".encode()).hexdigest()


def _inputs(node: Node) -> Iterator[tuple[Input, str]]:
    for entry in node.inputs:
        yield entry, f"{node.id}/{entry.id}"
    for operator in node.operators:
        for entry in operator.inputs:
            yield entry, f"{_operator_name(node, operator)}/{entry.id}"


def _max_nbytes(inputs: Sequence[Input]) -> int:
    sizes = [entry.slot_nbytes for entry in inputs if entry.slot_nbytes is not None]
    return max(sizes) if len(sizes) == len(inputs) else max(_MAX_NBYTES, *sizes, 0)


def _slot_nbytes(inputs: Sequence[Input]) -> int:
    return max(entry.slot_nbytes or 0 for entry in inputs)


def _max_held(inputs: Sequence[Input]) -> int:
    # Each may keep a slot of the output, and slots of a given size are there from the start.
    fitting = _HELD_NBYTES // max(_slot_nbytes(inputs), 1)
    return min(max(fitting, _LEAST_HELD), _MAX_HELD)


def _machine_plans(descriptor: Descriptor, machines: Machines) -> tuple[MachinePlan, ...]:
    return tuple(
        MachinePlan(
            machine.name,
            machine.listen,
            machine.is_optional,
            machine.timeout_s,
            tuple(node.id for node in descriptor.nodes if node.machine == machine.name),
        )
        for machine in machines.members
    )


def _with_gateway(node: Node, coming: Sequence[_Crossing]) -> Node:
    """Return a node that reads from the gateway what comes from other machines."""
    port_of = {
        (one.source, label): OutputSource(GATEWAY, one.stream.port)
        for one in coming
        for label in one.stream.targets
    }
    # Of a node that the file does not have. What crosses as it is goes before what was changed.
    ways = sorted(coming, key=lambda one: one.stream.over_network == OverNetwork())
    any_port_of = {one.source: OutputSource(GATEWAY, one.stream.port) for one in ways}

    def source_of(entry: Input, label: str) -> TimerSource | LogSource | OutputSource:
        source = entry.source
        if not isinstance(source, OutputSource):
            return source
        return port_of.get((source, label)) or any_port_of.get(source, source)

    def resolved(inputs: tuple[Input, ...], owner: str) -> tuple[Input, ...]:
        return tuple(
            replace(entry, source=source_of(entry, f"{owner}/{entry.id}")) for entry in inputs
        )

    return replace(
        node,
        inputs=resolved(node.inputs, node.id),
        operators=tuple(
            replace(operator, inputs=resolved(operator.inputs, _operator_name(node, operator)))
            for operator in node.operators
        ),
    )


def _operator_name(node: Node, operator: Operator) -> str:
    return node.id if operator.id is None else f"{node.id}/{operator.id}"


def _gateway_node(
    gateway: GatewayPlan,
    leaving: Sequence[_Crossing],
    coming: Sequence[_Crossing],
    place: Place,
    stop_grace_s: float,
) -> Node:
    """Return the gateway as a node that is planned like those of the file."""
    return Node(
        id=GATEWAY,
        name=None,
        description=None,
        env=(),
        program=Program(None, "dora_rt.network.gateway", (gateway.to_json(),), place),
        inputs=tuple(
            Input(
                id=one.stream.port,
                source=one.source,
                queue_size=one.stream.queue_size,
                queue_policy=one.stream.queue_policy,
                max_held=_max_held(one.inputs),
                slot_nbytes=_slot_nbytes(one.inputs) or None,
                place=one.inputs[0].place,
            )
            for one in leaving
        ),
        outputs=tuple(
            Output(one.stream.port, place, is_latched=one.stream.is_latched) for one in coming
        ),
        operators=(),
        runtime=None,
        place=place,
        supervision=Supervision(
            restart=RestartPolicy.ON_FAILURE,
            max_restarts=0,
            restart_delay_s=0.1,
            max_restart_delay_s=2.0,
            stop_grace_s=stop_grace_s,
            heartbeat_timeout_s=_HEARTBEAT_TIMEOUT_S,
            beats_before_start=True,
        ),
        machine=gateway.machine,
    )
