"""JSON as samples carry it: numbers are arrays, text is bytes, the rest stays JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_DEEPEST = 20


def parse_json(text: str | bytes) -> Any:
    """Return what a text says; None if it is no JSON, or says null."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON in UTF-8, without blanks.

    What JSON does not know, though Python writes it, is left to no reader: NaN and the infinities
    become null, and half of a pair of surrogates a question mark.
    """
    try:
        text = _dumped(value)
    except ValueError:
        text = _dumped(_finite(value))
    return text.encode(errors="replace")


def sendable(value: Any, dtype: DTypeLike = np.float64) -> NDArray[Any] | bytes | None:
    """Return a value of JSON as a sample: an array, or bytes; None for null."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode(errors="replace")
    numbers = array_of(value if isinstance(value, list) else [value], dtype)
    return json_bytes(value) if numbers is None else numbers


def array_of(value: Any, dtype: DTypeLike = np.float64) -> NDArray[Any] | None:
    """Return numbers in lists, which may be nested, as an array; None if it is something else."""
    if not isinstance(value, list) or not _is_numeric(value):
        return None
    try:
        with np.errstate(over="ignore"):
            return np.array(value, dtype)
    except (ValueError, OverflowError):
        return None  # rows of different lengths, or a number of 400 digits


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_finite(one) for one in value]
        case dict():
            return {key: _finite(one) for key, one in value.items()}
    return value


def _is_numeric(values: list[Any], depth: int = 0) -> bool:
    if depth > _DEEPEST:
        return False
    return all(
        _is_numeric(one, depth + 1) if isinstance(one, list) else isinstance(one, (int, float))
        for one in values
    )
