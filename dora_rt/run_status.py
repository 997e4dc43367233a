"""What a run answers to `status` and `describe`: written by its launcher, read by every tool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dora_rt import __version__
from dora_rt.errors import VersionMismatchError
from dora_rt.network.network_status import NetworkStatus
from dora_rt.node_config import CALL_PARTS, OutputConfig, QueuePolicy, to_fields

STATUS_VERSION = 3


class NodeState(Enum):
    """Where a node is in its life; FAILED is an end that the summary explains."""

    ABSENT = "not attached"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "waiting to be restarted"
    STOPPED = "stopped by hand"
    ENDED = "ended"
    FAILED = "failed"


class RunState(Enum):
    """Where a run is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of a run."""

    name: str
    nodes: tuple[str, ...]
    """Its operators as `node/operator`, or the node itself."""
    state: NodeState
    pid: int | None
    restarts: int
    is_dynamic: bool
    cpu_s: float
    """Of all its starts; of a dynamic node, of the present program only."""
    rss_nbytes: int
    threads: int
    ending: str | None
    """How it ended last."""
    machine: str | None = None
    """Where it runs; None: the dataflow has one machine."""

    def has_name(self, name: str) -> bool:
        """Whether the process, a node in it or an operator is called so."""
        owners = (name == node or node.startswith(f"{name}/") for node in self.nodes)
        return name == self.name or any(owners)


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """One output, with all generations of its writer counted."""

    source: str
    config: OutputConfig
    """Of the present generation, without its edges."""
    sent: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """What both ends of an edge have counted since the beginning.

    The keys of `latencies` (from the send to the receipt) and of `ages` (from the origin) are
    buckets of `dora_rt.latency`; empty buckets are left out.
    """

    sent: int
    delivered: int
    dropped: int
    copied: int
    waiting: int
    latencies: Mapping[int, int]
    ages: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """One edge; `counts` is None between operators of one process, or if its memory is gone."""

    source: str
    target: str
    queue_size: int
    queue_policy: QueuePolicy
    is_local: bool
    """Whether both ends are operators of one process."""
    counts: EdgeCounts | None
    machines: tuple[str, str] | None = None
    """Of an edge that crosses: the machines that it leaves and reaches; its counts are those of
    both ends, as far as the other one has told."""
    network: int | None = None
    """Samples lost between the two machines; None: not known."""


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """One input that a timer feeds."""

    target: str
    period_ns: int


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The answer to `status`: everything that can be known of a run without asking its nodes."""

    run: str
    file: str
    pid: int
    version: str
    """Of the launcher's dora_rt."""
    state: RunState
    began: float
    """Seconds since 1970."""
    running_s: float
    """Since the first input could flow."""
    now_ns: int
    """When it answered, by the monotonic clock."""
    log_folder: str
    processes: tuple[ProcessStatus, ...]
    outputs: tuple[OutputStatus, ...]
    edges: tuple[EdgeStatus, ...]
    inputs: tuple[TimerStatus, ...]
    network: NetworkStatus | None = None
    """What goes on between the machines of the dataflow; None: it has one, or none was told of."""

    def find_process(self, name: str) -> ProcessStatus | None:
        """Return the process that is called so, or has a node or an operator of that name."""
        return next((process for process in self.processes if process.has_name(name)), None)

    def to_json(self) -> dict[str, Any]:
        """Return the values of JSON that cross the socket, and that `ps --json` prints."""
        fields = to_fields(self)
        edges = [_edge_fields(edge) for edge in self.edges]
        return {"format": STATUS_VERSION, **fields, "edges": edges}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RunStatus:
        """Read what `to_json` returned.

        Raises:
            VersionMismatchError: another version of dora_rt wrote it.
        """
        own = _own_fields(fields)
        return cls(
            **{
                **own,
                "state": RunState(own["state"]),
                "processes": tuple(map(_process, own["processes"])),
                "outputs": tuple(map(_output, own["outputs"])),
                "edges": tuple(map(_edge, own["edges"])),
                "inputs": tuple(TimerStatus(**entry) for entry in own["inputs"]),
                "network": None
                if own["network"] is None
                else NetworkStatus.from_json(own["network"]),
            }
        )


@dataclass(frozen=True, slots=True)
class OperatorProgram:
    """The code of an operator: a file or a module."""

    path: str | None
    module: str | None


@dataclass(frozen=True, slots=True)
class Program:
    """The command that a run starts for a node, and the operators in it."""

    argv: tuple[str, ...]
    folder: str
    operators: tuple[OperatorProgram, ...]


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """One process of a run; `program` is None if the run does not start it."""

    id: str
    state: NodeState
    is_dynamic: bool
    program: Program | None


@dataclass(frozen=True, slots=True)
class RunDescription:
    """The answer to `describe`: what a program needs to find its place in a run."""

    run: str
    file: str
    version: str
    nodes: tuple[NodeDescription, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values of JSON that cross the socket."""
        return {"format": STATUS_VERSION, **to_fields(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RunDescription:
        """Read what `to_json` returned.

        Raises:
            VersionMismatchError: another version of dora_rt wrote it.
        """
        own = _own_fields(fields)
        return cls(**{**own, "nodes": tuple(map(_node, own["nodes"]))})


def owner_of(place: str) -> str:
    """Return the node, or the operator, of an output or an input.

    That of `pair/first/half` is `pair/first`. A server has ports with a slash in their names: that
    of `map_server/plan.response/planner` is `map_server`.
    """
    owner = place.rpartition("/")[0]
    node, slash, port = owner.partition("/")
    return node if slash and port.rpartition(".")[2] in CALL_PARTS and "." in port else owner


def _own_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(fields)
    version = own.pop("format", None)
    if version != STATUS_VERSION:
        writer = fields.get("version")
        raise VersionMismatchError(
            f"it is of {'another dora_rt' if writer is None else f'dora_rt {writer}'} and answers "
            f"in format {version or 0}, this dora_rt {__version__} reads format {STATUS_VERSION}: "
            "use the dora_rt that started it"
        )
    return own


def _edge_fields(edge: EdgeStatus) -> dict[str, Any]:
    """Return an edge with its counts beside its names, all of them None if there are none."""
    fields = to_fields(edge)
    counts = fields.pop("counts")
    return {**fields, **(dict.fromkeys(_COUNTS) if counts is None else counts)}


_COUNTS = tuple(field.name for field in dataclasses.fields(EdgeCounts))


def _edge(fields: Mapping[str, Any]) -> EdgeStatus:
    own = dict(fields)
    counts = {name: own.pop(name) for name in _COUNTS}
    machines = None if own["machines"] is None else tuple(own["machines"])
    return EdgeStatus(
        **{**own, "queue_policy": QueuePolicy(own["queue_policy"]), "machines": machines},
        counts=None if counts["sent"] is None else _counts(counts),
    )


def _counts(fields: Mapping[str, Any]) -> EdgeCounts:
    # The keys of JSON are texts.
    latencies, ages = ({int(key): n for key, n in fields[name].items()} for name in _HISTOGRAMS)
    return EdgeCounts(**{**fields, "latencies": latencies, "ages": ages})


_HISTOGRAMS = ("latencies", "ages")


def _process(fields: Mapping[str, Any]) -> ProcessStatus:
    state, nodes = NodeState(fields["state"]), tuple(fields["nodes"])
    return ProcessStatus(**{**fields, "state": state, "nodes": nodes})


def _output(fields: Mapping[str, Any]) -> OutputStatus:
    return OutputStatus(**{**fields, "config": OutputConfig.from_fields(fields["config"])})


def _node(fields: Mapping[str, Any]) -> NodeDescription:
    program = fields["program"]
    return NodeDescription(
        **{
            **fields,
            "state": NodeState(fields["state"]),
            "program": None if program is None else _program(program),
        }
    )


def _program(fields: Mapping[str, Any]) -> Program:
    return Program(
        argv=tuple(fields["argv"]),
        folder=fields["folder"],
        operators=tuple(OperatorProgram(**operator) for operator in fields["operators"]),
    )
