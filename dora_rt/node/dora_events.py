"""Event dicts, as nodes and operators of dora 1.x get them, and the values that they send."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from dora_rt.event import (
    TELEMETRY_KEY,
    Change,
    Event,
    InputClosed,
    ParameterChanged,
    SourceRestarted,
    decode_metadata,
)
from dora_rt.metadata import time_of_day
from dora_rt.node_config import InputConfig
from dora_rt.transport.values.flat_arrays import add_shape, shaped

TIMED_OUT = "Timeout event stream error: Receiver timed out"


# The module dora_rt.transport.values.arrow. Not imported with this one, because a runtime of
# operators that take no events needs no pyarrow, and not in the functions, which each event calls.
_arrow: Any = None


def import_arrow() -> None:
    """Import pyarrow, before the first event is made.

    Raises:
        ExtraMissingError: it is not installed.
    """
    global _arrow
    _arrow = import_module("dora_rt.transport.values.arrow")


def input_event(event: Event, entry: InputConfig, input_id: str | None = None) -> dict[str, Any]:
    """Return the dict of a sample; `input_id` is the name of the input for its operator."""
    metadata: dict[str, Any] = {"timestamp": time_of_day(event.sent_ns)}
    if event.metadata_json:
        # A timestamp that a node has passed on goes before that of this hop, as in dora.
        metadata.update(decode_metadata(event.metadata_json))
    value = event.value if entry.period_ns is None else None
    if entry.is_text and isinstance(value, bytes):
        # Lines and logs of nodes, which dora sends as strings.
        value = _arrow.as_strings(value.decode())
    return _value_event(input_id or event.id, value, metadata)


def passed_event(
    input_id: str, value: Any, metadata: dict[str, Any], sent_ns: int
) -> dict[str, Any]:
    """Return the dict of a value that another operator of the same process has sent."""
    given = {key: value for key, value in metadata.items() if key != TELEMETRY_KEY or value}
    return _value_event(input_id, value, {"timestamp": time_of_day(sent_ns), **given})


def change_event(change: Change, entry: InputConfig, input_id: str | None = None) -> dict[str, Any]:
    """Return the dict of a change of an input."""
    if isinstance(change, SourceRestarted):
        return {"type": "NODE_RESTARTED", "id": entry.source_node, "kind": "dora"}
    kind = "INPUT_CLOSED" if isinstance(change, InputClosed) else "INPUT_RECOVERED"
    return {"type": kind, "id": input_id or change.id, "kind": "dora"}


def parameter_event(change: ParameterChanged) -> dict[str, Any]:
    """Return the dict of a parameter that has a new value, or none any more."""
    if change.is_deleted:
        return {"type": "PARAM_DELETED", "id": change.name, "kind": "dora"}
    return {"type": "PARAM_UPDATE", "id": change.name, "value": change.value, "kind": "dora"}


def stop_event(*, was_told: bool) -> dict[str, Any]:
    """Return the dict of the end: the dataflow is being stopped, or all inputs have ended."""
    reason = "MANUAL" if was_told else "ALL_INPUTS_CLOSED"
    return {"type": "STOP", "id": reason, "kind": "dora"}


def timeout_event() -> dict[str, Any]:
    """Return the dict of a time-out, which is an error event in dora."""
    return {"type": "ERROR", "error": TIMED_OUT, "kind": "dora"}


def with_shape(data: Any, metadata: Any) -> Any:
    """Return an array of numbers in the shape that its metadata name; other values unchanged."""
    if not isinstance(metadata, dict) or not ("encoding" in metadata or "shape" in metadata):
        return data
    numbers = _arrow.as_numbers(data)
    return data if numbers is None else shaped(numbers, metadata)


def _value_event(input_id: str, value: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.ndim != 1:
        add_shape(metadata, value)
    return {
        "type": "INPUT",
        "id": input_id,
        "kind": "dora",
        "value": _arrow.as_arrow(value),
        "metadata": metadata,
    }
