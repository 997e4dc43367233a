"""Processes that feed each other in a circle, also over several machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dora_rt.descriptor.tree.model import CallRole, Input, Node, OutputSource


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
            # No client goes on for its servers.
            is_answer = entry.call_role is CallRole.ANSWER
            if isinstance(entry.source, OutputSource) and not is_answer:
                upstream[number].add(number_of[entry.source.node])
    before = {number: reach(number, upstream) for number in upstream}
    circles = {}
    for number, (name, _) in enumerate(groups):
        members = [groups[other] for other in before[number] if number in before[other]]
        if len({own[0].machine for _, own in members}) > 1:
            circles[name] = frozenset(member for member, _ in members)
    return circles


def _inputs(nodes: Sequence[Node]) -> Iterator[Input]:
    for node in nodes:
        yield from node.inputs
        for operator in node.operators:
            yield from operator.inputs
