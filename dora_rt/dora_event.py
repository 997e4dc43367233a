"""What nodes and operators of dora 1.x get, event dicts, and what they send."""

from __future__ import annotations

from typing import Any

import numpy as np

from dora_rt.conventions import add_shape, shaped
from dora_rt.data.arrow import NO_VALUE, as_arrow, as_numbers
from dora_rt.data.times import time_of_day
from dora_rt.event import (
    Change,
    Event,
    InputClosed,
    InputRecovered,
    decode_metadata,
)

TIMED_OUT = "Timeout event stream error: Receiver timed out"


def input_event(event: Event, *, is_tick: bool) -> dict[str, Any]:
    """Give the dict for what came to an input; `is_tick`: the input is a timer."""
    fields = event.metadata_json
    metadata: dict[str, Any] = {"timestamp": time_of_day(event.sent_ns)}
    if fields:
        # A timestamp that somebody sent on goes before that of this hop, as in dora.
        metadata.update(decode_metadata(fields))
    return value_event(event.id, NO_VALUE if is_tick else event.value, metadata)


def value_event(input_id: str, value: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    """Give the dict for a value with all its metadata, to which its shape is added."""
    if isinstance(value, np.ndarray):
        add_shape(metadata, value)
    return {
        "type": "INPUT",
        "id": input_id,
        "kind": "dora",
        "value": as_arrow(value),
        "metadata": metadata,
    }


def change_event(change: Change, source: str) -> dict[str, Any]:
    """Give the dict for what happened to an input that reads the node `source`."""
    if isinstance(change, InputClosed):
        return {"type": "INPUT_CLOSED", "id": change.id, "kind": "dora"}
    if isinstance(change, InputRecovered):
        return {"type": "INPUT_RECOVERED", "id": change.id, "kind": "dora"}
    return {"type": "NODE_RESTARTED", "id": source, "kind": "dora"}


def stop_event(*, was_told: bool) -> dict[str, Any]:
    """Give the dict for the end: somebody stopped the dataflow, or all inputs have ended."""
    reason = "MANUAL" if was_told else "ALL_INPUTS_CLOSED"
    return {"type": "STOP", "id": reason, "kind": "dora"}


def timeout_event() -> dict[str, Any]:
    """Give the dict that a wait in vain ends with; dora's nodes know it as an error."""
    return {"type": "ERROR", "error": TIMED_OUT, "kind": "dora"}


def with_shape(data: Any, metadata: Any) -> Any:
    """Give numbers of an array of Arrow in the shape that the metadata tell; others as they are."""
    numbers = as_numbers(data)
    if numbers is None or not isinstance(metadata, dict):
        return data
    return shaped(numbers, metadata)
