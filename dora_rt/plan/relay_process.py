"""The relay: the node that sends the lines of all nodes on to those that read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dora_rt.descriptor.tree.model import (
    Descriptor,
    LogSource,
    Node,
    OutputSource,
    Place,
    Program,
    RestartPolicy,
    Supervision,
)
from dora_rt.log_record import LogLevel

# No node can be called like this.
RELAY = "dora"


@dataclass(frozen=True, slots=True)
class Relayed:
    """The lines that one output of the relay carries.

    Attributes:
        output: name of the output.
        node: the process whose lines these are; None: all processes.
        left_out: the processes whose lines are left out.
        level: quieter lines are left out.
        are_records: whether each line comes as a record of a log.
    """

    output: str
    node: str | None
    left_out: frozenset[str]
    level: LogLevel
    are_records: bool


def needs_relay(descriptor: Descriptor) -> bool:
    """Whether any input reads the lines of nodes."""
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
    """Return the outputs that carry the lines of a node, each with whether as log records."""
    return {
        OutputSource(node.id, line.output, line.operator): line.are_records
        for line in node.line_outputs
    }


def relay_node(
    relayed: Iterable[Relayed],
    until: Mapping[str, frozenset[int]],
    names: Mapping[int, str],
    place: Place,
) -> Node:
    """Return the relay as a node that is planned like those of the file.

    Args:
        relayed: the content of each output.
        until: by output, the processes of which the last one ends it.
        names: of the processes.
        place: where errors about it point to.
    """
    outputs = [
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
    arguments = (json.dumps(outputs, separators=(",", ":")),)
    return Node(
        id=RELAY,
        name=None,
        description=None,
        env=(),
        program=Program(None, "dora_rt.node.log_relay", arguments, place),
        inputs=(),
        outputs=(),
        operators=(),
        runtime=None,
        place=place,
        supervision=Supervision(restart=RestartPolicy.ON_FAILURE),
    )
