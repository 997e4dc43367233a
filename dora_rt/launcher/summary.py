"""The summary of a run: the tables that are printed at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dora_rt.opencv import explain
from dora_rt.report import EdgeReport, MachineReport, ProcessReport, Report
from dora_rt.units import clock_offset, latency, lost_count, size, table

_LEGEND = "p50, p99: latency from send to receipt (median, 99th percentile); age: since the capture"
_NETWORK_LEGEND = "network: lost between two machines (?: the other one has not told)\n"
# What `input()` and `termios` end with where the standard input is empty.
_LACKS_KEYBOARD = re.compile(
    r"EOFError: EOF when reading a line|termios\.error: .*Inappropriate ioctl for device"
)


def render(report: Report) -> str:
    """Return the report as text."""
    where = "" if report.machine is None else f" on machine {report.machine}"
    parts = [f"{report.file}{where}: {report.duration_s:.1f} s"]
    parts.append(
        table(
            ("node", "how it ended", "restarts", "CPU s", "peak memory"),
            [_process_row(process) for process in report.processes],
            numbers=(2, 3, 4),
        )
    )
    if report.edges:
        parts.append(_edge_table(report.edges))
    if report.machines:
        parts.append("\n".join(map(_machine_line, report.machines)))
    if report.trace is not None:
        parts.append(str(report.trace))
    if report.failures:
        parts.append(_first_failure(report.failures, report.log_folder))
    if report.notes:
        parts.append("\n".join(report.notes))
    return "\n\n".join(parts)


def _process_row(process: ProcessReport) -> tuple[str, ...]:
    usage = process.usage
    return (
        process.name,
        process.ending.text,
        str(process.restarts),
        "-" if usage is None else f"{usage.cpu_s:.2f}",
        "-" if usage is None else size(usage.peak_nbytes),
    )


def _edge_table(edges: Sequence[EdgeReport]) -> str:
    # Only if there is something to show: the table is wide.
    has_unread = any(edge.unread for edge in edges)
    counts = ("sent", "delivered", "dropped", *(["unread"] if has_unread else []))
    network = ("network",) if any(edge.machines is not None for edge in edges) else ()
    titles = ("edge", *counts, *network, "p50", "p99", "age p50", "age p99")
    rows = [
        (
            _edge_name(edge),
            *(_count(getattr(edge, name)) for name in counts),
            *(lost_count(edge.network, crosses=edge.machines is not None) for _ in network),
            latency(edge.latency_ns(0.5)),
            latency(edge.latency_ns(0.99)),
            latency(edge.age_ns(0.5)),
            latency(edge.age_ns(0.99)),
        )
        for edge in edges
    ]
    lines = table(titles, rows, numbers=range(1, len(titles)))
    return f"{lines}\n\n{_NETWORK_LEGEND if network else ''}{_LEGEND}"


def _edge_name(edge: EdgeReport) -> str:
    name = f"{edge.source} -> {edge.target}"
    return name if edge.machines is None else f"{name} ({edge.machines})"


def _machine_line(machine: MachineReport) -> str:
    line = f"machine {machine.name}: {machine.text}"
    if machine.clock_offset_ns is None:
        return line
    return f"{line}; its clock: {clock_offset(machine.clock_offset_ns, machine.clock_error_ns)}"


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _first_failure(failures: tuple[ProcessReport, ...], log_folder: str | None) -> str:
    first = failures[0]
    which = "" if len(failures) == 1 else f" first, {len(failures)} nodes in all"
    kind = "machine" if first.is_machine else "node"
    lines = [f"{kind} {first.name} failed{which}: {first.ending.text.removeprefix('failed: ')}"]
    if first.is_machine:
        pass  # what its nodes have printed stands there
    elif first.tail:
        log = None if log_folder is None else Path(log_folder) / f"{first.name}.log"
        # It has none if `min_log_level` left out all that it printed.
        where = f" (the others: {log})" if log is not None and log.is_file() else ""
        lines.append(f"the last lines it printed{where}:")
        lines.extend(f"  {line}" for line in first.tail)
        if (hint := explain(first.tail)) is not None:
            lines.append(hint)
        if _LACKS_KEYBOARD.search(first.tail[-1]):
            lines.append(
                f"a node has no keyboard: with `stdin: terminal` at node {first.name} it has that "
                "of the terminal in which dora-launch is started (one node of a dataflow); or "
                "write `path: dynamic`, and start its program by hand"
            )
    else:
        lines.append("it had printed nothing")
    return "\n".join(lines)
