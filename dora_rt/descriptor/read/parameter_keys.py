"""Read parameters: those of a node, and those in a file of saved ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
    parse_document,
    read_text,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.identifiers import expected_string
from dora_rt.descriptor.tree.keys import PARAMETER
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import (
    Parameter,
    ParameterKind,
    is_parameter_name,
    kind_of,
    kind_of_items,
)

_NUMBERS = (ParameterKind.WHOLE, ParameterKind.NUMBER)
# As in quantities.py: not 010, which is eight in YAML 1.1 and ten in YAML 1.2.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 300


def read_parameters(fields: Fields, problems: Problems) -> tuple[Parameter, ...] | None:
    """Read the parameters of a node; None if it declares none."""
    value = fields.get("parameters")
    if value is None or is_nothing(value):
        return None
    if not isinstance(value, YamlMapping):
        what = f"'parameters' of {fields.owner}: expected a mapping such as 'threshold: 0.4'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return ()
    found = []
    for key, item in value.entries:
        if not is_parameter_name(key.text):
            what = f"invalid name {quote(key.text)} in 'parameters' of {fields.owner}"
            problems.add(key.place, what, "use 1 to 256 letters, and no spaces or '='")
            continue
        owner = f"parameter {quote(key.text)} of {fields.owner}"
        try:
            found.append(_read(key.text, item, owner, problems))
        except MalformedError as error:
            problems.add(item.place, f"{owner}: {error.what}", error.hint)
        except _AlreadyToldError:
            continue
        except ParameterRefusedError as error:
            problems.add(item.place, f"{owner}: {error}")
    return tuple(found)


def parse_value(value: YamlValue) -> Any:
    """Return what a value of the file stands for: true or false, a number, a text, or a list.

    Raises:
        MalformedError: it is something else.
    """
    if isinstance(value, YamlSequence):
        if any(isinstance(item, YamlSequence) for item in value.items):
            raise MalformedError("a list in a list is no value of a parameter")
        return [parse_value(item) for item in value.items]
    if isinstance(value, YamlMapping):
        raise MalformedError("a mapping is no value of a parameter")
    if value.is_expanded:
        return _guess(value.text)
    match value.kind:
        case Kind.STRING:
            return value.text
        case Kind.BOOLEAN if value.text.lower() in ("true", "false"):
            return value.text.lower() == "true"
        case Kind.INTEGER if _INTEGER.fullmatch(value.text) and len(value.text) < _MAX_DIGITS:
            return int(value.text.replace("_", ""))
        case Kind.FLOAT if _FLOAT.fullmatch(value.text):
            return _finite(value.text)
        case Kind.NULL | Kind.DATE | Kind.BOOLEAN:
            raise MalformedError(expected_string(value).replace("a string", "a value", 1))
    raise MalformedError(f"expected a decimal number, got {describe(value)}")


def parse_any(value: YamlValue) -> Any:
    """Return what a value stands for that no file has declared: also mappings and null, as in JSON.

    Raises:
        MalformedError: it is of a type that JSON does not know.
    """
    match value:
        case YamlMapping():
            return {key.text: parse_any(item) for key, item in value.entries}
        case YamlSequence():
            return [parse_any(item) for item in value.items]
        case YamlScalar(kind=Kind.NULL, text="null"):
            return None
        case YamlScalar():
            return parse_value(value)


def read_parameter_file(path: Path) -> list[tuple[Place, str, str, Any]]:
    """Return each value in a file that `dora-rt param save` wrote: place, node, name and value.

    Raises:
        DescriptorProblems: a `DescriptorError` with all problems of the file.
    """
    problems = Problems()
    root = parse_document(read_text(path, problems), str(path), problems)
    found = []
    for node, named in root.entries:
        if not isinstance(named, YamlMapping):
            what = f"{quote(node.text)}: expected the parameters of a node, such as 'fps: 30'"
            problems.add(named.place, f"{what}, got {describe(named)}")
            continue
        for name, value in named.entries:
            try:
                found.append((value.place, node.text, name.text, parse_any(value)))
            except MalformedError as error:
                what = f"parameter {quote(name.text)} of node {quote(node.text)}: {error.what}"
                problems.add(value.place, what, error.hint)
    problems.raise_if_any()
    return found


class _AlreadyToldError(Exception):
    """Of a part of the parameter; the problem has the place of that part."""


def _read(name: str, value: YamlValue, owner: str, problems: Problems) -> Parameter:
    if not isinstance(value, YamlMapping):
        found = parse_value(value)
        kind, items = _kinds(found, ())
        return _checked(Parameter(name, kind, found, items=items))
    fields = Fields(value, owner, problems)
    fields.check_keys(PARAMETER)
    if not fields.has("value"):
        what = f"{owner} has no 'value'"
        hint = "a mapping says: {value: 0.4, min: 0, max: 1, choices: [...], help: ...}"
        problems.add(value.place, what, hint)
        raise _AlreadyToldError
    before = len(problems)
    found = fields.parsed("value", parse_value)
    limits = [fields.parsed(key, parse_number) for key in ("min", "max")]
    choices = fields.parsed("choices", parse_choices)
    text = fields.string("help") or ""
    if len(problems) > before:
        raise _AlreadyToldError
    least, most = limits
    if least is not None and most is not None and least > most:
        problems.add(fields.place_of("min"), f"{owner}: 'min' is more than 'max'")
        raise _AlreadyToldError
    kind, items = _kinds(found, (*(limits if choices is None else ()), *(choices or ())))
    if any(limit is not None for limit in limits) and (items or kind) not in _NUMBERS:
        key = "min" if least is not None else "max"
        what = f"{owner}: {quote(key)} has no meaning for a {(items or kind).value}"
        problems.add(fields.key_place(key), what, "remove it")
        raise _AlreadyToldError
    parameter = Parameter(name, kind, found, least, most, choices, text, items)
    try:
        if choices is not None:
            # Each of them must be a value that can be set.
            parameter = replace(parameter, choices=tuple(map(_single(parameter).accept, choices)))
    except ParameterRefusedError as error:
        problems.add(fields.place_of("choices"), f"'choices' of {owner}: {error}")
        raise _AlreadyToldError from error
    try:
        return _checked(parameter)
    except ParameterRefusedError as error:
        problems.add(fields.place_of("value"), f"'value' of {owner}: {error}")
        raise _AlreadyToldError from error


def _checked(parameter: Parameter) -> Parameter:
    """Return a parameter whose value fits it: a whole number may be meant where a number is."""
    return replace(parameter, value=parameter.accept(parameter.value))


def _single(parameter: Parameter) -> Parameter:
    """Return a parameter for one value of it, or for one item of its list, without choices."""
    kind = parameter.items if parameter.kind is ParameterKind.LIST else parameter.kind
    assert kind is not None, "its choices say of which type its items are"
    return Parameter(parameter.name, kind, None, parameter.minimum, parameter.maximum)


def _kinds(value: Any, others: Sequence[Any]) -> tuple[ParameterKind, ParameterKind | None]:
    """Return the type of a parameter and of the items of its list, by its value and the rest."""
    known = [one for one in others if one is not None]
    kind = kind_of(value)
    if kind is ParameterKind.LIST:
        return kind, kind_of_items([*value, *known])
    if kind is ParameterKind.WHOLE and any(isinstance(one, float) for one in known):
        return ParameterKind.NUMBER, None
    return kind, None


def parse_number(value: YamlValue) -> float | int:
    """Return a limit.

    Raises:
        MalformedError: it is no number.
    """
    number = parse_value(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise MalformedError(f"expected a number, got {describe(value)}")
    return number


def parse_choices(value: YamlValue) -> tuple[Any, ...]:
    """Return all values that there are.

    Raises:
        MalformedError: it is no list, or has nothing in it.
    """
    choices = parse_value(value) if isinstance(value, YamlSequence) else None
    if not choices:
        got = "an empty list" if choices == [] else describe(value)
        raise MalformedError(f"expected a list such as [fast, exact], got {got}")
    return tuple(choices)


def _guess(text: str) -> Any:
    """Return the value of a text that the environment or a module had a part in."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text) and len(text) < _MAX_DIGITS:
        return int(text.replace("_", ""))
    return _finite(text) if _FLOAT.fullmatch(text) else text


def _finite(text: str) -> float:
    number = float(text.replace("_", ""))
    if not math.isfinite(number):
        raise MalformedError(f"expected a finite number, got {quote(text)}")
    return number
