"""What was measured of an edge, in words short enough for a label."""

from __future__ import annotations

from dora_rt.live.rates import EdgeRate


def flow_text(edge: EdgeRate) -> str:
    """Say rate and latencies; nothing between operators of one process, which do not tell."""
    if edge.rate_hz is None:
        return ""
    if edge.p50_ns is None or edge.p99_ns is None:
        return f"{edge.rate_hz:.1f} Hz"
    return f"{edge.rate_hz:.1f} Hz · {duration_text(edge.p50_ns)} / {duration_text(edge.p99_ns)}"


def dropped_text(edge: EdgeRate) -> str:
    """Say how many were dropped since the beginning; nothing if none were."""
    return f"{edge.dropped} dropped" if edge.dropped else ""


def duration_text(duration_ns: float) -> str:
    """Write a latency with two or three digits: 164 us, 3.4 ms, 1.2 s."""
    for unit, unit_ns in (("s", 1e9), ("ms", 1e6)):
        if duration_ns >= unit_ns:
            value = duration_ns / unit_ns
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{duration_ns / 1e3:.0f} us"
