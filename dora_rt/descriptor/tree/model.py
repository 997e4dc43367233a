"""The model: a dataflow file as frozen data in which every name is valid."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dora_rt.log_record import LogLevel
from dora_rt.network.gateway_plan import OverNetwork
from dora_rt.node_config import Api, QueuePolicy, ServiceKind
from dora_rt.node_parameters import Parameter

DYNAMIC = "dynamic"
DEFAULT_QUEUE_SIZE = 10
DEFAULT_LINES = 100  # queued where lines come, which come many at a time
DEFAULT_MAX_HELD = 4


class RestartPolicy(Enum):
    """When a node that has ended is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Supervision:
    """How the launcher looks after a node; times in seconds.

    Attributes:
        restart: when it is started again.
        max_restarts: at most so many within `restart_window_s`, then it has failed; 0: any number.
        restart_delay_s: pause before the first restart; doubles up to `max_restart_delay_s`.
        startup_timeout_s: how long it may take until it is ready.
        heartbeat_timeout_s: how long it may not ask for an input, or None.
        beats_before_start: whether that counts before the first input can flow, too.
        stop_grace_s: how long it has at each rung of the stop ladder.
        stops_all: its end, whatever the reason, ends the dataflow (unless it is restarted).
        goes_on_unread: whether it keeps the dataflow going when none of its readers is left.
    """

    restart: RestartPolicy = RestartPolicy.NEVER
    max_restarts: int = 5
    restart_delay_s: float = 0.5
    max_restart_delay_s: float = 30.0
    restart_window_s: float = 60.0
    startup_timeout_s: float = 120.0
    heartbeat_timeout_s: float | None = None
    beats_before_start: bool = False
    stop_grace_s: float = 3.0
    stops_all: bool = False
    goes_on_unread: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of a node's process; None leaves one as it is.

    Attributes:
        memory_limit_nbytes: address space (RLIMIT_AS).
        cpu_affinity: numbers of the cores it may run on.
        nice: -20 to 19.
        priority: 1 to 99, SCHED_FIFO.
        spin_us: for how long it polls before it sleeps; None: while that pays.
        working_dir: where it runs, beginning at the folder of the dataflow file; None: there.
        has_terminal: whether its standard input is the terminal that dora-launch was started in.
    """

    memory_limit_nbytes: int | None = None
    cpu_affinity: tuple[int, ...] | None = None
    nice: int | None = None
    priority: int | None = None
    spin_us: int | None = None
    working_dir: str | None = None
    has_terminal: bool = False


@dataclass(frozen=True, slots=True)
class Logging:
    """How the lines that a node prints are kept; None: like those of any other.

    Attributes:
        min_level: lines below it are dropped.
        file_nbytes: how large its log file may become.
        rotated_files: how many earlier ones are kept.
    """

    min_level: LogLevel = LogLevel.STDOUT
    file_nbytes: int | None = None
    rotated_files: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a dataflow file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class TimerSource:
    """`dora/timer/...`: ticks that the receiving node makes itself.

    `is_real` tells that it does not follow the clock of the dataflow.
    """

    period_ns: int
    is_real: bool = False


@dataclass(frozen=True, slots=True)
class LogSource:
    """`dora/logs[/<level>[/<node>]]`: what other nodes print, as records of a log."""

    level: LogLevel = LogLevel.STDOUT
    node: str | None = None

    def __str__(self) -> str:
        if self.level is LogLevel.STDOUT and self.node is None:
            return "dora/logs"
        return "/".join(filter(None, ("dora/logs", self.level.value, self.node)))


@dataclass(frozen=True, slots=True)
class OutputSource:
    """`node/output`, or `node/operator/output` for an operator of an `operators:` list.

    `operator` is None for custom nodes and for nodes with a single `operator:`, also when the
    file wrote that operator's id (`op` by default) out.
    """

    node: str
    output: str
    operator: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.node, self.operator, self.output) if part)


class CallRole(Enum):
    """What an input that `serves:` or `calls:` has made is for."""

    REQUEST = "request"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class ClockSource:
    """`clock:`, and where it is written."""

    source: OutputSource
    place: Place


@dataclass(frozen=True, slots=True)
class Input:
    """One input and the queue in front of it; sizes in samples and bytes.

    `place` is where its source is written. The queue of a timer has size 1 and policy LATEST.
    """

    id: str
    source: TimerSource | LogSource | OutputSource
    queue_size: int
    queue_policy: QueuePolicy
    max_held: int
    slot_nbytes: int | None
    place: Place
    timeout_s: float | None = None
    is_sized: bool = True
    """Whether the file says how long the queue is."""
    over_network: OverNetwork | None = None
    """How its samples cross, if they come from another machine; None: as they are."""
    call_role: CallRole | None = None
    """None: it is an input of the file."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Which inputs a node gets together: by how much their origins may differ, how many wait."""

    input_ids: tuple[str, ...]
    slop_ms: int
    depth: int


@dataclass(frozen=True, slots=True)
class Output:
    """One output; `is_declared` is False if only the node's module says that it has it."""

    id: str
    place: Place
    is_declared: bool = True
    is_latched: bool = False
    """Whether a reader that comes later gets the newest sample first."""


@dataclass(frozen=True, slots=True)
class Service:
    """One entry of `serves:`; `place` is where its name is written."""

    name: str
    kind: ServiceKind
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """One entry of `calls:`: a service of another node, and the name that the client has for it."""

    name: str
    server: str
    service: str
    place: Place


@dataclass(frozen=True, slots=True)
class CallEnd:
    """One end of a call that is wired: at a server, there is one for each client."""

    name: str
    kind: ServiceKind
    peer: str
    is_server: bool


@dataclass(frozen=True, slots=True)
class LineOutput:
    """An output with the lines that the process of a node prints, and not with its samples.

    Attributes:
        output: its name.
        operator: of which operator it is, as in `Operator.id`.
        are_records: whether each line comes as a record of a log, and only those that are kept.
        place: where the name is written.
    """

    output: str
    operator: str | None
    are_records: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Program:
    """How a custom node is started: a file or a command (`path`), or a Python module.

    The path `dynamic` means that it is started by hand, during the run. `place` is where the
    path or the module is written.
    """

    path: str | None
    module: str | None
    args: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Operator:
    """A class `Operator` in a Python file (`path`) or an importable module.

    `id` is None for the single operator of an `operator:` key; `place` is where the path or the
    module is written.
    """

    id: str | None
    path: str | None
    module: str | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Build:
    """What `build:` says, as it is written: a command in each line.

    Attributes:
        label: its owner, such as `camera`, or `vision/detector` for an operator.
        text: the lines.
        env: the variables that the file adds to the environment of that node.
        place: where it is written.
    """

    label: str
    text: str
    env: tuple[tuple[str, str], ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of `nodes:`; it has either a program (a custom node) or operators.

    `env` has the file's own `env:` in it; `place` is where the id is written.
    """

    id: str
    name: str | None
    description: str | None
    env: tuple[tuple[str, str], ...]
    program: Program | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    operators: tuple[Operator, ...]
    runtime: str | None
    place: Place
    api: Api = Api.EVENTS
    sync: Sync | None = None
    supervision: Supervision = Supervision()
    resources: Resources = Resources()
    logging: Logging = Logging()
    line_outputs: tuple[LineOutput, ...] = ()
    machine: str | None = None
    """Where it runs; None: the file has no `machines:`."""
    parameters: tuple[Parameter, ...] | None = None
    """None: the file declares none, and any may be set."""
    services: tuple[Service, ...] = ()
    calls: tuple[Call, ...] = ()
    call_ends: tuple[CallEnd, ...] = ()
    """What `services` and `calls` come to, when the file is wired."""

    @property
    def is_dynamic(self) -> bool:
        """Whether it is started by hand, during the run."""
        return self.program is not None and self.program.path == DYNAMIC


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of `machines:`; `place` is where its name is written.

    Attributes:
        listen: `HOST:PORT` at which the others reach it; empty: it dials.
        is_optional: whether it may come and go.
        timeout_s: silence after which it counts as failed; None: it is waited for.
    """

    name: str
    place: Place
    listen: tuple[str, ...] = ()
    is_optional: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Machines:
    """`machines:`, and how they reach each other; `place` is where the key is written.

    Attributes:
        members: each machine, in the order of the file.
        via: `HOST:PORT` of the routers that all of them dial.
        fleet: the first part of the names on the network.
        robot: the second one; None: the command that runs it says which.
        is_insecure: whether plain TCP may leave loopback.
        tls_folder: where the certificates are; None: where `dora-rt pair` puts them.
    """

    members: tuple[Machine, ...]
    place: Place
    via: tuple[str, ...] = ()
    fleet: str = "default"
    robot: str | None = None
    is_insecure: bool = False
    tls_folder: str | None = None

    def names(self) -> list[str]:
        """Return the names of the machines."""
        return [machine.name for machine in self.members]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A whole dataflow file, with the notes (not errors) that its reader should see."""

    file: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...]
    builds: tuple[Build, ...] = ()
    machines: Machines | None = None
    """None: all of it runs on the machine that it is started on."""
    clock: OutputSource | None = None
    """The output that `node.now()` and timers follow; None: they follow real time."""

    def latched_outputs(self) -> set[OutputSource]:
        """Return the outputs of which a reader that comes later gets the newest sample."""
        owners = [
            (node.id, operator, outputs)
            for node in self.nodes
            for operator, outputs in (
                (None, node.outputs),
                *((each.id, each.outputs) for each in node.operators),
            )
        ]
        return {
            OutputSource(node, output.id, operator)
            for node, operator, outputs in owners
            for output in outputs
            if output.is_latched
        }
