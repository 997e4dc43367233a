"""What an edge has counted, wherever it did so: in shared memory, or inside of a process."""

from __future__ import annotations

from collections.abc import Mapping

from dora_rt.control.memory import RunMemory
from dora_rt.control.plan import EdgePlan
from dora_rt.control.summary import EdgeReport
from dora_rt.data.status import LinkCounters


def report_edge(plan: EdgePlan, memory: RunMemory, links: Mapping[int, LinkCounters]) -> EdgeReport:
    """Sum an edge up; `links` has what processes have told of the edges inside of them."""
    counters = (
        memory.counters(plan.output, plan.edge)
        if plan.output is not None and plan.edge is not None
        else links.get(plan.number)
    )
    if counters is None:
        return EdgeReport(plan.source, plan.target, None, None, None, ())
    return EdgeReport(
        plan.source,
        plan.target,
        counters.sent,
        counters.delivered,
        counters.dropped,
        counters.latencies,
    )
