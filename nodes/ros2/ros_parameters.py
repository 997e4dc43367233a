"""Parameters as ROS 2 has them: `rcl_interfaces`, and values of JSON made of it and into it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dora_rt.errors import DoraRtError, ParameterRefusedError
from dora_rt.node_parameters import ParameterKind, kind_of, kind_of_items

from .native_values import Values

_INT64 = range(-(2**63), 2**63)
_LARGEST_FLOAT = 1.7976931348623157e308


class ParameterSourceError(DoraRtError):
    """Whoever has the values does not answer."""


class RosType(IntEnum):
    """The type of a value in ROS."""

    NOT_SET = 0
    BOOL = 1
    INTEGER = 2
    DOUBLE = 3
    STRING = 4
    BYTE_ARRAY = 5
    BOOL_ARRAY = 6
    INTEGER_ARRAY = 7
    DOUBLE_ARRAY = 8
    STRING_ARRAY = 9


_FIELDS: dict[RosType, str] = {
    one: f"{one.name.lower()}_value" for one in RosType if one is not RosType.NOT_SET
}
_PLAIN = {
    ParameterKind.SWITCH: RosType.BOOL,
    ParameterKind.WHOLE: RosType.INTEGER,
    ParameterKind.NUMBER: RosType.DOUBLE,
    ParameterKind.TEXT: RosType.STRING,
}
_LISTS = {
    ParameterKind.SWITCH: RosType.BOOL_ARRAY,
    ParameterKind.WHOLE: RosType.INTEGER_ARRAY,
    ParameterKind.NUMBER: RosType.DOUBLE_ARRAY,
    ParameterKind.TEXT: RosType.STRING_ARRAY,
    # An empty list of a node that declares no type for it.
    None: RosType.STRING_ARRAY,
}


@dataclass(frozen=True, slots=True)
class OfferedParameter:
    """A parameter that other nodes see.

    Attributes:
        name: how they call it.
        value: its value now; None: it has none.
        type: of its values; NOT_SET: ROS has no such type.
        help: a sentence for people.
        constraints: in words, which values fit.
        limits: of a number: least and largest, each perhaps None; or None.
        has_any_type: whether values of other types fit, too.
    """

    name: str
    value: Any
    type: RosType
    help: str = ""
    constraints: str = ""
    limits: tuple[float | None, float | None] | None = None
    has_any_type: bool = False

    @classmethod
    def of_value(cls, name: str, value: Any) -> OfferedParameter:
        """Make one that declares nothing but its value."""
        return cls(name, value, type_of(value), has_any_type=True)

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> OfferedParameter:
        """Make one of what a run tells of a parameter."""
        value = entry["value"] if entry["has_value"] else None
        if not entry["is_declared"]:
            return cls.of_value(entry["name"], value)
        kind = ParameterKind(entry["kind"])
        items = None if entry["items"] is None else ParameterKind(entry["items"])
        limits = (entry["min"], entry["max"])
        is_limited = limits != (None, None)
        words = []
        if entry["choices"] is not None:
            words.append(f"one of {', '.join(map(str, entry['choices']))}")
        if is_limited and kind is ParameterKind.LIST:
            low, high = ("" if one is None else f"{one:g}" for one in limits)
            words.append(f"each from {low} to {high}")
        return cls(
            entry["name"],
            value,
            _LISTS[items] if kind is ParameterKind.LIST else _PLAIN[kind],
            entry["help"],
            "; ".join(words),
            limits if is_limited and kind is not ParameterKind.LIST else None,
        )

    def ros_value(self) -> Values:
        """Return the value as rcl_interfaces/ParameterValue."""
        # A declared whole number may be larger than ROS has them.
        if self.value is None or type_of(self.value) is RosType.NOT_SET:
            return {"type": int(RosType.NOT_SET)}
        return {"type": int(self.type), _FIELDS[self.type]: self.value}

    def descriptor(self) -> Values:
        """Return what fits as rcl_interfaces/ParameterDescriptor."""
        found: Values = {
            "name": self.name,
            "type": int(self.type),
            "description": self.help,
            "additional_constraints": self.constraints,
            "dynamic_typing": self.has_any_type,
        }
        if self.limits is not None:
            low, high = self.limits
            if self.type is RosType.INTEGER:
                least = _INT64.start if low is None else math.ceil(low)
                most = _INT64.stop - 1 if high is None else math.floor(high)
                found["integer_range"] = [{"from_value": least, "to_value": most, "step": 0}]
            else:
                least_number = -_LARGEST_FLOAT if low is None else low
                most_number = _LARGEST_FLOAT if high is None else high
                limits = {"from_value": least_number, "to_value": most_number, "step": 0.0}
                found["floating_point_range"] = [limits]
        return found


def type_of(value: Any) -> RosType:
    """Return the type that a value has in ROS; NOT_SET if it has none there."""
    if isinstance(value, bytes):
        return RosType.BYTE_ARRAY  # of programs for dora: JSON has none
    try:
        kind = kind_of(value)
        if kind is ParameterKind.LIST:
            items = kind_of_items(value)
            fits = items is not ParameterKind.WHOLE or all(one in _INT64 for one in value)
            return _LISTS[items] if fits else RosType.NOT_SET
    except ParameterRefusedError:
        return RosType.NOT_SET
    if kind is ParameterKind.WHOLE and value not in _INT64:
        return RosType.NOT_SET
    return _PLAIN[kind]


def json_value(value: Mapping[str, Any]) -> Any:
    """Return an rcl_interfaces/ParameterValue as a value of JSON; None: it is not set.

    Raises:
        ParameterRefusedError: it is of no type, or no finite number.
    """
    number = int(value["type"])
    if number == RosType.NOT_SET:
        return None
    try:
        kind = RosType(number)
    except ValueError:
        raise ParameterRefusedError(f"there is no type {number} of a parameter") from None
    found = _plain(value[_FIELDS[kind]])
    numbers = found if isinstance(found, list) else [found]
    if any(isinstance(one, float) and not math.isfinite(one) for one in numbers):
        raise ParameterRefusedError("expected a finite number")
    return found


def names_under(names: list[str], prefixes: list[str], depth: int) -> tuple[list[str], list[str]]:
    """Return the names that rcl_interfaces/ListParameters asks for, and the prefixes of these.

    Args:
        names: all names; dots separate their levels.
        prefixes: above the levels that are asked for; none: all.
        depth: how many levels below; 0: all.
    """

    def is_near(name: str) -> bool:
        return depth == 0 or name.count(".") < depth

    def is_under(name: str, prefix: str) -> bool:
        return name == prefix or (
            name.startswith(f"{prefix}.") and is_near(name[len(prefix) + 1 :])
        )

    found = [
        name
        for name in names
        if (any(is_under(name, one) for one in prefixes) if prefixes else is_near(name))
    ]
    above = dict.fromkeys(name.rpartition(".")[0] for name in found if "." in name)
    return found, list(above)


def _plain(value: Any) -> Any:
    as_list: Callable[[], Any] | None = getattr(value, "tolist", None)
    if as_list is not None:
        return as_list()
    return value
