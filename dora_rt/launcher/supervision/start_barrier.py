"""The start barrier: no input flows before all nodes are ready, and the user is told why."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.supervision.far_machines import FarMachines
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.run_status import NodeState

_FIRST_PROGRESS_NS = 5_000_000_000
_PROGRESS_NS = 10_000_000_000


class StartBarrier:
    """Closed from the first process until all nodes are ready, so that none misses anything.

    A node that has ended meanwhile is not waited for, even if it is started again: a robot moves
    without the camera that is not plugged in. So the barrier opens after the longest
    `startup_timeout` at the latest, whatever the nodes do. Other machines of the dataflow are
    waited for as long as it takes, except those that are optional.
    """

    def __init__(
        self,
        nodes: Sequence[SupervisedNode],
        console: Console,
        began_ns: int,
        far: FarMachines | None,
    ) -> None:
        self.started_ns: int | None = None
        """When the barrier opened; None: it is closed."""
        self.began_ns = began_ns
        self.is_cut_short = False
        """Whether it was opened by a stop, before all nodes were ready."""
        self._nodes = nodes
        self._console = console
        self._progress_ns = began_ns + _FIRST_PROGRESS_NS
        self._far = far

    @property
    def next_deadline_ns(self) -> int | None:
        """When `tell_progress` has something to tell; None: never again."""
        if self.started_ns is not None:
            return None
        if self._far is None or not self.is_ready:
            return self._progress_ns
        return self._far.next_progress_ns

    @property
    def is_ready(self) -> bool:
        """Whether all nodes are ready, or have fallen."""
        return not any(map(_holds_up, self._nodes))

    @property
    def may_open(self) -> bool:
        """Whether all nodes are ready, also those of other machines."""
        return self.is_ready and (self._far is None or self._far.may_start)

    def open(self, memory: RunMemory) -> None:
        """Let the first inputs flow."""
        self.started_ns = memory.start()

    def open_for_stop(self, memory: RunMemory) -> None:
        """Let the nodes go that still wait for the start: the dataflow is being stopped."""
        if self.started_ns is None:
            self.is_cut_short = True
            self.open(memory)

    def tell_progress(self, now_ns: int) -> None:
        """Name the nodes and machines that are waited for, every now and then."""
        waiting = [node.name for node in self._nodes if _holds_up(node)]
        if not waiting and self._far is not None:
            self._far.tell_progress(now_ns)
        if waiting and now_ns >= self._progress_ns:
            self._progress_ns += _PROGRESS_NS
            waited_s = (now_ns - self.began_ns) / 1e9
            self._console.notice(
                f"waiting for {', '.join(waiting)} to be ready ({waited_s:.0f} s; a node is ready "
                "when it asks for its first input, or sends)"
            )


def _holds_up(node: SupervisedNode) -> bool:
    if not node.plan.has_ports or node.plan.is_dynamic or node.has_fallen:
        return False
    # One that was killed and does not end, as in a driver that hangs, is not ready either.
    return node.state in (NodeState.STARTING, NodeState.BACKOFF) and node.rung is not Rung.KILLED
