"""Processes that feed each other in a circle, also over several machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dora_rt.descriptor.tree.model import CallRole, Input, LogSource, Node, OutputSource


def group(nodes: Sequence[Node]) -> list[tuple[str, list[Node]]]:
    """Group the nodes by process, in the order of the file."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.runtime or node.id, []).append(node)
    return list(groups.items())


def reach(start: int, upstream: Mapping[int, set[int]]) -> set[int]:
    """Return all processes that are upstream of one, directly or not."""
    reached: set[int] = set()
    frontier = [start]
    while frontier:
        for other in upstream[frontier.pop()] - reached:
            reached.add(other)
            frontier.append(other)
    return reached


def wide_circles(nodes: Sequence[Node]) -> dict[str, frozenset[str]]:
    """Return the circles that lead over several machines, by the name of each process in one."""
    groups = group(nodes)
    number_of = {node.id: number for number, (_, own) in enumerate(groups) for node in own}
    upstream: dict[int, set[int]] = {number: set() for number in range(len(groups))}
    for number, (_, own) in enumerate(groups):
        for entry in _inputs(own):
            if isinstance(entry.source, OutputSource):
                upstream[number].add(number_of[entry.source.node])
    before = {number: reach(number, upstream) for number in upstream}
    circles = {}
    for number, (name, _) in enumerate(groups):
        members = [groups[other] for other in before[number] if number in before[other]]
        if len({own[0].machine for _, own in members}) > 1:
            circles[name] = frozenset(member for member, _ in members)
    return circles


def is_aside(entry: Input) -> bool:
    """Whether a node does not go on for an input, if it has others: logs, and answers to calls.

    A server goes on for its clients. If these did so for the server as well, none would ever end.
    """
    return isinstance(entry.source, LogSource) or entry.call_role is CallRole.ANSWER


def _inputs(nodes: Sequence[Node]) -> Iterator[Input]:
    for node in nodes:
        for inputs in (node.inputs, *(operator.inputs for operator in node.operators)):
            reads_only_asides = all(is_aside(entry) for entry in inputs)
            for entry in inputs:
                if reads_only_asides or not is_aside(entry):
                    yield entry
