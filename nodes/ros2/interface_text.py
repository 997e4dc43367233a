"""Read the text of an interface of ROS 2: `.msg`, `.srv` or `.action`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dora_rt.errors import DoraRtError

# By the name in a text: the name that counts, since some are other words for the same.
PRIMITIVES = {
    **{name: name for name in ("bool", "byte", "float32", "float64", "string", "wstring")},
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "char": "uint8",
}
_PARTS_SEPARATOR = "---"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TYPE = re.compile(
    r"(?P<base>[A-Za-z][A-Za-z0-9_/]*)(?:<=(?P<string_bound>\d+))?"
    r"(?P<array>\[(?P<bound><=)?(?P<length>\d*)\])?"
)


class InterfaceError(DoraRtError):
    """A text is none of an interface, or an interface is not known."""


class Shape(Enum):
    """How many values a field has."""

    SINGLE = "single"
    ARRAY = "array"
    BOUNDED = "bounded sequence"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes:
        name: in the text.
        base: a primitive type, or the full name of a message such as `std_msgs/msg/Header`.
        shape: how many values it has.
        length: of an array, or the most values of a bounded sequence.
        string_bound: the most bytes of each string; 0: any number.
        default: the value that the text gives; None if it gives none.
    """

    name: str
    base: str
    shape: Shape = Shape.SINGLE
    length: int = 0
    string_bound: int = 0
    default: Any = None

    @property
    def is_primitive(self) -> bool:
        """Whether its values are no messages."""
        return self.base in PRIMITIVES


@dataclass(frozen=True, slots=True)
class Message:
    """A message: what one text, or one part of it, says.

    Attributes:
        name: such as `sensor_msgs/msg/Image`.
        fields: in their order.
        text: the definition.
    """

    name: str
    fields: tuple[Field, ...]
    text: str = ""


def read_message(name: str, text: str) -> Message:
    """Read a definition.

    Args:
        name: the full name of the message.
        text: of the `.msg` file, or a part of another one.

    Raises:
        InterfaceError: it has a line that is neither a field nor a constant.
    """
    package = name.partition("/")[0]
    fields = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            field = _read_line(line, package)
        except ValueError as error:
            raise InterfaceError(f"{name}, line {number}: {line.strip()!r}: {error}") from None
        if field is not None:
            fields.append(field)
    return Message(name, tuple(fields), text)


def split_parts(name: str, text: str, count: int) -> list[str]:
    """Return the parts of a `.srv` (two) or `.action` (three).

    Raises:
        InterfaceError: it has another number of parts.
    """
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == _PARTS_SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) != count:
        raise InterfaceError(
            f"{name} has {len(parts)} parts between lines of ---, expected {count}"
        )
    return ["".join(f"{line}\n" for line in part) for part in parts]


def nested_names(message: Message) -> Iterator[str]:
    """Yield the names of the messages that the fields of a message have, in their order."""
    for field in message.fields:
        if not field.is_primitive:
            yield field.base


def _read_line(line: str, package: str) -> Field | None:
    """Return the field of a line; None if it is empty, a comment, or a constant."""
    text = _without_comment(line)
    if not text:
        return None
    kind, _, rest = text.partition(" ")
    found = _TYPE.fullmatch(kind)
    name = _NAME.match(rest.strip())
    if found is None or name is None:
        raise ValueError("expected TYPE NAME, TYPE NAME DEFAULT or TYPE NAME=CONSTANT")
    after = rest.strip()[name.end() :].strip()
    if after.startswith("="):
        return None
    base = _full_name(found["base"], package)
    shape, length = _shape(found)
    default = _default(after, base, shape) if after else None
    return Field(name[0], base, shape, length, int(found["string_bound"] or 0), default)


def _without_comment(line: str) -> str:
    # A default may be a text in quotes with a # in it.
    match = re.match(r"""(?:[^#"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["'])*""", line)
    return "" if match is None else match[0].strip().replace("\t", " ")


def _full_name(base: str, package: str) -> str:
    if base in PRIMITIVES:
        return PRIMITIVES[base]
    parts = base.split("/")
    match parts:
        case ["Header"]:
            return "std_msgs/msg/Header"
        case [name]:
            return f"{package}/msg/{name}"
        case [other, name]:
            return f"{other}/msg/{name}"
        case [_, "msg" | "srv" | "action", _]:
            return base
    raise ValueError(f"{base!r} is no type: expected NAME or PACKAGE/NAME")


def _shape(found: re.Match[str]) -> tuple[Shape, int]:
    if found["array"] is None:
        return Shape.SINGLE, 0
    length = int(found["length"] or 0)
    if found["bound"]:
        return Shape.BOUNDED, length
    return (Shape.ARRAY, length) if found["length"] else (Shape.SEQUENCE, 0)


def _default(text: str, base: str, shape: Shape) -> Any:
    if base not in PRIMITIVES:
        raise ValueError("a message has no default")
    if shape is not Shape.SINGLE:
        values = ast.literal_eval(re.sub(r"\b(true|false)\b", lambda m: m[0].title(), text))
        if not isinstance(values, list):
            raise ValueError(f"{text!r} is no list")
        return values
    if base in ("string", "wstring"):
        quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
        return text if quoted is None else quoted[2]
    if base == "bool":
        return text.lower() in ("true", "1")
    return float(text) if base.startswith("float") else int(text, 0)
