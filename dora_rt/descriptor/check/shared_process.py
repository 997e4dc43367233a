"""Merge the settings of nodes that share a process: environment, supervision, resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from dora_rt.descriptor.read.supervision_keys import Setting, Settings
from dora_rt.descriptor.tree.model import Logging, Node, Resources, RestartPolicy, Supervision
from dora_rt.descriptor.tree.problems import Problems, quote

_ONLY_FOR_RESTARTS = ("max_restarts", "restart_delay_s", "max_restart_delay_s", "restart_window_s")


def settle_processes(
    nodes: Sequence[Node], settings: Sequence[Settings], problems: Problems
) -> tuple[Node, ...]:
    """Give each node the settings of its process: those of all nodes of its runtime.

    Args:
        nodes: all nodes.
        settings: those of each node, as the file has them.
        problems: where to report what contradicts itself.
    """
    _check_names(nodes, problems)
    _check_environments(nodes, problems)
    # Not by id: two nodes may have the same one, which is another problem.
    keys = [node.runtime or f"/{position}" for position, node in enumerate(nodes)]
    shared: dict[str, dict[str, Setting]] = {key: {} for key in keys}
    for key, node, own in zip(keys, nodes, settings, strict=True):
        for name, setting in own.items():
            first = shared[key].setdefault(name, setting)
            if first.value != setting.value:
                what = f"set {quote(setting.key)} to different values"
                _add_contradiction(node, first.node, what, problems)
    _check_line_outputs(keys, nodes, problems)
    # One that is started elsewhere has a terminal of its own; the key has no effect there.
    own_programs = {
        key: shared[key] for key, node in zip(keys, nodes, strict=True) if not node.is_dynamic
    }
    _check_terminal(own_programs, problems)
    supervision = {key: _supervision(found, problems) for key, found in shared.items()}
    return tuple(
        replace(
            node,
            supervision=supervision[key],
            resources=replace(Resources(), **_values_of(shared[key], Resources)),
            logging=replace(Logging(), **_values_of(shared[key], Logging)),
        )
        for key, node in zip(keys, nodes, strict=True)
    )


def _check_terminal(shared: Mapping[str, Mapping[str, Setting]], problems: Problems) -> None:
    # Two would take each other's keys, letter by letter.
    takers = [found["has_terminal"] for found in shared.values() if "has_terminal" in found]
    for setting in takers[1:]:
        problems.add(
            setting.place,
            f"nodes {quote(takers[0].node)} and {quote(setting.node)} both have 'stdin: terminal'",
            "there is one terminal; keep one of them",
        )


def _check_names(nodes: Sequence[Node], problems: Problems) -> None:
    runtimes = {node.id: node.runtime for node in nodes}
    for node in nodes:
        if node.runtime and runtimes.get(node.runtime, node.runtime) != node.runtime:
            problems.add(
                node.place,
                f"the runtime of node {quote(node.id)} has the name of another node, "
                f"{quote(node.runtime)}",
                "choose another name",
            )


def _check_environments(nodes: Sequence[Node], problems: Problems) -> None:
    env_of: dict[str, dict[str, tuple[str, str]]] = {}
    for node in nodes:
        if node.runtime is None:
            continue
        shared = env_of.setdefault(node.runtime, {})
        for key, text in node.env:
            first_text, first_node = shared.setdefault(key, (text, node.id))
            if first_text != text:
                what = f"set {quote(key)} in 'env' to different values"
                _add_contradiction(node, first_node, what, problems)


def _check_line_outputs(keys: Sequence[str], nodes: Sequence[Node], problems: Problems) -> None:
    first_of: dict[tuple[str, bool], str] = {}
    for key, node in zip(keys, nodes, strict=True):
        for line in node.line_outputs:
            owner = "/".join(part for part in (node.id, line.operator, line.output) if part)
            first = first_of.setdefault((key, line.are_records), owner)
            if first != owner:
                what = f"outputs {quote(first)} and {quote(owner)} would have the same lines"
                hint = "operators of one process print to one place; remove one of them"
                problems.add(line.place, what, hint)


def _add_contradiction(node: Node, first_node: str, what: str, problems: Problems) -> None:
    problems.add(
        node.place,
        f"nodes {quote(first_node)} and {quote(node.id)} share runtime "
        f"{quote(node.runtime or '')}, which is one process, but {what}",
        "set it to the same value, or give them different runtimes",
    )


def _supervision(settings: Settings, problems: Problems) -> Supervision:
    values = _values_of(settings, Supervision)
    supervision = replace(Supervision(), **values)
    if supervision.restart is RestartPolicy.NEVER:
        for name in _ONLY_FOR_RESTARTS:
            if name in settings:
                setting = settings[name]
                problems.note(
                    setting.place,
                    f"{quote(setting.key)} of node {quote(setting.node)} has no effect without "
                    "'restart: on-failure' or 'restart: always'",
                )
    if supervision.restart_delay_s <= supervision.max_restart_delay_s:
        return supervision
    if "restart_delay_s" in settings and "max_restart_delay_s" in settings:
        setting = settings["max_restart_delay_s"]
        problems.add(
            setting.place,
            f"{quote(setting.key)} of node {quote(setting.node)} is shorter than 'restart_delay'",
            "the delay grows from 'restart_delay' to 'max_restart_delay'",
        )
    # A file that sets only one of them means it: the default of the other follows.
    if "max_restart_delay_s" in settings:
        return replace(supervision, restart_delay_s=supervision.max_restart_delay_s)
    return replace(supervision, max_restart_delay_s=supervision.restart_delay_s)


def _values_of(settings: Settings, kind: type[Supervision | Resources | Logging]) -> dict[str, Any]:
    names = [field.name for field in fields(kind)]
    return {name: settings[name].value for name in names if name in settings}
