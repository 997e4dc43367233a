"""What flowed over each edge between two answers of a run to `status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dora_rt.latency import BUCKETS, percentile_ns


@dataclass(frozen=True, slots=True)
class Measured:
    """One edge over some time; the latencies are None if nothing arrived in it.

    `dropped` counts since the beginning of the run, `dropped_hz` is what is dropped now.
    """

    rate_hz: float
    p50_ns: float | None
    p99_ns: float | None
    dropped_hz: float
    dropped: int

    @property
    def flow_text(self) -> str:
        """Say rate and latencies in a line."""
        if self.p50_ns is None or self.p99_ns is None:
            return f"{self.rate_hz:.1f} Hz"
        return (
            f"{self.rate_hz:.1f} Hz · {duration_text(self.p50_ns)} / {duration_text(self.p99_ns)}"
        )

    @property
    def dropped_text(self) -> str:
        """Say how many were dropped; nothing if none were."""
        return f"{self.dropped} dropped" if self.dropped else ""


def measure(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[tuple[str, str], Measured]:
    """Compare two answers of the same run; edges that count nothing are left out."""
    passed_s = (after["now_ns"] - before["now_ns"]) / 1e9
    earlier = {(edge["source"], edge["target"]): edge for edge in before["edges"]}
    measured = {}
    for edge in after["edges"]:
        key = (edge["source"], edge["target"])
        first = earlier.get(key)
        # Operators of one process count for themselves, and tell only at their end.
        if first is None or edge["sent"] is None or first["sent"] is None or passed_s <= 0:
            continue
        counts = _difference(first["latencies"], edge["latencies"])
        measured[key] = Measured(
            rate_hz=max(edge["delivered"] - first["delivered"], 0) / passed_s,
            p50_ns=percentile_ns(counts, 0.5),
            p99_ns=percentile_ns(counts, 0.99),
            dropped_hz=max(edge["dropped"] - first["dropped"], 0) / passed_s,
            dropped=edge["dropped"],
        )
    return measured


def duration_text(duration_ns: float) -> str:
    """Write a latency with two or three digits: 164 us, 3.4 ms, 1.2 s."""
    for unit, unit_ns in (("s", 1e9), ("ms", 1e6)):
        if duration_ns >= unit_ns:
            value = duration_ns / unit_ns
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{duration_ns / 1e3:.0f} us"


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> list[int]:
    counts = [0] * BUCKETS
    for index, count in after.items():
        # What a process that has ended had counted may still be on its way to the launcher.
        counts[int(index)] = max(count - before.get(index, 0), 0)
    return counts
