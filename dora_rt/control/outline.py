"""What a plan would run, in words."""

from __future__ import annotations

from dora_rt.amounts import counted
from dora_rt.control.plan import Plan, ProcessPlan


def outline(plan: Plan) -> str:
    """Name the processes and edges of a plan."""
    lines = [f"{plan.file} is fine: {_amount(plan)}"]
    lines += [f"  {process.name}: {_describe_start(process)}" for process in plan.processes]
    for edge in plan.edges:
        where = f"queue {edge.queue_size}, {edge.queue_policy.value}"
        if edge.output is None:
            where += ", in one process"
        lines.append(f"  {edge.source} -> {edge.target} ({where})")
    return "\n".join(lines)


def _amount(plan: Plan) -> str:
    return f"{counted(len(plan.processes), 'process')}, {counted(len(plan.edges), 'edge')}"


def _describe_start(process: ProcessPlan) -> str:
    if process.is_dynamic:
        return f'dynamic, started by somebody else with Node("{process.name}")'
    return " ".join(process.argv)
