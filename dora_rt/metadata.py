"""What metadata are made of: times of day, as they travel, and ids of requests and goals."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import Any

# JSON has no times: one is a dict with this key only.
_KEY = "dora_rt.datetime"
_ENCODED_KEY = _KEY.encode()


def encoded_time(moment: datetime) -> dict[str, str]:
    """Return the form in which a time travels; one without a zone counts as UTC."""
    return {_KEY: (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).isoformat()}


def has_times(metadata_json: bytes) -> bool:
    """Return whether `with_times` has something to convert."""
    return _ENCODED_KEY in metadata_json


def with_times(fields: dict[str, Any]) -> Any:
    """Undo `encoded_time`; the object hook of `json.loads`."""
    return datetime.fromisoformat(fields[_KEY]) if fields.keys() == {_KEY} else fields


def time_of_day(moment_ns: int) -> datetime:
    """Return the time of day, in UTC, of a `time.monotonic_ns()` of this machine."""
    since_1970_ns = time.time_ns() - (time.monotonic_ns() - moment_ns)
    return datetime.fromtimestamp(since_1970_ns / 1e9, timezone.utc)


def new_id() -> str:
    """Return a UUID of version 7: milliseconds since 1970, then random bits."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    text = f"{bits & ~(3 << 62) | 2 << 62:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
