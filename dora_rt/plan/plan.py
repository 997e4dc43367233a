"""The plan of a run: processes, outputs and edges, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.descriptor.tree.model import Logging, Resources, Supervision
from dora_rt.network.gateway_plan import GatewayPlan, OverNetwork, Stream
from dora_rt.node_config import EdgeConfig, NodePlan, OutputConfig, QueuePolicy
from dora_rt.node_parameters import NodeParameters
from dora_rt.redaction import words_without_secrets
from dora_rt.units import counted


@dataclass(frozen=True, slots=True)
class Circle:
    """Processes that feed each other, and none of which is a source; by number.

    Attributes:
        members: those that are both before and after a process, with itself; or empty.
        feeders: the others that write inputs of them.
    """

    members: frozenset[int]
    feeders: frozenset[int]


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One process of a run: what it runs, what it is told, how it is looked after."""

    name: str
    argv: tuple[str, ...]
    folder: str
    env: tuple[tuple[str, str], ...]
    config: NodePlan
    upstream: frozenset[int]
    """Numbers of the other processes that write this one's inputs."""
    circle: Circle
    """The circle that it is in, if it is in one."""
    supervision: Supervision
    resources: Resources
    logging: Logging
    is_dynamic: bool = False
    """Whether the user starts it, at any time during the run; then `argv` is empty."""
    parameters: tuple[NodeParameters, ...] = ()
    """Those of each node in it; none of a process that is no node of the file."""

    @property
    def has_ports(self) -> bool:
        """Whether the process has any input or output."""
        return bool(self.config.inputs or self.config.outputs)


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """One edge as the user knows it; `output` is None between operators of one process."""

    number: int
    source: str
    target: str
    queue_size: int
    queue_policy: QueuePolicy
    output: OutputConfig | None
    edge: EdgeConfig | None
    stream: Stream | None = None
    """Of an edge that crosses to or from another machine: one of its ends is the gateway."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The place of a run among the machines of its dataflow.

    Attributes:
        gateway: number of the process that speaks to the others.
        plan: what that process is told.
        ends_all: machines of whose nodes one ends the dataflow with its own end.
    """

    gateway: int
    plan: GatewayPlan
    ends_all: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run, before anything of it exists."""

    file: str
    processes: tuple[ProcessPlan, ...]
    outputs: tuple[OutputConfig, ...]
    edges: tuple[EdgePlan, ...]
    description: str = ""
    """The whole dataflow in the words of dora 1.x, as JSON."""
    relay: int | None = None
    """Number of the process that sends on what the others print, if anybody reads that."""
    network: NetworkPlan | None = None
    """None: the run is the whole dataflow."""
    clock: str | None = None
    """The output that `node.now()` and timers follow, if the dataflow has one."""


def outline(plan: Plan) -> str:
    """Return the processes and edges of a plan as text, and what other machines have of them."""
    network = plan.network
    where = "" if network is None else f" on machine {network.plan.machine}"
    lines = [f"{plan.file} is fine{where}: {_amount(plan)}"]
    for process in plan.processes:
        is_gateway = network is not None and process.config.number == network.gateway
        start = "the gateway to the other machines" if is_gateway else _describe_start(process)
        lines.append(f"  {process.name}: {start}")
    for edge in plan.edges:
        where = f"queue {edge.queue_size}, {edge.queue_policy.value}"
        if edge.output is None:
            where += ", in one process"
        elif edge.output.latched:
            where += ", latched"
        if edge.stream is not None:
            where = f"{edge.stream.ends}, {where}{_describe_way(edge.stream.over_network)}"
        lines.append(f"  {edge.source} -> {edge.target} ({where})")
    if plan.clock is not None:
        lines.append(f"  clock: {plan.clock}, which node.now() and the timers of the others follow")
    if network is not None:
        lines += _describe_others(network.plan)
    return "\n".join(lines)


def _describe_way(over_network: OverNetwork) -> str:
    parts = []
    if over_network.compress is not None:
        parts.append(f"{over_network.compress} {over_network.quality}")
    if over_network.max_width is not None:
        parts.append(f"at most {over_network.max_width} wide")
    if over_network.max_hz is not None:
        parts.append(f"at most {over_network.max_hz:g} Hz")
    return "".join(f", {part}" for part in parts)


def _describe_others(plan: GatewayPlan) -> list[str]:
    lines = []
    for machine in plan.machines:
        if machine.name != plan.machine:
            optional = " (optional)" if machine.is_optional else ""
            nodes = ", ".join(machine.nodes) or "no nodes"
            lines.append(f"  machine {machine.name}{optional}: {nodes}")
    passing = [
        stream for stream in plan.streams if plan.machine not in (stream.sender, stream.receiver)
    ]
    lines += [f"  {one.source} -> {', '.join(one.targets)} ({one.ends})" for one in passing]
    return lines


def _amount(plan: Plan) -> str:
    return f"{counted(len(plan.processes), 'process')}, {counted(len(plan.edges), 'edge')}"


def _describe_start(process: ProcessPlan) -> str:
    if process.is_dynamic:
        return f'dynamic, started by somebody else with Node("{process.name}")'
    return words_without_secrets(process.argv)
