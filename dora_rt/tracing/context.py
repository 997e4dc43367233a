"""The trace context as it travels in `open_telemetry_context`, written as dora writes it.

That is W3C trace context, `traceparent:00-...;tracestate:...;`, but for what other programs put
there, which is nobody's business.
"""

from __future__ import annotations

from collections.abc import Mapping


def parse_context(text: str) -> dict[str, str]:
    """Give the fields of a context; empty if it is none."""
    fields = {}
    for part in text.split(";"):
        key, colon, value = part.partition(":")
        if colon:
            fields[key.strip().lower()] = value.strip()
    return fields if "traceparent" in fields else {}


def format_context(fields: Mapping[str, str]) -> str:
    """Write the fields of a context."""
    return "".join(f"{key}:{value};" for key, value in fields.items())
