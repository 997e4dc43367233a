"""The summary of a run: plain data, and the one table that is printed at the end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from dora_rt.latency import percentile_ns
from dora_rt.launcher.perfetto import TraceReport
from dora_rt.launcher.processes.ending import Ending, Usage


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process: how it ended, what it used, and the last lines it printed."""

    name: str
    ending: Ending
    restarts: int
    usage: Usage | None
    tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """One edge; the counters are None where the process that kept them did not tell.

    `sent` is always `delivered + dropped + unread`: what was sent when nobody was there to read it,
    or nobody any more, or was in the hands of a process that was killed, is unread.
    """

    source: str
    target: str
    sent: int | None
    delivered: int | None
    dropped: int | None
    unread: int | None
    latencies: tuple[int, ...]
    ages: tuple[int, ...]
    """Histograms of `dora_rt.latency`: from the send, and from the origin, to the receipt."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run; `failures` in the order in which they happened.

    `log_folder` is where the log files of the nodes are now, if they are still there.
    """

    file: str
    duration_s: float
    processes: tuple[ProcessReport, ...]
    edges: tuple[EdgeReport, ...]
    failures: tuple[ProcessReport, ...]
    log_folder: str | None = None
    trace: TraceReport | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the run came to: its report, and the signal that interrupted it, if one did."""

    report: Report
    interrupted_by: signal.Signals | None


def render(report: Report) -> str:
    """Lay the report out as text."""
    parts = [f"{report.file}: {report.duration_s:.1f} s"]
    parts.append(
        table(
            ("node", "how it ended", "restarts", "CPU s", "peak memory"),
            [_process_row(process) for process in report.processes],
            numbers=(2, 3, 4),
        )
    )
    if report.edges:
        parts.append(_edge_table(report.edges))
    if report.trace is not None:
        parts.append(str(report.trace))
    if report.failures:
        parts.append(_first_failure(report.failures, report.log_folder))
    return "\n\n".join(parts)


def _process_row(process: ProcessReport) -> tuple[str, ...]:
    usage = process.usage
    return (
        process.name,
        process.ending.text,
        str(process.restarts),
        "-" if usage is None else f"{usage.cpu_s:.2f}",
        "-" if usage is None else f"{usage.peak_nbytes / 2**20:.0f} MiB",
    )


def _edge_table(edges: Sequence[EdgeReport]) -> str:
    # Mostly all is read, and the table narrow enough.
    has_unread = any(edge.unread for edge in edges)
    counts = ("sent", "delivered", "dropped", *(["unread"] if has_unread else []))
    titles = ("edge", *counts, "p50", "p99", "age p50", "age p99")
    rows = [
        (
            f"{edge.source} -> {edge.target}",
            *(_count(getattr(edge, name)) for name in counts),
            _duration(percentile_ns(edge.latencies, 0.5)),
            _duration(percentile_ns(edge.latencies, 0.99)),
            _duration(percentile_ns(edge.ages, 0.5)),
            _duration(percentile_ns(edge.ages, 0.99)),
        )
        for edge in edges
    ]
    return table(titles, rows, numbers=range(1, len(titles)))


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _duration(latency_ns: float | None) -> str:
    if latency_ns is None:
        return "-"
    if latency_ns < 1e6:
        return f"{latency_ns / 1e3:.0f} us"
    if latency_ns < 1e9:
        return f"{latency_ns / 1e6:.1f} ms"
    return f"{latency_ns / 1e9:.1f} s"


def _first_failure(failures: tuple[ProcessReport, ...], log_folder: str | None) -> str:
    first = failures[0]
    which = "" if len(failures) == 1 else f" first, {len(failures)} nodes in all"
    lines = [f"node {first.name} failed{which}: {first.ending.text.removeprefix('failed: ')}"]
    if first.tail:
        where = "" if log_folder is None else f" (the others: {log_folder}/{first.name}.log)"
        lines.append(f"the last lines it printed{where}:")
        lines.extend(f"  {line}" for line in first.tail)
    else:
        lines.append("it had printed nothing")
    return "\n".join(lines)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]) -> str:
    """Lay rows out in columns; those in `numbers` are aligned to the right."""
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
