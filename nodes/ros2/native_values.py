"""Messages of ROS 2 as values of dora_rt and back: arrays, text as bytes, the rest Arrow.

Which message is which value, docs/ros2.md has as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError
from dora_rt.event import STAMP_KEY

from ..json_values import json_bytes, parse_json
from . import arrow_structs
from .interface_text import Message
from .interfaces import Interfaces

Values = dict[str, Any]
"""The fields of a message, as `Codec` has them."""

HEADER = "std_msgs/msg/Header"
STAMP_NS = STAMP_KEY
FRAME_ID = "frame_id"


class ValueMismatchError(DoraRtError, ValueError):
    """A value is not what a message of the topic can be made of; the next one may be."""


@dataclass(frozen=True, slots=True)
class Native:
    """A value as dora_rt sends it, and its metadata."""

    value: Any
    metadata: Values = field(default_factory=dict)


ToNative = Callable[[Values], Native]
ToMessage = Callable[[Any, Mapping[str, Any], Values], Values]
"""From value, metadata and header to fields; the header is that of the sample."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the messages of one type become values, and values messages."""

    to_native: ToNative
    to_message: ToMessage


class Form(Enum):
    """Which values messages become."""

    NATIVE = "native"
    ARROW = "arrow"
    JSON = "json"


class Converter:
    """Convert the messages of one type.

    Args:
        message: the type.
        interfaces: where the types of its fields are found.
        conversions: by the full name of a message, how it is converted.
        form: which values messages become; those without a conversion never become native ones.
    """

    def __init__(
        self,
        message: Message,
        interfaces: Interfaces,
        conversions: Mapping[str, Conversion],
        form: Form = Form.NATIVE,
    ) -> None:
        self._message = message
        self._interfaces = interfaces
        self._conversion = conversions.get(message.name)
        self._form = form
        first = message.fields[0] if message.fields else None
        self._has_header = first is not None and first.base == HEADER and first.name == "header"

    def to_native(self, values: Values) -> Native:
        """Return a message as a value, with the frame and stamp of its header in the metadata.

        Raises:
            ValueMismatchError: its fields contradict one another.
            ExtraMissingError: it becomes a struct of Arrow, and pyarrow is not installed.
        """
        if self._form is Form.JSON:
            native = Native(json_bytes(_plain(values)), {"encoding": "json"})
        elif self._form is Form.ARROW or self._conversion is None:
            native = Native(arrow_structs.from_fields(values, self._message, self._interfaces))
        else:
            native = self._conversion.to_native(values)
        header = values["header"] if self._has_header else {}
        return Native(native.value, {**native.metadata, **header_metadata(header)})

    def to_message(self, value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
        """Return a value as the fields of a message.

        Args:
            value: as the table says; or a struct of Arrow; or a JSON object as bytes.
            metadata: of the sample.
            header: stamp and frame of the sample, for messages that have a header.

        Raises:
            ValueMismatchError: it is none of these.
        """
        struct = _struct_of(value)
        if struct is not None:
            if self._has_header:
                struct.setdefault("header", header)
            return struct
        if self._conversion is None:
            raise ValueMismatchError(
                f"{self._message.name} is made of a struct of Arrow or of a JSON object, got "
                f"{kind_of(value)}"
            )
        values = self._conversion.to_message(value, metadata, header)
        if self._has_header:
            values.setdefault("header", header)
        return values


def header_metadata(header: Mapping[str, Any]) -> Values:
    """Return the metadata that a header becomes."""
    if not header:
        return {}
    stamp_ns = to_ns(header["stamp"])
    return {FRAME_ID: header["frame_id"], STAMP_NS: stamp_ns}


def to_ns(stamp: Mapping[str, Any]) -> int:
    """Return a time or duration of ROS in nanoseconds."""
    return int(stamp["sec"]) * 10**9 + int(stamp["nanosec"])


def from_ns(time_ns: int) -> Values:
    """Return nanoseconds as a time or duration of ROS."""
    return {"sec": time_ns // 10**9, "nanosec": time_ns % 10**9}


def covariance_metadata(values: Values, *names: str) -> Values:
    """Return those covariances that are not all 0, as lists."""
    return {name: values[name].tolist() for name in names if np.any(values[name])}


def kind_of(value: Any) -> str:
    """Return what a value is, for messages."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    kind = getattr(value, "type", None)
    return type(value).__name__ if kind is None else f"Arrow {kind}"


def numbers(value: Any, *counts: int) -> NDArray[np.float64]:
    """Return a value as flat float64 of one of some sizes.

    Raises:
        ValueMismatchError: it is something else.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        raise ValueMismatchError(f"expected {_listing(counts)} numbers, got {kind_of(value)}")
    if value.size not in counts:
        raise ValueMismatchError(f"expected {_listing(counts)} numbers, got {value.size}")
    return value.astype(np.float64).reshape(-1)


def rows(value: Any, columns: int) -> NDArray[np.float64]:
    """Return a value as float64 of N x `columns`.

    Raises:
        ValueMismatchError: it is something else.
    """
    is_table = (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "iuf"
        and (value.shape[-1:] == (columns,) if value.ndim > 1 else value.size % columns == 0)
    )
    if not is_table:
        raise ValueMismatchError(f"expected numbers of N x {columns}, got {kind_of(value)}")
    return np.asarray(value, np.float64).reshape(-1, columns)


def text(value: Any) -> str:
    """Return a value as text.

    Raises:
        ValueMismatchError: it is none.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode(errors="replace")
    if hasattr(value, "to_pylist"):
        found = value.to_pylist()
        if len(found) == 1 and isinstance(found[0], str):
            return str(found[0])
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        return value.tobytes().decode(errors="replace")
    raise ValueMismatchError(f"expected text, got {kind_of(value)}")


def _plain(value: Any) -> Any:
    """Return fields without arrays."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case np.ndarray():
            return value.tolist()
    return value


def _struct_of(value: Any) -> Values | None:
    """Return the fields of a struct of Arrow or of a JSON object; None if it is neither."""
    if isinstance(value, (bytes, bytearray)) and value[:1] == b"{":
        found = parse_json(bytes(value))
        return found if isinstance(found, dict) else None
    return arrow_structs.to_fields(value)


def _listing(counts: tuple[int, ...]) -> str:
    return " or ".join(map(str, counts))
