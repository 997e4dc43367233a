"""The requests `parameters`, `set_parameter`, `set_parameters` and `delete_parameter`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dora_rt.errors import ParameterRefusedError
from dora_rt.launcher.requests import Asker
from dora_rt.launcher.supervision.run_parts import Run
from dora_rt.node_parameters import NodeParameters, Parameter, kind_of, show
from dora_rt.redaction import message_without_secrets


def list_all(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Answer with all parameters, or those of the node that the request names."""
    node = request.get("node")

    def answer() -> None:
        nodes = run.parameters.nodes() if node is None else (str(node),)
        found = [entry for one in nodes for entry in _describe(run, one)]
        asker.reply({"parameters": found})

    _refusing(asker, answer)


def set_value(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Set a parameter to `value`, or to what `text` stands for; answer with the value."""
    node, name = str(request.get("node")), str(request.get("name"))

    def answer() -> None:
        named = _find(run, node)
        if "text" in request:
            value = named.read(name, str(request["text"]))
        elif "value" in request:
            value = named.accept(name, request["value"])
        else:
            raise ParameterRefusedError("expected 'value', or 'text'")
        if run.parameters.set(node, name, value):
            shown = message_without_secrets(show(value))
            run.console.notice(f"{node}.{name} = {shown}: asked by {asker.who}")
        asker.reply({"value": value})

    _refusing(asker, answer)


def set_values(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Set all parameters in `values`, or none if one is refused; answer with the values."""
    node, wanted = str(request.get("node")), request.get("values")

    def answer() -> None:
        named = _find(run, node)
        if not isinstance(wanted, dict):
            raise ParameterRefusedError("expected 'values', names with their values")
        values = {name: named.accept(name, value) for name, value in wanted.items()}
        for name in run.parameters.set_all(node, values):
            shown = message_without_secrets(show(values[name]))
            run.console.notice(f"{node}.{name} = {shown}: asked by {asker.who}")
        asker.reply({"values": values})

    _refusing(asker, answer)


def delete(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Take back what was set; answer with the value in the file, if there is one."""
    node, name = str(request.get("node")), str(request.get("name"))

    def answer() -> None:
        named = _find(run, node)
        named.find(name)
        if name not in run.parameters.values(node):
            raise ParameterRefusedError(f"parameter {name!r} of node {node!r} has no value")
        run.parameters.delete(node, name)
        values = run.parameters.values(node)
        now = (
            f"= {message_without_secrets(show(values[name]))} again"
            if name in values
            else "has no value any more"
        )
        run.console.notice(f"{node}.{name} {now}: asked by {asker.who}")
        asker.reply({"value": values.get(name), "has_value": name in values})

    _refusing(asker, answer)


def _find(run: Run, node: str) -> NodeParameters:
    named = run.parameters.find(node)
    if run.is_stopping:
        raise ParameterRefusedError("the dataflow is being stopped")
    return named


def _refusing(asker: Asker, answer: Callable[[], None]) -> None:
    try:
        answer()
    except ParameterRefusedError as error:
        asker.refuse(str(error))
    except OSError as error:
        asker.refuse(f"the value cannot be written: {error.strerror}")


def _describe(run: Run, node: str) -> list[dict[str, Any]]:
    named, values = run.parameters.find(node), run.parameters.values(node)
    declared = {one.name: one for one in named.declared or ()}
    names = dict.fromkeys((*declared, *values))
    return [_entry(node, name, declared.get(name), values) for name in names]


def _entry(
    node: str, name: str, parameter: Parameter | None, values: dict[str, Any]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "node": node,
        "name": name,
        "value": values.get(name),
        "has_value": name in values,
        "is_declared": parameter is not None,
    }
    if parameter is None:
        value = values[name]
        # Undeclared, a mapping or null may be a value, too.
        is_plain = isinstance(value, (bool, int, float, str, list))
        return {**entry, "kind": kind_of(value).value if is_plain else "any", "items": None}
    return {
        **entry,
        "kind": parameter.kind.value,
        "items": None if parameter.items is None else parameter.items.value,
        "file_value": parameter.value,
        "min": parameter.minimum,
        "max": parameter.maximum,
        "choices": None if parameter.choices is None else list(parameter.choices),
        "help": parameter.help,
    }
