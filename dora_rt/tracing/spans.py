"""Spans of OpenTelemetry: one for each input that is worked on, a child of its sender's.

The exporter speaks OTLP over HTTP, and not over gRPC: that is plain Python which installs and
forks everywhere. It has a thread and a bounded queue of its own, so a collector that is slow or
gone holds up no node; then spans are lost.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dora_rt.errors import CorruptSampleError, UnsupportedValueError
from dora_rt.event import TELEMETRY_KEY, Event, MatchedEvents, decode_metadata, telemetry_context
from dora_rt.node_config import NodeConfig
from dora_rt.transport.clock import Clock
from dora_rt.transport.output.clock_origins import ClockOrigins
from dora_rt.transport.output.origin import Origins
from dora_rt.transport.values.sendable import encode_metadata

_FLUSH_S = 1.0
_NO_CAUSE = "no cause"
_propagator = TraceContextTextMapPropagator()


class Spans(threading.local):
    """The spans of this process; as an attribute of each thread, that which is not over yet."""

    _open: Span | None = None

    def __init__(self, provider: TracerProvider, config: NodeConfig, finish: _Finish) -> None:
        # Called again in each thread that comes.
        self._tracer = provider.get_tracer("dora_rt")
        self._is_runtime = bool(config.operators)
        self._names = _names(config)
        self._finish = finish

    @classmethod
    def open(cls, config: NodeConfig) -> Spans:
        """Begin to export, to where the variables `OTEL_EXPORTER_OTLP_...` say."""
        resource = Resource.create(
            {
                "service.name": config.node,
                "service.instance.id": f"{config.run}/{config.node}/{os.getpid()}",
                "dora_rt.run": config.run,
            }
        )
        quieten()
        # At the end of the process it would wait for a collector that is gone.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider, config, _Finish(provider))

    def end(self) -> None:
        """End the span of what this thread was given."""
        if self._open is not None:
            self._open.end()
            self._open = None

    def close(self) -> None:
        """Export the remaining spans, for a moment at most."""
        self.end()
        self._finish.wait(_FLUSH_S)

    def begin(self, event: Event) -> None:
        """Begin the span of an event, and let the context that its metadata have be that span's."""
        parent = telemetry_context(event.metadata_json)
        links = []
        if isinstance(event, MatchedEvents):
            found = (telemetry_context(member.metadata_json) for member in event.value.values())
            links = [_span_of(context) for context in dict.fromkeys(found) if context != parent]
        context = self._begin(self._names.get(event.id, event.id), parent, event, links)
        for one in event.value.values() if isinstance(event, MatchedEvents) else ():
            one.metadata_json = _with_context(one.metadata_json, context)
        event.metadata_json = _with_context(event.metadata_json, context)

    def begin_passed(self, name: str, parent: str, *, seq: int, dropped: int, sent_ns: int) -> str:
        """Begin the span of what an operator got from another one; return its context."""
        event = Event(name, None, seq=seq, dropped=dropped, sent_ns=sent_ns)
        return self._begin(name, parent, event, [])

    def source(self, captured_ns: int | None) -> str:
        """Make a span without a cause, from its capture to now; return its context."""
        now_ns = time.time_ns()
        begin_ns = now_ns
        if captured_ns is not None:
            begin_ns -= max(time.monotonic_ns() - captured_ns, 0)
        name = "send" if captured_ns is None else "capture"
        span = self._tracer.start_span(
            name, Context(), SpanKind.PRODUCER, start_time=max(begin_ns, 0)
        )
        span.end(now_ns)
        return _context_of(span)

    def _begin(self, name: str, parent: str, event: Event, links: list[Span]) -> str:
        self.end()
        latency_ns = time.monotonic_ns() - event.sent_ns
        attributes: dict[str, Any] = {
            "dora_rt.input": name,
            "dora_rt.seq": event.seq,
            "dora_rt.dropped": event.dropped,
            "dora_rt.latency_ms": latency_ns / 1e6,
        }
        self._open = self._tracer.start_span(
            name,
            _propagator.extract(parse_context(parent), Context()),
            SpanKind.CONSUMER,
            attributes,
            [Link(span.get_span_context()) for span in links],
        )
        return _context_of(self._open)


class SpanOrigins(Origins):
    """Origins that always have a span: a sample without a cause gets one of its own."""

    cause: tuple[int, bytes, str] = (0, b"", _NO_CAUSE)

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete a sample, as `Origins.inherit` does."""
        if self.cause[2] == _NO_CAUSE and not (metadata and metadata.get(TELEMETRY_KEY)):
            metadata = {**(metadata or {}), TELEMETRY_KEY: self._spans.source(captured_ns)}
        return super().inherit(metadata, captured_ns)


class ClockSpanOrigins(ClockOrigins, SpanOrigins):
    """The same in a dataflow with a clock."""

    _cause = SpanOrigins.cause

    def __init__(self, clock: Clock, spans: Spans) -> None:
        ClockOrigins.__init__(self, clock)
        SpanOrigins.__init__(self, spans)


class _OnceOfAKind(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._told: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.name, str(record.msg)
        is_new = kind not in self._told
        self._told.add(kind)
        return is_new


def quieten() -> None:
    """Limit OpenTelemetry's complaint about a missing collector, made at every export, to one.

    Log handlers of the program itself still get all of them.
    """
    logger = logging.getLogger("opentelemetry")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("OpenTelemetry: %(message)s (told once)"))
        handler.addFilter(_OnceOfAKind())
        logger.addHandler(handler)


class _Finish:
    """Ends the exporter in a thread that exists already: at its end a process gets no new one."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._begin = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dora_rt spans", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        self._begin.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            sys.stderr.write("dora_rt: the collector of spans does not answer: some are lost\n")

    def _run(self) -> None:
        self._begin.wait()
        self._provider.shutdown()


def _names(config: NodeConfig) -> dict[str, str]:
    """Return the names of the inputs in spans: in a runtime with their operators."""
    return {
        port_id: f"{operator.name}/{input_id}"
        for operator in config.operators
        for port_id, input_id in operator.inputs
    }


def _span_of(context: str) -> Span:
    return get_current_span(_propagator.extract(parse_context(context), Context()))


def _context_of(span: Span) -> str:
    from opentelemetry.trace import set_span_in_context

    fields: dict[str, str] = {}
    _propagator.inject(fields, set_span_in_context(span, Context()))
    return format_context(fields)


def _with_context(metadata_json: bytes, context: str) -> bytes:
    try:
        metadata = decode_metadata(metadata_json) if metadata_json else {}
        return encode_metadata({**metadata, TELEMETRY_KEY: context})
    except (CorruptSampleError, UnsupportedValueError):
        # A reader of them gets that error; or they are as large as metadata may be.
        return metadata_json


def parse_context(text: str) -> dict[str, str]:
    """Return the fields of a context; empty if it is none."""
    fields = {}
    for part in text.split(";"):
        key, colon, value = part.partition(":")
        if colon:
            fields[key.strip().lower()] = value.strip()
    return fields if "traceparent" in fields else {}


def format_context(fields: Mapping[str, str]) -> str:
    """Write the fields of a context."""
    return "".join(f"{key}:{value};" for key, value in fields.items())
