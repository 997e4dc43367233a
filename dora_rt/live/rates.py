"""What flowed between two looks at a run: from the counters alone, so that nothing is disturbed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dora_rt.latency import BUCKETS, percentile_ns


@dataclass(frozen=True, slots=True)
class ProcessRate:
    """One process of a run: what it is now, and how much of a core it used."""

    name: str
    state: str
    pid: int | None
    restarts: int
    cpu_percent: float
    rss_nbytes: int
    threads: int


@dataclass(frozen=True, slots=True)
class OutputRate:
    """One output: what it sent; `mean_nbytes` is None if it sent nothing."""

    source: str
    sent: int
    rate_hz: float
    bytes_per_s: float
    mean_nbytes: float | None


@dataclass(frozen=True, slots=True)
class EdgeRate:
    """One edge; all but the names is None between two operators of one process."""

    source: str
    target: str
    queue_size: int
    waiting: int | None
    delivered: int | None
    dropped: int | None
    """Since the beginning, as `delivered`."""
    rate_hz: float | None
    drops_hz: float | None
    bytes_per_s: float | None
    p50_ns: float | None
    p99_ns: float | None
    """From the send to the receipt."""
    age_p50_ns: float | None
    age_p99_ns: float | None
    """From the origin of the sample, its capture, to the receipt."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What flowed in a run in `interval_s`."""

    run: str
    file: str
    state: str
    running_s: float
    interval_s: float
    processes: tuple[ProcessRate, ...]
    outputs: tuple[OutputRate, ...]
    edges: tuple[EdgeRate, ...]

    def to_fields(self) -> dict[str, Any]:
        """Give them as what JSON can say."""
        return dataclasses.asdict(self)


def measure(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Rates:
    """Compare two answers of one run to "status"."""
    interval_s = max(later["now_ns"] - earlier["now_ns"], 1) / 1e9
    outputs = tuple(
        _output(before, after, interval_s)
        for before, after in zip(earlier["outputs"], later["outputs"], strict=True)
    )
    mean_nbytes = {
        output.source: (output.mean_nbytes or fields["nbytes"] / max(fields["sent"], 1))
        for output, fields in zip(outputs, later["outputs"], strict=True)
    }
    return Rates(
        run=later["run"],
        file=later["file"],
        state=later["state"],
        running_s=later["running_s"],
        interval_s=interval_s,
        processes=tuple(
            _process(before, after, interval_s)
            for before, after in zip(earlier["processes"], later["processes"], strict=True)
        ),
        outputs=outputs,
        edges=tuple(
            _edge(before, after, interval_s, mean_nbytes.get(after["source"], 0.0))
            for before, after in zip(earlier["edges"], later["edges"], strict=True)
        ),
    )


def _process(before: Mapping[str, Any], after: Mapping[str, Any], interval_s: float) -> ProcessRate:
    # A dynamic node counts anew with each program.
    used_s = max(after["cpu_s"] - before["cpu_s"], 0.0)
    return ProcessRate(
        name=after["name"],
        state=after["state"],
        pid=after["pid"],
        restarts=after["restarts"],
        cpu_percent=100 * used_s / interval_s,
        rss_nbytes=after["rss_nbytes"],
        threads=after["threads"],
    )


def _output(before: Mapping[str, Any], after: Mapping[str, Any], interval_s: float) -> OutputRate:
    sent = after["sent"] - before["sent"]
    nbytes = after["nbytes"] - before["nbytes"]
    return OutputRate(
        source=after["source"],
        sent=after["sent"],
        rate_hz=sent / interval_s,
        bytes_per_s=nbytes / interval_s,
        mean_nbytes=nbytes / sent if sent else None,
    )


def _edge(
    before: Mapping[str, Any], after: Mapping[str, Any], interval_s: float, mean_nbytes: float
) -> EdgeRate:
    source, target, size = after["source"], after["target"], after["queue_size"]
    if after["is_local"]:
        return EdgeRate(source, target, size, *[None] * 10)
    rate_hz = (after["delivered"] - before["delivered"]) / interval_s
    latencies = _difference(before["latencies"], after["latencies"])
    ages = _difference(before["ages"], after["ages"])
    return EdgeRate(
        source,
        target,
        size,
        waiting=after["waiting"],
        delivered=after["delivered"],
        dropped=after["dropped"],
        rate_hz=rate_hz,
        drops_hz=max(after["dropped"] - before["dropped"], 0) / interval_s,
        bytes_per_s=rate_hz * mean_nbytes,
        p50_ns=percentile_ns(latencies, 0.5),
        p99_ns=percentile_ns(latencies, 0.99),
        age_p50_ns=percentile_ns(ages, 0.5),
        age_p99_ns=percentile_ns(ages, 0.99),
    )


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> list[int]:
    counts = [0] * BUCKETS
    for index, count in after.items():
        counts[int(index)] = max(count - before.get(index, 0), 0)
    return counts
