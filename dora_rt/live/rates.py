"""What flowed between two answers to `status`, computed from their counters."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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

Counted = TypeVar("Counted", ProcessStatus, OutputStatus, EdgeStatus)


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
    machine: str | None = None


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
    machines: tuple[str, str] | None = None
    """Of an edge that crosses: the machines that it leaves and reaches."""
    network: int | None = None
    """Samples lost between the two machines."""


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
    """What goes on between the machines of the dataflow; None: it has one."""

    def to_fields(self) -> dict[str, Any]:
        """Return the rates as values of JSON."""
        fields: dict[str, Any] = to_fields(self)
        return fields


def measure(earlier: RunStatus, later: RunStatus) -> Rates:
    """Compare two answers of one run.

    What only one of them has, as the nodes of another machine that has just come, is measured from
    the later one alone: nothing has flowed.
    """
    interval_s = max(later.now_ns - earlier.now_ns, 1) / 1e9
    outputs = tuple(
        _output(before, after, interval_s)
        for before, after in _pairs(earlier.outputs, later.outputs, lambda output: output.source)
    )
    mean_nbytes = {
        output.source: (output.mean_nbytes or status.nbytes / max(status.sent, 1))
        for output, status in zip(outputs, later.outputs, strict=True)
    }
    return Rates(
        network=later.network,
        run=later.run,
        file=later.file,
        state=later.state,
        running_s=later.running_s,
        interval_s=interval_s,
        processes=tuple(
            _process(before, after, interval_s)
            for before, after in _pairs(
                earlier.processes, later.processes, lambda process: (process.machine, process.name)
            )
        ),
        outputs=outputs,
        edges=tuple(
            _edge(before, after, interval_s, mean_nbytes.get(after.source, 0.0))
            for before, after in _pairs(
                earlier.edges, later.edges, lambda edge: (edge.source, edge.target)
            )
        ),
    )


def _pairs(
    earlier: Sequence[Counted], later: Sequence[Counted], key: Callable[[Counted], Hashable]
) -> list[tuple[Counted, Counted]]:
    before = {key(one): one for one in earlier}
    return [(before.get(key(one), one), one) for one in later]


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
        machine=after.machine,
    )


def _output(before: OutputStatus, after: OutputStatus, interval_s: float) -> OutputRate:
    if after.sent < before.sent:
        before = after  # the run on another machine was started again
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
        nothing = (None, None, None, None, None, None, None, None, None, None)
        return EdgeRate(*names, *nothing, machines=after.machines, network=after.network)
    earlier, later = before.counts, after.counts
    rate_hz = max(later.delivered - earlier.delivered, 0) / interval_s
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
        machines=after.machines,
        network=after.network,
    )


def _difference(before: Mapping[int, int], after: Mapping[int, int]) -> list[int]:
    counts = [0] * BUCKETS
    for index, count in after.items():
        counts[index] = max(count - before.get(index, 0), 0)
    return counts
