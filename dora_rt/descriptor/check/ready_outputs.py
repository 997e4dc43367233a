"""The outputs of the ready nodes, which a dataflow file need not declare."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from dora_rt.descriptor.read.node_keys import ReadNode
from dora_rt.descriptor.tree.model import Output, OutputSource

_PREFIX = "dora_rt.nodes."
# By module, the usual one first; None: whatever is read. A test compares it with the nodes.
READY_OUTPUTS: dict[str, tuple[str, ...] | None] = {
    "webcam": ("image",),
    "object_detection": ("bbox", "masks", "keypoints", "oriented", "classes"),
    "tracker": ("tracks",),
    "transform": ("image",),
    "http": ("answer",),
    "teleop": ("twist",),
    "ros2": None,
    "serial": None,
    "replay": None,
}


def declare_ready_outputs(read_nodes: Sequence[ReadNode]) -> list[ReadNode]:
    """Return the nodes, with outputs for ready nodes of which the file declares none.

    These are the outputs that others read, or the usual one if nobody reads any: an output for
    masks makes the detector compute them.
    """
    wanted: dict[str, list[str]] = {}
    for each in read_nodes:
        node = each.node
        inputs = [*node.inputs, *(entry for one in node.operators for entry in one.inputs)]
        for entry in inputs:
            if isinstance(entry.source, OutputSource):
                wanted.setdefault(entry.source.node, []).append(_name(entry.source))
    return [_declare(each, wanted.get(each.node.id, ())) for each in read_nodes]


def _name(source: OutputSource) -> str:
    return "/".join(filter(None, (source.operator, source.output)))


def _declare(read_node: ReadNode, wanted: Collection[str]) -> ReadNode:
    node = read_node.node
    if node.program is None or node.program.module is None or node.outputs:
        return read_node
    prefix, _, name = node.program.module.rpartition(".")
    if f"{prefix}." != _PREFIX or name not in READY_OUTPUTS:
        return read_node
    known = READY_OUTPUTS[name]
    if known is None:
        names = list(dict.fromkeys(wanted))
    else:
        names = [one for one in known if one in wanted] or [known[0]]
    outputs = tuple(Output(one, node.program.place, is_declared=False) for one in names)
    return replace(read_node, node=replace(node, outputs=outputs))
