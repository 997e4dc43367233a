"""The boxes and arrows of a picture of a dataflow, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.descriptor.tree.model import Descriptor, Input, LogSource, Node, Operator, TimerSource
from dora_rt.graph.labels import dropped_text, flow_text
from dora_rt.live.rates import EdgeRate, Rates
from dora_rt.node_config import QueuePolicy
from dora_rt.run_status import NodeState, RunStatus, owner_of

_LOGS = "dora"
_GATEWAY = "dora.network"  # its edges are those that cross, from node to node


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or an operator of a node that has several; `notes` are the lines below its name.

    `process` is the name of the process that it is in; `state` is None if nothing runs.
    """

    id: str
    process: str
    notes: tuple[str, ...] = ()
    state: NodeState | None = None
    machine: str | None = None
    """Where it runs, if the dataflow has several machines."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge, from `source` (`camera/image`) to `target` (`plot/image`)."""

    source: str
    target: str
    queue_size: int
    queue_policy: QueuePolicy
    is_local: bool = False
    """Whether both ends are operators of one process."""
    measured: EdgeRate | None = None
    is_latched: bool = False
    """Whether who comes later gets the newest sample first."""

    @property
    def source_box(self) -> str:
        """Return the id of the box that it leaves."""
        # What nodes print comes from no node: `dora/logs/info/camera`.
        is_log = self.source.startswith(f"{_LOGS}/")
        return _LOGS if is_log else owner_of(self.source)

    @property
    def target_box(self) -> str:
        """Return the id of the box that it enters."""
        return owner_of(self.target)

    @property
    def name(self) -> str:
        """Return the name of the output, and that of the input if it differs."""
        output = self.source[len(self.source_box) + 1 :]
        entry = self.target[len(self.target_box) + 1 :]
        return output if output == entry else f"{output} → {entry}"

    @property
    def note(self) -> str:
        """Return the measured flow, or else the queue policy."""
        if self.measured is not None:
            texts = (flow_text(self.measured), dropped_text(self.measured))
            return " · ".join(text for text in texts if text)
        policy = self.queue_policy
        is_latest = policy is QueuePolicy.LATEST
        note = policy.value if is_latest else f"{policy.value} {self.queue_size}"
        return f"{note} · latched" if self.is_latched else note


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole dataflow."""

    title: str
    boxes: tuple[Box, ...] = ()
    arrows: tuple[Arrow, ...] = ()
    is_live: bool = False


def graph_of_descriptor(descriptor: Descriptor) -> Graph:
    """Return the graph of a dataflow file."""
    boxes, arrows = [], []
    latched = descriptor.latched_outputs()
    for node in descriptor.nodes:
        for operator in node.operators or (None,):
            box_id = node.id if operator is None or operator.id is None else _id(node, operator)
            inputs = node.inputs if operator is None else operator.inputs
            notes = (
                *(_program(node, operator), *_timers(inputs)),
                *_clock(descriptor, node, operator),
            )
            process = node.runtime or node.id
            boxes.append(Box(box_id, process, notes, machine=node.machine))
            arrows += [
                Arrow(
                    str(entry.source),
                    f"{box_id}/{entry.id}",
                    entry.queue_size,
                    entry.queue_policy,
                    is_local=operator is not None and _is_beside(descriptor, node, entry),
                    is_latched=entry.source in latched,
                )
                for entry in inputs
                if not isinstance(entry.source, TimerSource)
            ]
    if any(arrow.source_box == _LOGS for arrow in arrows):
        boxes.append(Box(_LOGS, _LOGS, ("what nodes print",)))
    return Graph(Path(descriptor.file).name, tuple(boxes), tuple(arrows))


def graph_of_status(status: RunStatus, rates: Rates | None = None) -> Graph:
    """Return the graph of a run, with measured flows on its arrows if there are any."""
    edges = () if rates is None else rates.edges
    measured = {(edge.source, edge.target): edge for edge in edges}
    timers: dict[str, list[str]] = {}
    for entry in status.inputs:
        box_id = owner_of(entry.target)
        timers.setdefault(box_id, []).append(_every(entry.period_ns))
    boxes = [
        Box(node, process.name, tuple(timers.get(node, ())), process.state, process.machine)
        for process in status.processes
        for node in process.nodes
        if process.name != _GATEWAY
    ]
    arrows = [
        Arrow(
            edge.source,
            edge.target,
            edge.queue_size,
            edge.queue_policy,
            is_local=edge.is_local,
            measured=measured.get((edge.source, edge.target)),
        )
        for edge in status.edges
    ]
    title = f"{Path(status.file).name} ({status.run})"
    boxes += _far_boxes(status, arrows, {box.id for box in boxes})
    return Graph(title, tuple(boxes), tuple(arrows), is_live=True)


def _far_boxes(status: RunStatus, arrows: Sequence[Arrow], known: set[str]) -> list[Box]:
    """Return the nodes of other machines at the ends of the edges that cross."""
    far: dict[str, Box] = {}
    for edge, arrow in zip(status.edges, arrows, strict=True):
        if edge.machines is not None:
            ends = (arrow.source_box, arrow.target_box)
            for box_id, machine in zip(ends, edge.machines, strict=True):
                if box_id not in known:
                    far[box_id] = Box(box_id, box_id, machine=machine)
    return list(far.values())


def _id(node: Node, operator: Operator) -> str:
    return f"{node.id}/{operator.id}"


def _program(node: Node, operator: Operator | None) -> str:
    program = node.program if operator is None else None
    if program is not None:
        return program.module or program.path or ""
    assert operator is not None, "a node has a program or operators"
    return operator.module or operator.path or ""


def _clock(descriptor: Descriptor, node: Node, operator: Operator | None) -> list[str]:
    clock = descriptor.clock
    owner = node.id, None if operator is None else operator.id
    is_clock = clock is not None and (clock.node, clock.operator) == owner
    return [f"clock: {clock.output}"] if clock is not None and is_clock else []


def _timers(inputs: Sequence[Input]) -> list[str]:
    return [
        _every(entry.source.period_ns) for entry in inputs if isinstance(entry.source, TimerSource)
    ]


def _every(period_ns: int) -> str:
    rate = round(1e9 / period_ns)
    # A period such as 33.333333 ms was written as a rate.
    if rate > 1 and period_ns % 10**3 and round(1e9 / rate) == period_ns:
        return f"{rate} Hz"
    for unit, unit_ns in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if period_ns >= unit_ns:
            return f"every {period_ns / unit_ns:g} {unit}"
    return f"every {period_ns} ns"


def _is_beside(descriptor: Descriptor, node: Node, entry: Input) -> bool:
    assert not isinstance(entry.source, TimerSource), "asked of edges only"
    if isinstance(entry.source, LogSource):
        return False
    writer = next(other for other in descriptor.nodes if other.id == entry.source.node)
    return (writer.runtime or writer.id) == (node.runtime or node.id)
