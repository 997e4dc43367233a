"""What a dataflow file says, as frozen data in which every name is already known to be valid."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.contract import QueuePolicy

DEFAULT_QUEUE_SIZE = 10
DEFAULT_MAX_HELD = 4


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
    """`dora/timer/...`: ticks that the receiving node makes itself."""

    period_ns: int


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


@dataclass(frozen=True, slots=True)
class Input:
    """One input and the queue in front of it; sizes in samples and bytes.

    `place` is where its source is written. The queue of a timer has size 1 and policy LATEST.
    """

    id: str
    source: TimerSource | OutputSource
    queue_size: int
    queue_policy: QueuePolicy
    max_held: int
    slot_nbytes: int | None
    place: Place


@dataclass(frozen=True, slots=True)
class Output:
    """One declared output."""

    id: str
    place: Place


@dataclass(frozen=True, slots=True)
class Program:
    """How a custom node is started: a file or a command (`path`), or a Python module.

    `place` is where the path or the module is written.
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


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A whole dataflow file, with the notes (not errors) that its reader should see."""

    file: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...]
