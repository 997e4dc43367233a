"""What was measured of an edge, in words short enough for a label."""

from __future__ import annotations

from dora_rt.live.rates import EdgeRate
from dora_rt.units import latency


def flow_text(edge: EdgeRate) -> str:
    """Say rate and latencies; nothing between operators of one process, which do not tell."""
    if edge.rate_hz is None:
        return ""
    if edge.p50_ns is None or edge.p99_ns is None:
        return f"{edge.rate_hz:.1f} Hz"
    return f"{edge.rate_hz:.1f} Hz · {latency(edge.p50_ns)} / {latency(edge.p99_ns)}"


def dropped_text(edge: EdgeRate) -> str:
    """Say how many were dropped since the beginning; nothing if none were."""
    return f"{edge.dropped} dropped" if edge.dropped else ""
