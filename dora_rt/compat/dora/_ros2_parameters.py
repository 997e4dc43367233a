"""The parameters of a node of ROS 2 that a program for dora has made."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import show
from dora_rt.nodes.ros2.ros_parameters import OfferedParameter, RosType, type_of

_BUILT_IN = "use_sim_time"


class OwnParameters:
    """The parameters of a node of this program, for any thread; each keeps its type.

    Raises:
        ParameterRefusedError: a value has no type in ROS, or a name is taken (a RuntimeError).
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._lock = threading.Lock()
        for name, value in self._values.items():
            if name == _BUILT_IN:
                raise ParameterRefusedError(f"{name} is built in, and cannot be declared")
            if type_of(value) is RosType.NOT_SET:
                raise ParameterRefusedError(
                    f"parameter {name!r}: expected a bool, a number, a text, bytes or a list of "
                    f"one of these types, got {show(value)}"
                )

    def values(self) -> dict[str, Any]:
        """Return all values."""
        with self._lock:
            return dict(self._values)

    def read(self) -> list[OfferedParameter]:
        """Return all parameters as they are now."""
        return [
            OfferedParameter(name, value, type_of(value)) for name, value in self.values().items()
        ]

    def write(self, values: Mapping[str, Any]) -> None:
        """Set values, all or none.

        Raises:
            ParameterRefusedError: there is no such parameter, or it has another type.
        """
        with self._lock:
            accepted = {name: self._accept(name, value) for name, value in values.items()}
            self._values.update(accepted)

    def delete(self, name: str) -> None:
        """Refuse: what a program has declared, it relies on.

        Raises:
            ParameterRefusedError: always.
        """
        raise ParameterRefusedError(f"parameter {name!r} is declared, and cannot be deleted")

    def _accept(self, name: str, value: Any) -> Any:
        if name not in self._values:
            known = ", ".join(self._values) or "none"
            raise ParameterRefusedError(f"there is no parameter {name!r}; there are: {known}")
        kind = type_of(self._values[name])
        if kind is RosType.BYTE_ARRAY and isinstance(value, list):
            value = bytes(value)
        # An empty list has the type of whatever list there was.
        is_empty_list = value == [] and isinstance(self._values[name], list)
        if type_of(value) is not kind and not is_empty_list:
            raise ParameterRefusedError(
                f"parameter {name!r} is of type {kind.name.lower()}, got {show(value)}"
            )
        return value
