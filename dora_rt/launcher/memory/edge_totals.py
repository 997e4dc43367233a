"""Totals of every edge of a run, in shared memory or within one process."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.launcher.memory.counters import EdgeCounters
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.plan.plan import EdgePlan
from dora_rt.report import EdgeReport
from dora_rt.transport.status_pipe import LinkCounters


class EdgeTotals:
    """The counters of every edge; a process tells those of its own links when it ends."""

    def __init__(self, edges: Sequence[EdgePlan], memory: RunMemory) -> None:
        self._edges = edges
        self._memory = memory
        self._links: dict[int, LinkCounters] = {}

    def add_link(self, counters: LinkCounters) -> None:
        """Add the counters that a process told of an edge between two of its operators."""
        earlier = self._links.get(counters.number)
        self._links[counters.number] = counters if earlier is None else earlier.plus(counters)

    def read(self, edge: EdgePlan) -> EdgeCounters | None:
        """Return the counters of an edge in shared memory; None for one within a process."""
        if edge.output is None or edge.edge is None:
            return None
        return self._memory.counters(edge.output, edge.edge)

    def report(self) -> tuple[EdgeReport, ...]:
        """Return the totals of every edge."""
        return tuple(self._report(edge) for edge in self._edges)

    def _report(self, edge: EdgePlan) -> EdgeReport:
        counters = self.read(edge)
        if counters is None:
            return self._report_link(edge)
        return EdgeReport(
            edge.source,
            edge.target,
            counters.sent,
            counters.delivered,
            counters.dropped,
            counters.sent - counters.delivered - counters.dropped,
            counters.latencies,
            counters.ages,
        )

    def _report_link(self, edge: EdgePlan) -> EdgeReport:
        counters = self._links.get(edge.number)
        if counters is None:
            return EdgeReport(edge.source, edge.target, None, None, None, None, (), ())
        return EdgeReport(
            edge.source,
            edge.target,
            counters.sent,
            counters.delivered,
            counters.dropped,
            counters.sent - counters.delivered - counters.dropped,
            counters.latencies,
            (),
        )
