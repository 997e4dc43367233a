"""Wait until a dataflow flows, in a node that only sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike


def wait_for_start(node: NodeLike, output_id: str) -> None:
    """Wait until all nodes of the flow are ready, as the first sample would.

    What is sent before waits there, however many seconds the slowest node needs for its model; a
    clock that runs meanwhile lets what comes next go by in a burst.

    Raises:
        UnknownOutputError: the dataflow file declares no such output.
        NodeClosedError: the dataflow was stopped.
    """
    # To ask for a loan waits; a slot is taken only when its block begins.
    node.loan(output_id, 0)
