"""Check that the nodes of a dataflow fit together, and resolve what their inputs refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dora_rt.descriptor.check.call_edges import add_call_edges
from dora_rt.descriptor.check.deadlock import find_deadlocks
from dora_rt.descriptor.check.ready_outputs import declare_ready_outputs
from dora_rt.descriptor.check.shared_camera import note_shared_cameras
from dora_rt.descriptor.check.shared_process import settle_processes
from dora_rt.descriptor.read.node_keys import ReadNode
from dora_rt.descriptor.tree.model import (
    DEFAULT_LINES,
    ClockSource,
    Input,
    LogSource,
    Node,
    OutputSource,
)
from dora_rt.descriptor.tree.problems import MalformedError, Problems, did_you_mean, listing, quote


def wire(
    read_nodes: Sequence[ReadNode], clock: ClockSource | None, problems: Problems
) -> tuple[tuple[Node, ...], OutputSource | None]:
    """Return the nodes with all sources resolved, and the clock.

    What does not fit goes to `problems`.
    """
    read_nodes = add_call_edges(declare_ready_outputs(read_nodes), problems)
    by_id = _index(read_nodes, problems)
    nodes = tuple(_resolve_node(read_node.node, by_id, problems) for read_node in read_nodes)
    nodes = settle_processes(nodes, [each.settings for each in read_nodes], problems)
    for place, what in find_deadlocks(nodes):
        problems.add(place, what)
    clock_source = None if clock is None else _resolve_clock(clock, by_id, problems)
    _note_unread_outputs(nodes, clock_source, problems)
    note_shared_cameras(nodes, problems)
    return nodes, clock_source


def _index(read_nodes: Iterable[ReadNode], problems: Problems) -> dict[str, ReadNode]:
    by_id: dict[str, ReadNode] = {}
    for read_node in read_nodes:
        node = read_node.node
        first = by_id.setdefault(node.id, read_node)
        if first is not read_node:
            line = first.node.place.line
            problems.add(node.place, f"duplicate node id {quote(node.id)} (first at line {line})")
            # An input may mean either of them, so nothing can be said about its source.
            by_id[node.id] = replace(first, has_all_outputs=False)
    return by_id


def _resolve_node(node: Node, by_id: Mapping[str, ReadNode], problems: Problems) -> Node:
    return replace(
        node,
        inputs=_resolve_inputs(node.inputs, node.id, by_id, problems),
        operators=tuple(
            replace(
                operator,
                inputs=_resolve_inputs(
                    operator.inputs,
                    node.id if operator.id is None else f"{node.id}/{operator.id}",
                    by_id,
                    problems,
                ),
            )
            for operator in node.operators
        ),
    )


def _resolve_inputs(
    inputs: Iterable[Input], owner: str, by_id: Mapping[str, ReadNode], problems: Problems
) -> tuple[Input, ...]:
    resolved = []
    for each in inputs:
        source = each.source
        queue_size = each.queue_size
        try:
            if isinstance(source, OutputSource):
                source = _resolve_source(source, by_id)
                if not each.is_sized and _has_lines(source, by_id[source.node].node):
                    queue_size = DEFAULT_LINES
            elif isinstance(source, LogSource) and source.node not in (None, *by_id):
                raise MalformedError(*_unknown_node(source.node or "", by_id))
        except MalformedError as error:
            what = f"input {quote(f'{owner}/{each.id}')} reads {quote(str(source))}"
            problems.add(each.place, f"{what}, but {error.what}", error.hint)
        resolved.append(replace(each, source=source, queue_size=queue_size))
    return tuple(resolved)


def _resolve_clock(
    clock: ClockSource, by_id: Mapping[str, ReadNode], problems: Problems
) -> OutputSource | None:
    name = quote(str(clock.source))
    try:
        source = _resolve_source(clock.source, by_id)
    except MalformedError as error:
        problems.add(clock.place, f"'clock' is {name}, but {error.what}", error.hint)
        return None
    if _has_lines(source, by_id[source.node].node):
        what = f"'clock' is {name}, but that output has the lines that the node prints"
        problems.add(clock.place, what, "name one whose samples are int64, in nanoseconds")
        return None
    return source


def _has_lines(source: OutputSource, node: Node) -> bool:
    return any(
        (line.output, line.operator) == (source.output, source.operator)
        for line in node.line_outputs
    )


def _unknown_node(node_id: str, by_id: Mapping[str, ReadNode]) -> tuple[str, str]:
    hint = did_you_mean(node_id, by_id) or f"the nodes are: {listing(by_id)}"
    return f"no node {quote(node_id)} exists", hint


def _resolve_source(source: OutputSource, by_id: Mapping[str, ReadNode]) -> OutputSource:
    target = by_id.get(source.node)
    if target is None and source.node == "timer":
        raise MalformedError("no node 'timer' exists", f"did you mean 'dora/{source}'?")
    if target is None:
        raise MalformedError(*_unknown_node(source.node, by_id))
    try:
        return _resolve_output(source, target)
    except MalformedError:
        # Its own errors come first: the output may well be in what could not be read.
        if not target.has_all_outputs:
            return source
        raise


def _resolve_output(source: OutputSource, target: ReadNode) -> OutputSource:
    node = target.node
    operators = {operator.id: operator for operator in node.operators}
    if target.operator_id is not None:
        if source.operator not in (None, target.operator_id):
            raise MalformedError(
                f"the operator of node {quote(node.id)} is not called {quote(source.operator)}",
                f"write {node.id}/{source.output}",
            )
        source = replace(source, operator=None)
    elif operators and source.operator not in operators:
        raise MalformedError(*_unknown_operator(source, node))
    elif not operators and source.operator is not None:
        with_slash = f"{source.operator}/{source.output}"
        if all(output.id != with_slash for output in node.outputs):
            raise MalformedError(
                f"node {quote(node.id)} has no operators", f"write {node.id}/{source.output}"
            )
        source = OutputSource(node.id, with_slash)
    outputs = operators[source.operator].outputs if operators else node.outputs
    if all(output.id != source.output for output in outputs):
        owner = (
            f"operator '{node.id}/{source.operator}'" if source.operator else f"node '{node.id}'"
        )
        has = f"it has: {listing(output.id for output in outputs)}"
        none = f"it declares none: add 'outputs: [{source.output}]' to it"
        raise MalformedError(
            f"output {quote(source.output)} of {owner} does not exist", has if outputs else none
        )
    return source


def _unknown_operator(source: OutputSource, node: Node) -> tuple[str, str]:
    ids = [operator.id or "" for operator in node.operators]
    if source.operator is None:
        return (
            f"node {quote(node.id)} has a list of operators",
            f"write {node.id}/<operator>/{source.output} with one of: {listing(ids)}",
        )
    return (
        f"node {quote(node.id)} has no operator {quote(source.operator)}",
        did_you_mean(source.operator, ids) or f"its operators are: {listing(ids)}",
    )


def _note_unread_outputs(
    nodes: Sequence[Node], clock: OutputSource | None, problems: Problems
) -> None:
    read = {clock} | {
        each.source
        for node in nodes
        for inputs in (node.inputs, *(operator.inputs for operator in node.operators))
        for each in inputs
    }
    for node in nodes:
        owners = [(None, node.outputs), *((each.id, each.outputs) for each in node.operators)]
        for operator_id, outputs in owners:
            for output in outputs:
                source = OutputSource(node.id, output.id, operator_id)
                if output.is_declared and source not in read:
                    problems.note(output.place, f"no input reads output {quote(str(source))}")
