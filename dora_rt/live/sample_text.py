"""Samples as text: summed up, or with all their values."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.event import Event
from dora_rt.units import counted

_FEW = 6
_LONGEST_TEXT = 120


def summarise(event: Event, *, has_all: bool) -> dict[str, Any]:
    """Return a sample as fields for JSON: all of its values, or the first few and statistics."""
    fields: dict[str, Any] = {
        "source": event.id,
        "seq": event.seq,
        "dropped": event.dropped,
        "sent_ns": event.sent_ns,
        "origin_ns": event.origin_ns,
        "age_ms": round((time.monotonic_ns() - event.origin_ns) / 1e6, 3),
        **_summarise_value(event.value, has_all),
    }
    metadata = {key: value for key, value in event.metadata.items() if value != ""}
    # A datetime has no other form here.
    return {**fields, "metadata": json.loads(json.dumps(metadata, default=str))}


def _summarise_value(value: Any, has_all: bool) -> dict[str, Any]:
    if isinstance(value, bytes):
        part = value if has_all else value[:_LONGEST_TEXT]
        fields = {"type": "bytes", "nbytes": len(value)}
        try:
            text = part.decode(errors="strict" if has_all else "ignore")
            is_text = text.isprintable() and abs(len(text.encode()) - len(part)) < 4
        except UnicodeDecodeError:
            is_text = False
        return {**fields, "text": text} if is_text else {**fields, "hex": part.hex()}
    if not hasattr(value, "dtype"):
        items = value if has_all else value[:_FEW]
        values = json.loads(json.dumps(items.to_pylist(), default=str))
        return {"type": str(value.type), "shape": [len(value)], "values": values}
    return _summarise_array(value, has_all)


def _summarise_array(array: NDArray[Any], has_all: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": array.dtype.name, "shape": list(array.shape)}
    if array.size and array.dtype.kind in "biuf":
        # An overflow or a NaN must not hide the other values.
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        if finite.size:
            numbers = {"min": finite.min(), "max": finite.max()}
            fields |= {key: number.item() for key, number in numbers.items()}
            fields["mean"] = float(finite.mean(dtype=np.float64))
        if finite.size < array.size:
            fields["not_finite"] = array.size - finite.size
    values = array if has_all else array.reshape(-1)[:_FEW]
    return {**fields, "values": json.loads(json.dumps(values.tolist(), default=str))}


def line_of(fields: dict[str, Any], event: Event, *, has_all: bool) -> str:
    """Return a sample as a line for people, of the fields that `summarise` gave."""

    parts = [f"{fields['source']} #{fields['seq']}", f"{fields['age_ms']:.1f} ms", fields["type"]]
    if "shape" in fields:
        parts.append(str(tuple(fields["shape"])))
    if "nbytes" in fields:
        parts.append(counted(fields["nbytes"], "byte"))
    if "min" in fields:
        parts.append(f"min {fields['min']:.6g} max {fields['max']:.6g} mean {fields['mean']:.6g}")
    if "not_finite" in fields:
        parts.append(f"{fields['not_finite']} not finite")
    if has_all and hasattr(event.value, "dtype"):
        with np.printoptions(threshold=2**62, linewidth=100):
            parts.append(f"\n{event.value}\n")
    elif "values" in fields:
        has_more = len(event.value.reshape(-1) if hasattr(event.value, "dtype") else event.value)
        more = " ..." if has_more > len(fields["values"]) else ""
        shown = (f"{one:.6g}" if isinstance(one, float) else str(one) for one in fields["values"])
        parts.append(f"[{', '.join(shown)}{more}]")
    parts += [repr(fields["text"])] if "text" in fields else []
    parts += [fields["hex"]] if "hex" in fields else []
    if fields["metadata"]:
        parts.append(json.dumps(fields["metadata"]))
    if fields["dropped"]:
        parts.append(f"(missed {fields['dropped']} before)")
    return "  ".join(parts)
