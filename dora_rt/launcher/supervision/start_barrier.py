"""Whom the start of a dataflow waits for, and what is told meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.run_status import NodeState

_FIRST_PROGRESS_NS = 5_000_000_000
_PROGRESS_NS = 10_000_000_000


class Starting:
    """The time from the first process until all nodes are ready, so that none misses anything.

    A node that has ended meanwhile is not waited for, even if it is started again: a robot moves
    without the camera that is not plugged in. So it lasts at most as long as the longest
    `startup_timeout`, whatever the nodes do.
    """

    def __init__(self, nodes: Sequence[SupervisedNode], console: Console, began_ns: int) -> None:
        self._nodes = nodes
        self._console = console
        self._began_ns = began_ns
        self.progress_ns = began_ns + _FIRST_PROGRESS_NS
        """When `is_over` has something to tell next."""

    def is_over(self, now_ns: int) -> bool:
        """Tell whether the flow can begin; tell the user now and then if it cannot."""
        waiting = [node.name for node in self._nodes if _holds_up(node)]
        if waiting and now_ns >= self.progress_ns:
            self.progress_ns += _PROGRESS_NS
            waited_s = (now_ns - self._began_ns) / 1e9
            self._console.notice(
                f"waiting for {', '.join(waiting)} to be ready ({waited_s:.0f} s; a node is ready "
                "when it asks for its first input, or sends)"
            )
        return not waiting


def _holds_up(node: SupervisedNode) -> bool:
    if not node.plan.has_ports or node.plan.is_dynamic or node.has_fallen:
        return False
    # One that was killed and does not end, as in a driver that hangs, is not ready either.
    return node.state in (NodeState.STARTING, NodeState.BACKOFF) and node.rung is not Rung.KILLED
