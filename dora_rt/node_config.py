"""The configuration of a node's process: what the launcher and the node agree on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dora_rt.errors import VersionMismatchError

CONFIG_VERSION = 6
CONFIG_VARIABLE = "DORA_RT_NODE_CONFIG"


class QueuePolicy(Enum):
    """The rule of an edge whose reader is slower than its writer."""

    LATEST = "latest"
    DROP_OLDEST = "drop_oldest"
    BLOCK = "block"


class Api(Enum):
    """The inputs of a node that imports `dora`: tuples as in 2022, or event dicts as today."""

    TUPLES = "tuples"
    EVENTS = "events"


class ServiceKind(Enum):
    """What a node serves: a call has one answer; a goal has feedback and a result."""

    CALL = "call"
    GOAL = "goal"


CALL_PARTS = ("request", "response", "goal", "cancel", "feedback", "result")
"""The inputs and outputs that calls and goals have."""


@dataclass(frozen=True, slots=True)
class CallConfig:
    """One end of a call; a server has one for each client, the `peer`."""

    name: str
    kind: ServiceKind
    peer: str
    is_server: bool
    is_far: bool = False
    """Whether the peer runs on another machine, from which no restart is told."""

    def port(self, part: str) -> str:
        """Return the name of an input or output of this end, such as that of its `request`."""
        return f"{self.name}.{part}/{self.peer}" if self.is_server else f"{self.name}.{part}"


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """One edge, as both of its ends know it.

    `number` counts the edges of the run and names the shared objects; `position` counts the
    edges of one output.
    """

    number: int
    position: int
    slots: int
    queue_size: int
    queue_policy: QueuePolicy
    max_held: int
    writer: int
    """Number of the process that writes."""
    reader: int
    """Number of the process that reads."""
    writer_returns: bool = False
    """Whether the writer may be restarted: its end is the end only when the launcher says so."""
    reader_returns: bool = False
    """Whether the reader may be restarted: its queue is kept meanwhile."""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """One output: the shared objects are named by `number`, which counts those of the run."""

    id: str
    number: int
    slots: int
    slot_nbytes: int
    edge_count: int
    edges: tuple[EdgeConfig, ...]
    """Only for its writer: an output may have hundreds, and each reader gets the output."""
    generation: int = 0
    latched: bool = False
    """Whether a reader that comes later gets the newest sample first."""

    def for_reader(self) -> OutputConfig:
        """Return the output for a reader or an observer: without its edges."""
        return dataclasses.replace(self, edges=())

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> OutputConfig:
        """Read what `to_fields` returned."""
        return _output(fields)


@dataclass(frozen=True, slots=True)
class InputConfig:
    """One input: an edge of an output, or a timer of `period_ns` that the reader makes itself."""

    id: str
    period_ns: int | None = None
    output: OutputConfig | None = None
    edge: EdgeConfig | None = None
    timeout_ns: int | None = None
    """Silence after which the input counts as closed until something comes again."""
    source_node: str = ""
    """Id of the node that writes it, in the dataflow file."""
    is_text: bool = False
    """Whether the samples are UTF-8 text from the relay: lines and logs of nodes."""
    keeps_alive: bool = True
    """Whether the node goes on as long as this input is open."""
    follows_clock: bool = False
    """Of a timer: whether it ticks by the clock of the dataflow, and not in real time."""
    is_far: bool = False
    """Whether it comes from another machine: a gateway writes it."""


@dataclass(frozen=True, slots=True)
class Route:
    """The targets of an operator's output: outside the process, and operators beside it."""

    output_id: str
    external_id: str | None
    links: tuple[LinkConfig, ...]


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """An edge between two operators of one process: `number` as for edges, no shared memory."""

    number: int
    operator: int
    input_id: str
    queue_size: int | None
    """None: no limit, as a `block` edge inside one thread cannot wait."""


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """One operator of a runtime; `inputs` maps names of the process to names of the operator."""

    name: str
    path: str | None
    module: str | None
    inputs: tuple[tuple[str, str], ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Inputs that are delivered together; see `dora_rt.transport.input.sync`."""

    input_ids: tuple[str, ...]
    slop_ns: int
    depth: int


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """The clock of a dataflow that has `clock:`, as one process knows it.

    Attributes:
        output: the output of this process that is the clock; None: another process has it.
        listeners: of the process that has it: those that have timers, and their periods.
    """

    output: str | None = None
    listeners: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What the plan of a run decides for one process; `number` counts the processes of the run."""

    node: str
    number: int
    processes: int
    edges: int
    heartbeat_ns: int | None
    """Silence after which the launcher takes the process for hung, or None."""
    spin_ns: int | None
    """For how long to poll before each sleep; None: while that pays."""
    inputs: tuple[InputConfig, ...]
    outputs: tuple[OutputConfig, ...]
    operators: tuple[OperatorConfig, ...]
    api: Api = Api.EVENTS
    sync: SyncConfig | None = None
    is_relay: bool = False
    """Whether it sends on what the others print."""
    clock: ClockConfig | None = None
    """None: the dataflow has no `clock:`."""
    calls: tuple[CallConfig, ...] = ()

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> NodePlan:
        """Read what `to_fields` returned."""
        return cls(**_plan_values(fields))


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What all processes of one run are told of it."""

    run: str
    description_path: str
    """File with the whole dataflow as dora describes one, in JSON."""
    trace_path: str | None = None
    """Folder for the trace files of the processes, if a trace is made."""
    has_spans: bool = False
    """Whether the nodes make spans of OpenTelemetry."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The open files that a process of a run has."""

    status_fd: int
    lock_fd: int
    """The run counts as alive as long as one process has this open."""
    connection_fd: int | None = None
    """Of a dynamic node: its connection to the launcher, whose end is the end of either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(NodePlan):
    """Everything that a node's process is told; `make_config` makes it."""

    run: str
    description_path: str
    trace_path: str | None
    has_spans: bool
    restart_count: int
    """How often the node was started again."""
    status_fd: int
    lock_fd: int
    connection_fd: int | None

    @property
    def is_traced(self) -> bool:
        """Whether the process records what it does."""
        return self.has_spans or self.trace_path is not None

    def to_json(self) -> str:
        """Return the text that crosses into the child."""
        return json.dumps({"version": CONFIG_VERSION, **to_fields(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> NodeConfig:
        """Read what `to_json` wrote.

        Raises:
            VersionMismatchError: the text was written by another version of dora_rt.
        """
        fields = json.loads(text)
        version = fields.pop("version", None)
        if version != CONFIG_VERSION:
            raise VersionMismatchError(
                f"the launcher speaks version {version} of the node configuration, "
                f"this node's dora_rt speaks version {CONFIG_VERSION}: install the same dora_rt "
                "in the interpreters of the launcher and of the node"
            )
        return cls(**_plan_values(fields))


def make_config(
    plan: NodePlan, facts: RunFacts, descriptors: Descriptors, restart_count: int
) -> NodeConfig:
    """Make the configuration of a process that is about to start, or to attach.

    Args:
        plan: its plan, with the present generations of its inputs and outputs.
        facts: of the run that it is part of.
        descriptors: its open files, by the numbers that they have in it.
        restart_count: how often the node was started again.
    """
    return NodeConfig(
        **{field.name: getattr(plan, field.name) for field in dataclasses.fields(NodePlan)},
        run=facts.run,
        description_path=facts.description_path,
        trace_path=facts.trace_path,
        # The lines that the relay sends on are no work.
        has_spans=facts.has_spans and not plan.is_relay,
        restart_count=restart_count,
        status_fd=descriptors.status_fd,
        lock_fd=descriptors.lock_fd,
        connection_fd=descriptors.connection_fd,
    )


def _plan_values(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        **fields,
        "inputs": tuple(_input(entry) for entry in fields["inputs"]),
        "outputs": tuple(_output(entry) for entry in fields["outputs"]),
        "operators": tuple(_operator(entry) for entry in fields["operators"]),
        "api": Api(fields["api"]),
        "sync": _sync(fields["sync"]),
        "clock": _clock(fields["clock"]),
        "calls": tuple(
            CallConfig(**{**one, "kind": ServiceKind(one["kind"])}) for one in fields["calls"]
        ),
    }


def to_fields(value: Any) -> Any:
    """Return dataclasses, tuples and enums as values of JSON.

    Edges are rows: a program gets at most 128 KiB through its environment.
    """
    if isinstance(value, EdgeConfig):
        return [
            field.value if isinstance(field, Enum) else field
            for field in (getattr(value, name) for name in _EDGE_FIELDS)
        ]
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_fields(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [to_fields(item) for item in value]
    return value.value if isinstance(value, Enum) else value


_EDGE_FIELDS = tuple(field.name for field in dataclasses.fields(EdgeConfig))


def _edge(row: list[Any]) -> EdgeConfig:
    fields = dict(zip(_EDGE_FIELDS, row, strict=True))
    return EdgeConfig(**{**fields, "queue_policy": QueuePolicy(fields["queue_policy"])})


def _output(fields: dict[str, Any]) -> OutputConfig:
    return OutputConfig(**{**fields, "edges": tuple(_edge(edge) for edge in fields["edges"])})


def _input(fields: dict[str, Any]) -> InputConfig:
    output, edge = fields["output"], fields["edge"]
    return InputConfig(
        id=fields["id"],
        period_ns=fields["period_ns"],
        output=None if output is None else _output(output),
        edge=None if edge is None else _edge(edge),
        timeout_ns=fields["timeout_ns"],
        source_node=fields["source_node"],
        is_text=fields["is_text"],
        keeps_alive=fields["keeps_alive"],
        follows_clock=fields["follows_clock"],
        is_far=fields["is_far"],
    )


def _sync(fields: dict[str, Any] | None) -> SyncConfig | None:
    if fields is None:
        return None
    return SyncConfig(**{**fields, "input_ids": tuple(fields["input_ids"])})


def _clock(fields: dict[str, Any] | None) -> ClockConfig | None:
    if fields is None:
        return None
    listeners = ((process, tuple(periods)) for process, periods in fields["listeners"])
    return ClockConfig(fields["output"], tuple(listeners))


def _operator(fields: dict[str, Any]) -> OperatorConfig:
    return OperatorConfig(
        **{
            **fields,
            "inputs": tuple((port, name) for port, name in fields["inputs"]),
            "routes": tuple(_route(route) for route in fields["routes"]),
        }
    )


def _route(fields: dict[str, Any]) -> Route:
    return Route(**{**fields, "links": tuple(LinkConfig(**link) for link in fields["links"])})
