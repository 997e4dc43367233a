"""The ports of a traced node: each reports to its tracer what passes through it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from dora_rt.event import TELEMETRY_KEY, Change, Event
from dora_rt.node_config import LinkConfig, NodeConfig, OutputConfig
from dora_rt.tracing.record_file import Kind
from dora_rt.tracing.timeline import Timeline
from dora_rt.transport.board import Board
from dora_rt.transport.clock import Clock
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.input.sync import MatchingInbox
from dora_rt.transport.operator_link import Link, Passed
from dora_rt.transport.output.clock_origins import ClockOrigins
from dora_rt.transport.output.clock_output import ClockPublisher, open_publisher
from dora_rt.transport.output.origin import Origins, Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.ports import Ports, open_clock
from dora_rt.transport.ring.pool import SlotMemory
from dora_rt.transport.values.header import read_number_and_times

if TYPE_CHECKING:
    from dora_rt.tracing.spans import Spans


class Tracer:
    """Reports the activity of this thread to the timeline and the spans, if there are any."""

    def __init__(self, timeline: Timeline | None, spans: Spans | None) -> None:
        self.timeline = timeline
        self.spans = spans

    def end(self) -> None:
        """Note that this thread asks for the next event."""
        if self.timeline is not None:
            self.timeline.end()
        if self.spans is not None:
            self.spans.end()

    def begin(self, event: Event) -> None:
        """Note what this thread was given."""
        if self.timeline is not None:
            self.timeline.begin(event)
        if self.spans is not None:
            self.spans.begin(event)

    def close(self) -> None:
        """Close everything; spans are sent until then."""
        self.end()
        if self.spans is not None:
            self.spans.close()


class TracedInbox(Inbox):
    """An inbox that reports each event, and when its node asks for the next."""

    tracer: Tracer

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Return the next event, as `Inbox.wait`."""
        self.tracer.end()
        event = super().wait(deadline_ns)
        if isinstance(event, Event):
            self.tracer.begin(event)
        return event


class TracedMatchingInbox(TracedInbox, MatchingInbox):
    """The same for an inbox that matches its inputs."""


class TracedPublisher(Publisher):
    """A publisher that reports each send, and how long it waits for room."""

    timeline: Timeline
    number: int

    def _publish(
        self, slot: int, memory: SlotMemory, description: bytes, nbytes: int, stamp: Stamp
    ) -> None:
        begin_ns = time.monotonic_ns()
        super()._publish(slot, memory, description, nbytes, stamp)
        # The slot cannot be taken for another sample before this thread releases the lock.
        seq, sent_ns, _, _ = read_number_and_times(memory.buffer, memory.offset)
        self.timeline.note(Kind.SENT, self.number, seq, begin_ns, sent_ns)

    def _wait_for_room(self, deadline_ns: int | None) -> None:
        begin_ns = time.monotonic_ns()
        try:
            super()._wait_for_room(deadline_ns)
        finally:
            self.timeline.note(Kind.WAITED, self.number, self._ring.head, begin_ns)


class TracedClockPublisher(ClockPublisher, TracedPublisher):
    """The same for the output that is the clock."""


class TracedLink(Link):
    """An edge between two operators that reports each value."""

    def __init__(self, config: LinkConfig, tracer: Tracer, name: str) -> None:
        super().__init__(config)
        self._tracer = tracer
        self._name = name
        self._told_dropped = 0

    def pop(self) -> Passed:
        """Take the value at the front of the queue, for its reader to begin with it now."""
        seq = self.delivered + self.dropped
        dropped, self._told_dropped = self.dropped - self._told_dropped, self.dropped
        passed = super().pop()
        tracer = self._tracer
        tracer.end()
        if tracer.timeline is not None:
            tracer.timeline.begin_passed(self.config.number, seq, dropped, passed.sent_ns)
        if tracer.spans is None:
            return passed
        context = tracer.spans.begin_passed(
            self._name,
            str(passed.metadata[TELEMETRY_KEY]),
            seq=seq,
            dropped=dropped,
            sent_ns=passed.sent_ns,
        )
        return passed._replace(metadata={**passed.metadata, TELEMETRY_KEY: context})


class TracedPorts(Ports):
    """The ports of a node that is watched."""

    _config: NodeConfig
    _tracer: Tracer

    @classmethod
    def open(cls, config: NodeConfig, board: Board) -> Ports:
        """Attach to the launcher's objects, and to the tracers."""
        spans, clock = _open_spans(config), open_clock(config)
        tracer = Tracer(Timeline.open(config), spans)
        inbox: TracedInbox | TracedMatchingInbox
        if config.sync is None:
            inbox = TracedInbox(config, board, clock)
        else:
            inbox = TracedMatchingInbox(config, config.sync, board, clock)
        inbox.tracer = tracer
        publishers = {
            output.id: _open_publisher(config, number, output, board, tracer)
            for number, output in enumerate(config.outputs)
        }
        ports = cls(inbox, publishers, _open_origins(spans, clock), clock)
        ports._config, ports._tracer = config, tracer
        return ports

    def link(self, config: LinkConfig) -> Link:
        """Make an edge between two operators of this process."""
        name = f"{self._config.operators[config.operator].name}/{config.input_id}"
        return TracedLink(config, self._tracer, name)

    def close(self) -> None:
        """Receive and send no more; only then finish the trace."""
        super().close()
        self._tracer.close()


def _open_publisher(
    config: NodeConfig, number: int, output: OutputConfig, board: Board, tracer: Tracer
) -> Publisher:
    if tracer.timeline is None:
        return open_publisher(config, output, board)
    kinds = TracedPublisher, TracedClockPublisher
    publisher = open_publisher(config, output, board, kinds)
    assert isinstance(publisher, TracedPublisher), "both kinds are"
    publisher.timeline, publisher.number = tracer.timeline, number
    return publisher


def _open_origins(spans: Spans | None, clock: Clock | None) -> Origins:
    if spans is None:
        return Origins() if clock is None else ClockOrigins(clock)
    from dora_rt.tracing.spans import ClockSpanOrigins, SpanOrigins

    return SpanOrigins(spans) if clock is None else ClockSpanOrigins(clock, spans)


def _open_spans(config: NodeConfig) -> Spans | None:
    if not config.has_spans:
        return None
    try:
        from dora_rt.tracing.spans import Spans
    except ImportError as error:
        # Of a node in an environment of its own; its launcher has the packages.
        sys.stderr.write(
            f"dora_rt: this node makes no spans: {error}; pip install 'dora_rt[tracing]' in its "
            "environment\n"
        )
        return None
    return Spans.open(config)
