"""The description of a dataflow in the words of dora 1.x, for `dataflow_descriptor()`."""

from __future__ import annotations

from typing import Any

from dora_rt.descriptor.tree.model import (
    DEFAULT_QUEUE_SIZE,
    Descriptor,
    Input,
    Node,
    Operator,
    Output,
    RestartPolicy,
    TimerSource,
)
from dora_rt.node_config import QueuePolicy

_POLICIES = {QueuePolicy.LATEST: "latest", QueuePolicy.BLOCK: "backpressure"}
_UNITS_NS = (("secs", 1_000_000_000), ("millis", 1_000_000), ("micros", 1_000), ("nanos", 1))


def describe(descriptor: Descriptor) -> dict[str, Any]:
    """Return the dataflow as dora's `dataflow_descriptor()` has it, defaults filled in."""
    return {
        "nodes": [_node(node) for node in descriptor.nodes],
        "deploy": None,
        "debug": {"enable_debug_inspection": False},
        "health_check_interval": None,
    }


def _node(node: Node) -> dict[str, Any]:
    never = node.supervision.restart is RestartPolicy.NEVER
    return {
        "id": node.id,
        "name": node.name,
        "description": node.description,
        **_content(node),
        "env": dict(node.env) or None,
        "outputs": _outputs(node.outputs),
        "inputs": _inputs(node.inputs),
        "restart_policy": node.supervision.restart.value,
        "max_restarts": 0 if never else node.supervision.max_restarts,
        "deploy": None if node.machine is None else {"machine": node.machine},
    }


def _content(node: Node) -> dict[str, Any]:
    program = node.program
    if program is not None:
        source = {"path": program.path} if program.module is None else {"module": program.module}
        return {**source, "args": list(program.args)} if program.args else source
    operators = [_operator(operator) for operator in node.operators]
    if len(operators) == 1 and node.operators[0].id is None:
        return {"operator": operators[0]}
    return {"operators": operators}


def _operator(operator: Operator) -> dict[str, Any]:
    source = {"module": operator.module} if operator.path is None else {"python": operator.path}
    return {
        "id": operator.id or "op",
        **source,
        "outputs": _outputs(operator.outputs),
        "inputs": _inputs(operator.inputs),
    }


def _outputs(outputs: tuple[Output, ...]) -> list[str]:
    return [output.id for output in outputs]


def _inputs(inputs: tuple[Input, ...]) -> dict[str, Any]:
    return {entry.id: _input(entry) for entry in inputs}


def _input(entry: Input) -> Any:
    if isinstance(entry.source, TimerSource):
        return _timer(entry.source.period_ns)
    options: dict[str, Any] = {}
    is_latest = entry.queue_policy is QueuePolicy.LATEST
    if entry.is_sized and not is_latest and entry.queue_size != DEFAULT_QUEUE_SIZE:
        options["queue_size"] = entry.queue_size
    if entry.timeout_s is not None:
        options["input_timeout"] = entry.timeout_s
    if entry.queue_policy in _POLICIES:
        options["queue_policy"] = _POLICIES[entry.queue_policy]
    source = str(entry.source)
    return {"source": source, **options} if options else source


def _timer(period_ns: int) -> str:
    unit, unit_ns = next(entry for entry in _UNITS_NS if not period_ns % entry[1])
    return f"dora/timer/{unit}/{period_ns // unit_ns}"
