"""Plan the relay: the process that sends on what the nodes print, to those that read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dora_rt.descriptor.tree.model import (
    Descriptor,
    LogSource,
    Node,
    OutputSource,
    Resources,
    RestartPolicy,
    Supervision,
)
from dora_rt.log_record import LogLevel
from dora_rt.plan.plan import ProcessPlan

# No node can be called like this.
RELAY = "dora"


@dataclass(frozen=True, slots=True)
class Relayed:
    """What one output of the relay has.

    Attributes:
        output: name of the output.
        node: whose lines, as the process is called; None: those of all.
        left_out: whose lines are not in it.
        level: what is not that loud is left out.
        are_records: whether each line comes as a record of a log.
    """

    output: str
    node: str | None
    left_out: frozenset[str]
    level: LogLevel
    are_records: bool


def needs_relay(descriptor: Descriptor) -> bool:
    """Tell whether anybody reads what nodes print."""
    read = {
        entry.source
        for node in descriptor.nodes
        for inputs in (node.inputs, *(operator.inputs for operator in node.operators))
        for entry in inputs
    }
    return any(isinstance(source, LogSource) for source in read) or any(
        source in read for node in descriptor.nodes for source in line_sources(node)
    )


def line_sources(node: Node) -> dict[OutputSource, bool]:
    """Give the outputs of a node that have what it prints, and whether as records of a log."""
    return {
        OutputSource(node.id, line.output, line.operator): line.are_records
        for line in node.line_outputs
    }


def plan_relay(
    template: ProcessPlan,
    relayed: Iterable[Relayed],
    until: Mapping[str, frozenset[int]],
    names: Mapping[int, str],
    interpreter: str,
) -> ProcessPlan:
    """Plan the process of the relay.

    Args:
        template: the process, but for what it runs and how it is looked after.
        relayed: what its outputs have.
        until: by output, the processes of which the last one ends it.
        names: of the processes.
        interpreter: the Python that runs it.
    """
    told = [
        {
            "output": one.output,
            "node": one.node,
            "left_out": sorted(one.left_out),
            "level": one.level.value,
            "are_records": one.are_records,
            "until": sorted(names[number] for number in until[one.output]),
        }
        for one in relayed
    ]
    return replace(
        template,
        argv=(
            interpreter,
            "-u",
            "-m",
            "dora_rt.node.log_relay",
            json.dumps(told, separators=(",", ":")),
        ),
        supervision=Supervision(restart=RestartPolicy.ON_FAILURE),
        resources=Resources(),
    )
