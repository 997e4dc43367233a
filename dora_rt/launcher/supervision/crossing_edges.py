"""Edges between two machines: their counters at this end, and both ends put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dora_rt.launcher.memory.edge_totals import EdgeTotals
from dora_rt.network.gateway_plan import Stream
from dora_rt.network.network_status import MachineState, NetworkStatus, StreamCounts
from dora_rt.plan.plan import EdgePlan
from dora_rt.report import EdgeReport
from dora_rt.run_status import EdgeCounts, EdgeStatus

_GONE = (MachineState.AWAITED, MachineState.LOST, MachineState.REFUSED)


def crossing_counts(edges: Sequence[EdgePlan], totals: EdgeTotals, machine: str) -> dict[str, Any]:
    """Return the counters of the rings at both sides of the gateway, as values of JSON.

    The keys of `leaving` are the numbers of streams; those of `coming` too, and below them the
    inputs that read what comes in.
    """
    leaving: dict[str, Any] = {}
    coming: dict[str, dict[str, Any]] = {}
    for edge in edges:
        counters = None if edge.stream is None else totals.read(edge)
        if edge.stream is None or counters is None:
            continue
        number = str(edge.stream.number)
        told = {
            "sent": counters.sent,
            "delivered": counters.delivered,
            "dropped": counters.dropped,
        }
        if edge.stream.sender == machine:
            leaving[number] = told
        else:
            coming.setdefault(number, {})[edge.target] = told
    return {"leaving": leaving, "coming": coming}


def crossing_reports(
    edges: Sequence[EdgePlan],
    reports: Sequence[EdgeReport],
    status: NetworkStatus | None,
    machine: str,
    *,
    is_settled: bool,
) -> tuple[EdgeReport, ...]:
    """Return the reports of all edges, with one for each input at the far end of a stream.

    Args:
        edges: those of the plan.
        reports: of each of them, as this machine has counted.
        status: what the gateway has told last.
        machine: this one.
        is_settled: whether it has told that after the last sample.
    """
    if status is not None and not is_settled:
        # It was killed: what both ends counted at the same time is not known.
        streams = tuple(replace(counts, network=None) for counts in status.streams)
        status = replace(status, streams=streams)
    whole: list[EdgeReport] = []
    for edge, report in zip(edges, reports, strict=True):
        stream = edge.stream
        if stream is None:
            whole.append(report)
        elif stream.sender == machine:
            whole += _leaving(report, stream, _last_counts(stream, status, stream.receiver))
        else:
            whole.append(_coming(report, stream, _last_counts(stream, status, stream.sender)))
    return tuple(whole)


def _last_counts(stream: Stream, status: NetworkStatus | None, far: str) -> StreamCounts | None:
    """Return what both ends have counted; where the far one is gone, what was lost is not known."""
    if status is None:
        return None
    counts = next((one for one in status.streams if one.number == stream.number), None)
    is_gone = any(one.name == far and one.state in _GONE for one in status.machines)
    return replace(counts, network=None) if counts is not None and is_gone else counts


def crossing_statuses(
    own: EdgeStatus, stream: Stream, status: NetworkStatus | None, machine: str
) -> list[EdgeStatus]:
    """Return the state of an edge that crosses, of each input behind it.

    Args:
        own: what this machine has counted.
        stream: the stream that it is.
        status: what the gateway has told last.
        machine: this one.
    """
    far = None
    if status is not None:
        far = next((one for one in status.streams if one.number == stream.number), None)
    own = replace(
        own,
        machines=(stream.sender, stream.receiver),
        network=None if far is None else far.network,
    )
    counts = own.counts
    if stream.sender == machine:
        return [
            replace(own, target=target, counts=_leaving_counts(counts, far, target))
            for target in stream.targets
        ]
    if counts is None or far is None:
        return [own]
    dropped = counts.dropped + far.dropped_here
    return [replace(own, counts=replace(counts, sent=far.sent, dropped=dropped))]


def _leaving_counts(
    counts: EdgeCounts | None, far: StreamCounts | None, target: str
) -> EdgeCounts | None:
    if counts is None:
        return None
    # How long the samples took to the gateway says nothing of the way.
    counts = replace(counts, latencies={}, ages={})
    if far is None or far.delivered is None:
        return replace(counts, delivered=0)
    return replace(
        counts,
        delivered=far.delivered.get(target, 0),
        dropped=max(counts.dropped, far.dropped_here) + (_of(far.dropped_there, target) or 0),
    )


def _leaving(report: EdgeReport, stream: Stream, counts: StreamCounts | None) -> list[EdgeReport]:
    """Return one report for each input that a stream feeds on the other machine."""
    # How long the samples take was measured at the gateway, and says nothing of the way.
    own = replace(report, machines=stream.ends, latencies=(), ages=())
    dropped = report.dropped
    if counts is not None and dropped is not None:
        # What `max_hz` holds back, the gateway drops, and the ring has delivered.
        dropped = max(dropped, counts.dropped_here)
        # And it sends once more what is latched.
        own = replace(own, sent=max(own.sent or 0, counts.sent))
    rows = []
    for target in stream.targets:
        delivered = _of(None if counts is None else counts.delivered, target)
        dropped_there = _of(None if counts is None else counts.dropped_there, target)
        both = None if dropped is None else dropped + (dropped_there or 0)
        network = None if counts is None else counts.network
        rows.append(
            _balanced(
                replace(own, target=target, delivered=delivered, dropped=both, network=network)
            )
        )
    return rows


def _coming(report: EdgeReport, stream: Stream, counts: StreamCounts | None) -> EdgeReport:
    own = replace(report, machines=stream.ends)
    if counts is None or report.dropped is None:
        return own
    dropped = counts.dropped_here + report.dropped
    # What has come was sent, also if its sender was killed before it told so.
    sent = max(counts.sent, dropped + (report.delivered or 0))
    return _balanced(replace(own, sent=sent, dropped=dropped, network=counts.network))


def _balanced(report: EdgeReport) -> EdgeReport:
    """Return the report with what is left of the sent samples as unread."""
    known = (report.sent, report.delivered, report.dropped, report.network)
    if any(count is None for count in known):
        return replace(report, unread=None)
    sent, *rest = (count or 0 for count in known)
    # The far end has told its part a moment ago: while samples flow, it may lag behind.
    return replace(report, unread=max(sent - sum(rest), 0))


def _of(counts: Mapping[str, int] | None, target: str) -> int | None:
    return None if counts is None else counts.get(target)
