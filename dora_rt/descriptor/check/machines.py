"""Check that each node has a machine, and that what crosses between machines can cross."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dora_rt.descriptor.tree.model import (
    Input,
    LogSource,
    Machines,
    Node,
    OutputSource,
)
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote


def check_machines(nodes: Sequence[Node], machines: Machines, problems: Problems) -> None:
    """Report nodes without a machine that exists, and inputs that cannot be fed from afar."""
    known = machines.names()
    for node in nodes:
        if node.machine is None:
            what = f"node {quote(node.id)} does not say on which machine it runs"
            hint = f"add 'machine:' with one of: {listing(known)}; beside 'nodes' it is for all"
            problems.add(node.place, what, hint)
        elif node.machine not in known:
            what = f"node {quote(node.id)} runs on machine {quote(node.machine)}, which 'machines' "
            hint = did_you_mean(node.machine, known) or f"the machines are: {listing(known)}"
            problems.add(node.place, f"{what}does not have", hint)
    _check_runtimes(nodes, problems)
    machine_of = {node.id: node.machine for node in nodes}
    for node, entry, label in _inputs(nodes):
        _check_input(node, entry, label, machine_of, problems)
    for machine in machines.members:
        if len(machines.members) > 1 and machine.name not in machine_of.values():
            what = f"no node runs on machine {quote(machine.name)}"
            way_out = ": it only passes on what the others send" if machine.listen else ""
            problems.note(machine.place, f"{what}{way_out}")


def _check_runtimes(nodes: Sequence[Node], problems: Problems) -> None:
    first_of: dict[str, Node] = {}
    for node in nodes:
        if node.runtime is None:
            continue
        first = first_of.setdefault(node.runtime, node)
        if first.machine != node.machine:
            problems.add(
                node.place,
                f"nodes {quote(first.id)} and {quote(node.id)} share runtime "
                f"{quote(node.runtime)}, which is one process, but run on different machines",
                "set 'machine' to the same value, or give them different runtimes",
            )


def _inputs(nodes: Sequence[Node]) -> Iterator[tuple[Node, Input, str]]:
    for node in nodes:
        for entry in node.inputs:
            yield node, entry, f"{node.id}/{entry.id}"
        for operator in node.operators:
            owner = node.id if operator.id is None else f"{node.id}/{operator.id}"
            for entry in operator.inputs:
                yield node, entry, f"{owner}/{entry.id}"


def _check_input(
    node: Node,
    entry: Input,
    label: str,
    machine_of: dict[str, str | None],
    problems: Problems,
) -> None:
    source = entry.source
    if isinstance(source, LogSource) and source.node is None:
        problems.note(
            entry.place,
            f"input {quote(label)} gets the logs of the nodes of its own machine; those of "
            "another one cross by 'send_logs_as' of a node there",
        )
    elif isinstance(source, LogSource) and machine_of.get(source.node or "") != node.machine:
        problems.add(
            entry.place,
            f"input {quote(label)} reads the log of node {quote(source.node or '')}, which runs on "
            "another machine",
            f"add 'send_logs_as: log' to that node, and read {source.node}/log",
        )
    elif (
        isinstance(source, OutputSource)
        and entry.over_network is not None
        and machine_of.get(source.node) == node.machine
    ):
        problems.note(
            entry.place,
            f"'over_network' of input {quote(label)} has no effect: {quote(source.node)} runs on "
            "the same machine",
        )
