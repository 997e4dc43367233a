"""Parameters of nodes: what the dataflow file declares of one, and which values fit.

A value is what JSON knows: true or false, a number, a text, a list. The type of a parameter is that
of its first value. A node that declares parameters has these and no others; a node that declares
none takes any, as in dora.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dora_rt.errors import ParameterRefusedError, UnknownParameterError
from dora_rt.spelling import closest

MAX_NAME_NBYTES = 256
MAX_VALUE_NBYTES = 32 * 1024
_MAX_SHOWN = 60


class ParameterKind(Enum):
    """The type of a parameter's values; the value is the word for it in errors and on the page."""

    SWITCH = "true or false"
    WHOLE = "whole number"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as it is declared.

    Attributes:
        name: how the node asks for it.
        kind: the type of its values.
        value: the value in the file; None: the node has a value of its own until one is set.
        minimum, maximum: limits of a number, or of each number in a list.
        choices: all values that there are, or None; of a list: of its items.
        help: a sentence for people.
        items: of a list: the type of each item; None: any.
    """

    name: str
    kind: ParameterKind
    value: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    help: str = ""
    items: ParameterKind | None = None

    def accept(self, value: Any) -> Any:
        """Return a value as the node gets it: a whole number may be meant where a number is.

        Raises:
            ParameterRefusedError: the value does not fit; the message does not name the parameter.
        """
        value = _as_kind(value, self.kind)
        if self.kind is ParameterKind.LIST:
            for item in value:
                if self.items is not None:
                    _as_kind(item, self.items)
            if self.items is not None:
                value = [_as_kind(item, self.items) for item in value]
            for item in value:
                self._check_limits(item)
        else:
            self._check_limits(value)
        check_size(value)
        return value

    def read(self, text: str) -> Any:
        """Return the value that a text stands for: JSON; for a text also the words themselves.

        Raises:
            ParameterRefusedError: the value does not fit.
        """
        if self.kind is ParameterKind.TEXT:
            found = _json_or_none(text)
            return self.accept(found if isinstance(found, str) else text)
        try:
            value = read_text(text)
        except ParameterRefusedError:
            if self.kind is ParameterKind.LIST:
                raise
            hint = _small_letters(text)
            raise ParameterRefusedError(f"{_expected(self.kind)}, got {show(text)}{hint}") from None
        return self.accept(value)

    def _check_limits(self, value: Any) -> None:
        if self.choices is not None and not any(same(value, one) for one in self.choices):
            known = ", ".join(map(show, self.choices))
            hint = ""
            if isinstance(value, str):
                match = closest(value, [one for one in self.choices if isinstance(one, str)])
                hint = f"; did you mean {show(match)}?" if match else ""
            raise ParameterRefusedError(f"expected one of {known}, got {show(value)}{hint}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            is_low = self.minimum is not None and value < self.minimum
            if is_low or (self.maximum is not None and value > self.maximum):
                raise ParameterRefusedError(f"expected {self._range()}, got {show(value)}")

    def _range(self) -> str:
        if self.maximum is None:
            return f"{self.minimum:g} or more"
        if self.minimum is None:
            return f"{self.maximum:g} or less"
        return f"a number from {self.minimum:g} to {self.maximum:g}"


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """The parameters of one node.

    Attributes:
        node: its id.
        declared: those in the file; None: the file declares none, and the node takes any.
        given: values that the start of the run has set beside the file, by name.
    """

    node: str
    declared: tuple[Parameter, ...] | None = None
    given: tuple[tuple[str, Any], ...] = ()

    def find(self, name: str) -> Parameter | None:
        """Return a declared parameter; None if the node takes any.

        Raises:
            ParameterRefusedError: the node has no such parameter, or nothing can be called so.
        """
        if self.declared is not None:
            for parameter in self.declared:
                if parameter.name == name:
                    return parameter
            names = [parameter.name for parameter in self.declared]
            match = closest(name, names)
            hint = f"did you mean {match!r}?" if match else f"it has: {', '.join(names) or 'none'}"
            raise ParameterRefusedError(f"node {self.node!r} has no parameter {name!r}; {hint}")
        if not is_parameter_name(name):
            raise ParameterRefusedError(
                f"{name!r} is no name of a parameter: use 1 to {MAX_NAME_NBYTES} bytes, and no "
                "spaces, '=', or control characters"
            )
        return None

    def accept(self, name: str, value: Any) -> Any:
        """Return the value that the node gets for one that somebody wants to set.

        Raises:
            ParameterRefusedError: there is no such parameter, or the value does not fit.
        """
        parameter = self.find(name)
        try:
            if parameter is None:
                check_size(value)
                return value
            return parameter.accept(value)
        except ParameterRefusedError as error:
            raise self._refused(name, error) from None

    def read(self, name: str, text: str) -> Any:
        """Return the value that a text on a command line stands for; raises as `accept`."""
        parameter = self.find(name)
        try:
            if parameter is not None:
                return parameter.read(text)
            value = _json_or_none(text)
            # As people write it: `mode fast`; dora wants the quotes.
            value = text if value is None and text != "null" else value
            check_size(value)
            return value
        except ParameterRefusedError as error:
            raise self._refused(name, error) from None

    def initial(self) -> dict[str, Any]:
        """Return the values with which the node starts."""
        return {**self.of_file(), **dict(self.given)}

    def of_file(self) -> dict[str, Any]:
        """Return the values in the file."""
        declared = self.declared or ()
        return {one.name: one.value for one in declared if one.value is not None}

    def _refused(self, name: str, error: ParameterRefusedError) -> ParameterRefusedError:
        return ParameterRefusedError(f"parameter {name!r} of node {self.node!r}: {error}")


REQUIRED: Any = object()
"""In the place of a default: there is none."""


def default_or_raise(default: Any, who: str, name: str, known: Iterable[str]) -> Any:
    """Return the default for a parameter without a value.

    Raises:
        UnknownParameterError: there is no default.
    """
    if default is REQUIRED:
        raise UnknownParameterError.of(who, name, known)
    return default


def copy_of(value: Any) -> Any:
    """Return a value that its receiver may change: the next one who asks gets it as it was."""
    if isinstance(value, (list, dict)):
        return json.loads(json.dumps(value))
    return value


def is_parameter_name(name: str) -> bool:
    """Whether something may be called so: one word that a command line can name."""
    is_word = bool(name) and name.isprintable() and not any(one in " =" for one in name)
    return is_word and len(name.encode()) <= MAX_NAME_NBYTES


def kind_of(value: Any) -> ParameterKind:
    """Return the type of a value.

    Raises:
        ParameterRefusedError: it is of a type that no parameter has.
    """
    if isinstance(value, bool):
        return ParameterKind.SWITCH
    for types, kind in (
        (int, ParameterKind.WHOLE),
        (float, ParameterKind.NUMBER),
        (str, ParameterKind.TEXT),
        (list, ParameterKind.LIST),
    ):
        if isinstance(value, types):
            return kind
    raise ParameterRefusedError(
        f"expected true or false, a number, a text or a list of these, got {show(value)}"
    )


def kind_of_items(values: Iterable[Any]) -> ParameterKind | None:
    """Return the one type that all values have: a number, if some are whole and some are not.

    Raises:
        ParameterRefusedError: they have several types, or one is a list itself.
    """
    kinds = {kind_of(value) for value in values}
    if kinds == {ParameterKind.WHOLE, ParameterKind.NUMBER}:
        return ParameterKind.NUMBER
    if ParameterKind.LIST in kinds:
        raise ParameterRefusedError("a list in a list is no value of a parameter")
    if len(kinds) > 1:
        words = " and ".join(sorted(kind.value for kind in kinds))
        raise ParameterRefusedError(f"the items of a list have one type, got {words}")
    return next(iter(kinds), None)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: 1 is neither 1.0 nor true."""
    return type(one) is type(other) and repr(one) == repr(other)


def show(value: Any) -> str:
    """Return a value as a command line takes it, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable():
        # Half of a surrogate pair, marks that turn the direction of a line.
        text = json.dumps(value, default=repr)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def read_text(text: str) -> Any:
    """Return the value that a text stands for, as JSON.

    Raises:
        ParameterRefusedError: it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        hint = _small_letters(text)
        raise ParameterRefusedError(
            f'expected a value such as 0.5, true, "word" or ["a", "b"], got {text!r}{hint}'
        ) from None


def check_size(value: Any) -> None:
    """Check that a value can travel.

    Raises:
        ParameterRefusedError: it cannot.
    """
    try:
        nbytes = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError):
        raise ParameterRefusedError(f"{show(value)} is no value of JSON") from None
    if nbytes > MAX_VALUE_NBYTES:
        raise ParameterRefusedError(
            f"a value has at most {MAX_VALUE_NBYTES // 1024} KiB as JSON, got {nbytes} bytes; "
            "write it into a file, and let the parameter be its name"
        )


def values_path(description_path: str, process: int) -> Path:
    """Return the file in the run directory that has the values of a process's parameters."""
    return Path(description_path).with_name(f"parameters-{process}.json")


def encode_values(version: int, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of that file: the values of each node, and how often they have changed."""
    return json.dumps({"version": version, "nodes": values}, separators=(",", ":"))


def decode_values(text: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Read what `encode_values` wrote."""
    fields = json.loads(text)
    return fields["version"], fields["nodes"]


def _as_kind(value: Any, kind: ParameterKind) -> Any:
    found = kind_of(value)
    if found is ParameterKind.WHOLE and kind is ParameterKind.NUMBER:
        found, value = kind, _as_float(value)
    is_whole = found is ParameterKind.NUMBER and math.isfinite(value) and value == int(value)
    if is_whole and kind is ParameterKind.WHOLE:
        found, value = kind, int(value)  # as a slider sends it
    if found is not kind:
        raise ParameterRefusedError(f"{_expected(kind)}, got {show(value)}")
    if found is ParameterKind.NUMBER and not math.isfinite(value):
        raise ParameterRefusedError(f"expected a finite number, got {value}")
    return value


def _expected(kind: ParameterKind) -> str:
    article = "" if kind is ParameterKind.SWITCH else "a "
    return f"expected {article}{kind.value}"


def _small_letters(text: str) -> str:
    return "; true and false are small" if text in ("True", "False") else ""


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ParameterRefusedError("the number is too large") from None


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
