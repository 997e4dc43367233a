"""What flowed between two answers to `status`, computed from their counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dora_rt.latency import BUCKETS, percentile_ns
from dora_rt.network.network_status import NetworkStatus
from dora_rt.node_config import to_fields
from dora_rt.run_status import (
    EdgeStatus,
    NodeState,
    OutputStatus,
    ProcessStatus,
    RunState,
    RunStatus,
)


@dataclass(frozen=True, slots=True)
class ProcessRate:
    """One process of a run: its present state, and the share of a core that it used."""

    name: str
    state: NodeState
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
    network: int | None = None
    """Samples lost between two machines since the beginning."""
    machines: tuple[str, str] | None = None
    """The machines that it leaves and reaches, if it crosses."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What flowed in a run in `interval_s`."""

    run: str
    file: str
    state: RunState
    running_s: float
    interval_s: float
    processes: tuple[ProcessRate, ...]
    outputs: tuple[OutputRate, ...]
    edges: tuple[EdgeRate, ...]
    network: NetworkStatus | None = None
    """What goes on between the machines of the dataflow, if it has several."""

    def to_fields(self) -> dict[str, Any]:
        """Return the rates as values of JSON."""
        fields: dict[str, Any] = to_fields(self)
        return fields


def measure(earlier: RunStatus, later: RunStatus) -> Rates:
    """Compare two answers of one run."""
    interval_s = max(later.now_ns - earlier.now_ns, 1) / 1e9
    outputs = tuple(
        _output(before, after, interval_s)
        for before, after in zip(earlier.outputs, later.outputs, strict=True)
    )
    mean_nbytes = {
        output.source: (output.mean_nbytes or status.nbytes / max(status.sent, 1))
        for output, status in zip(outputs, later.outputs, strict=True)
    }
    return Rates(
        run=later.run,
        file=later.file,
        state=later.state,
        running_s=later.running_s,
        interval_s=interval_s,
        processes=tuple(
            _process(before, after, interval_s)
            for before, after in zip(earlier.processes, later.processes, strict=True)
        ),
        outputs=outputs,
        edges=tuple(
            _edge(before, after, interval_s, mean_nbytes.get(after.source, 0.0))
            for before, after in zip(earlier.edges, later.edges, strict=True)
        ),
        network=later.network,
    )


def _process(before: ProcessStatus, after: ProcessStatus, interval_s: float) -> ProcessRate:
    # A dynamic node counts anew with each program.
    used_s = max(after.cpu_s - before.cpu_s, 0.0)
    return ProcessRate(
        name=after.name,
        state=after.state,
        pid=after.pid,
        restarts=after.restarts,
        cpu_percent=100 * used_s / interval_s,
        rss_nbytes=after.rss_nbytes,
        threads=after.threads,
    )


def _output(before: OutputStatus, after: OutputStatus, interval_s: float) -> OutputRate:
    sent = after.sent - before.sent
    nbytes = after.nbytes - before.nbytes
    return OutputRate(
        source=after.source,
        sent=after.sent,
        rate_hz=sent / interval_s,
        bytes_per_s=nbytes / interval_s,
        mean_nbytes=nbytes / sent if sent else None,
    )


def _edge(before: EdgeStatus, after: EdgeStatus, interval_s: float, mean_nbytes: float) -> EdgeRate:
    names = (after.source, after.target, after.queue_size)
    if before.counts is None or after.counts is None:
        unknown = EdgeRate(*names, *[None] * 10)
        return replace(unknown, network=after.network, machines=after.machines)
    earlier, later = before.counts, after.counts
    rate_hz = (later.delivered - earlier.delivered) / interval_s
    latencies = _difference(earlier.latencies, later.latencies)
    ages = _difference(earlier.ages, later.ages)
    return EdgeRate(
        *names,
        waiting=later.waiting,
        delivered=later.delivered,
        dropped=later.dropped,
        rate_hz=rate_hz,
        drops_hz=max(later.dropped - earlier.dropped, 0) / interval_s,
        bytes_per_s=rate_hz * mean_nbytes,
        p50_ns=percentile_ns(latencies, 0.5),
        p99_ns=percentile_ns(latencies, 0.99),
        age_p50_ns=percentile_ns(ages, 0.5),
        age_p99_ns=percentile_ns(ages, 0.99),
        network=after.network,
        machines=after.machines,
    )


def _difference(before: Mapping[int, int], after: Mapping[int, int]) -> list[int]:
    counts = [0] * BUCKETS
    for index, count in after.items():
        counts[index] = max(count - before.get(index, 0), 0)
    return counts
