"""Turn --trace and --otel into settings of every node."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import ExtraMissingError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """The file of the trace, whether nodes make spans, and a note for the user."""

    trace: Path | None = None
    has_spans: bool = False
    note: str | None = None


def decide_spans(environ: Mapping[str, str], *, are_wanted: bool) -> tuple[bool, str | None]:
    """Return whether the nodes make spans of OpenTelemetry, by its own variables.

    Args:
        environ: the environment of the nodes.
        are_wanted: whether the user asked for them; without it an endpoint in the environment does.

    Returns:
        The decision, and what the user should know about it, if anything.

    Raises:
        ExtraMissingError: they are wanted, and the packages are not installed.
    """
    endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)
    is_off = (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if not are_wanted and (endpoint is None or is_off):
        return False, None
    if is_off:
        return False, "no spans: OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER forbids them"
    if not _has_packages():
        missing = "OpenTelemetry is not installed: pip install 'dora_rt[tracing]'"
        if are_wanted:
            raise ExtraMissingError(f"--otel: {missing}")
        return False, f"no spans, though an OTLP endpoint is set: {missing}"
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), None)
    if protocol not in (None, "http/protobuf"):
        return True, f"spans go by http/protobuf and not by {protocol}: use the port for HTTP"
    return True, None


def _has_packages() -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)
    except ImportError:
        return False
