"""The dataflows that schedules run: one writer, one or two readers, and sometimes an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from dora_rt.node_config import InputConfig, OutputConfig, QueuePolicy
from dora_rt.plan.edges import SLOTS_IN_HAND
from dora_rt.plan.plan import EdgePlan, Plan, ProcessPlan
from tests.harness.ring import Reader, plan_of

ANSWER_SLOTS = 6


@dataclass(frozen=True, slots=True)
class Flow:
    """How the processes of a schedule are connected."""

    readers: tuple[Reader, ...]
    spare_slots: int
    """Beside what the queues and hands of the readers take: for loans, and for further threads."""
    has_answers: bool
    """Whether the writer has an input: what its first reader sends."""
    is_latched: bool = False
    """Whether readers that come later get the newest sample first."""


@lru_cache(maxsize=4096)
def make_plan(flow: Flow) -> Plan:
    """Plan a flow in which every process may be started again."""
    plan = plan_of(*flow.readers, slot_nbytes=4096)
    output = plan.outputs[0]
    slots = (
        max(reader.queue_size for reader in flow.readers)
        + sum(reader.max_held + SLOTS_IN_HAND for reader in flow.readers)
        + flow.spare_slots
        + flow.is_latched
    )
    edges = tuple(
        replace(edge, slots=slots, writer_returns=True, reader_returns=True)
        for edge in output.edges
    )
    output = replace(output, slots=slots, edges=edges, latched=flow.is_latched)
    outputs, all_edges = [output], list(edges)
    answers = None
    if flow.has_answers:
        edge = replace(
            edges[0],
            number=len(edges),
            position=0,
            slots=ANSWER_SLOTS,
            queue_size=2,
            queue_policy=QueuePolicy.DROP_OLDEST,
            max_held=0,
            writer=1,
            reader=0,
        )
        answers = OutputConfig("answers", 1, ANSWER_SLOTS, 4096, 1, (edge,))
        outputs.append(answers)
        all_edges.append(edge)
    processes = tuple(
        _process(process, output, answers, len(all_edges)) for process in plan.processes
    )
    edge_plans = tuple(
        EdgePlan(
            edge.number,
            "writer/output",
            "reader/input",
            edge.queue_size,
            edge.queue_policy,
            outputs[0] if edge.writer == 0 else outputs[1],
            edge,
        )
        for edge in all_edges
    )
    return replace(plan, processes=processes, outputs=tuple(outputs), edges=edge_plans)


def _process(
    process: ProcessPlan, output: OutputConfig, answers: OutputConfig | None, edges: int
) -> ProcessPlan:
    number = process.config.number
    inputs: tuple[InputConfig, ...] = ()
    outputs: tuple[OutputConfig, ...] = ()
    if number == 0:
        outputs = (output,)
        if answers is not None:
            inputs = (InputConfig("answers", output=answers, edge=answers.edges[0]),)
    else:
        inputs = (InputConfig("input", output=output, edge=output.edges[number - 1]),)
        if number == 1 and answers is not None:
            outputs = (answers,)
    node = replace(process.config, spin_ns=0, edges=edges, inputs=inputs, outputs=outputs)
    return replace(process, config=node)
