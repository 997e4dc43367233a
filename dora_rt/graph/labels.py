"""Measurements of an edge as texts short enough for a label."""

from __future__ import annotations

from dora_rt.live.rates import EdgeRate
from dora_rt.units import latency


def flow_text(edge: EdgeRate) -> str:
    """Return rate and latencies; empty if the edge has no counters, as within one process."""
    if edge.rate_hz is None:
        return ""
    if edge.p50_ns is None or edge.p99_ns is None:
        return f"{edge.rate_hz:.1f} Hz"
    return f"{edge.rate_hz:.1f} Hz · {latency(edge.p50_ns)} / {latency(edge.p99_ns)}"


def dropped_text(edge: EdgeRate) -> str:
    """Return how many were dropped since the beginning; empty if none were."""
    return f"{edge.dropped} dropped" if edge.dropped else ""
