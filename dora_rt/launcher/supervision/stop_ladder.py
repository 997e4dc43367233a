"""The stop ladder: a stop event, SIGINT, SIGTERM, SIGKILL, each node at its own pace."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.supervision.node_state import Process, SupervisedNode, Wish
from dora_rt.plan.plan import ProcessPlan

_LOOK_AGAIN_NS = 20_000_000


class StopLadder:
    """Stops sources first; all others drain, and end by themselves or after their grace."""

    def __init__(self, nodes: Sequence[SupervisedNode], memory: RunMemory) -> None:
        self._nodes = nodes
        self._memory = memory
        self._since_ns: int | None = None

    @property
    def is_stopping_all(self) -> bool:
        """Whether the dataflow is being stopped, and not only a node by hand."""
        return self._since_ns is not None

    def stop_all(self, now_ns: int) -> None:
        """Begin to stop the dataflow."""
        self._since_ns = now_ns

    def next_deadline_ns(self, now_ns: int) -> int | None:
        """Return when `advance` has something to do that no event announces."""
        deadlines = []
        for node in self._nodes:
            if node.process is None or not node.is_running:
                continue
            if node.rung is Rung.NONE:
                if self._since_ns is not None:
                    deadlines.append(self._since_ns + _grace_ns(node))
            elif node.process.rung_deadline_ns is not None:
                deadlines.append(node.process.rung_deadline_ns)
            if node.child is not None and node.child.is_to_be_looked_at:
                deadlines.append(now_ns + _LOOK_AGAIN_NS)
        return min(deadlines, default=None)

    def advance(self, now_ns: int) -> None:
        """Push each node that is due one rung further."""
        running = {node.number for node in self._nodes if node.is_running}
        for node in self._nodes:
            if node.process is None or not node.is_running:
                continue
            if node.child is not None:
                node.child.ask_rest()
                if node.child.is_lingering and node.rung in (Rung.NONE, Rung.TOLD):
                    # Nobody has asked the programs that it had started and did not wait for.
                    self.push(node, node.child.gentlest_rung(), now_ns)
                    continue
            if node.rung is Rung.NONE:
                if self._since_ns is None:
                    continue
                is_late = now_ns >= self._since_ns + _grace_ns(node)
                if is_late or self._is_first_to_stop(node.plan, running):
                    self.push(node, Rung.TOLD, now_ns)
            else:
                deadline_ns = node.process.rung_deadline_ns
                if deadline_ns is not None and now_ns >= deadline_ns:
                    self.push(node, _next_rung(node.process), now_ns)

    def hurry(self, now_ns: int) -> Rung:
        """Signal at once the nodes that were not signalled yet; if all were, kill them.

        A node that has been signalled cleans up: another signal would only break that off.

        Returns:
            The last rung that was reached.
        """
        running = [node for node in self._nodes if node.is_running]
        unsignalled = [node for node in running if node.rung in (Rung.NONE, Rung.TOLD)]
        for node in unsignalled or running:
            assert node.process is not None, "it is running"
            rung = node.process.gentlest_rung() if unsignalled else Rung.KILLED
            self.push(node, rung, now_ns)
        return Rung.TERMINATED if unsignalled else Rung.KILLED

    def push(self, node: SupervisedNode, rung: Rung, now_ns: int) -> None:
        """Push one node to a rung."""
        assert node.process is not None, "only a running node is pushed"
        comes_back = node.wish is not Wish.NONE and not self.is_stopping_all
        self._memory.tell_to_stop(node.number, comes_back=comes_back)
        if rung is Rung.TOLD and not node.process.reads_events:
            # It never asks for an event, so it would never see the one that tells it to stop.
            rung = node.process.gentlest_rung()
        node.process.push(rung, None if rung is Rung.KILLED else now_ns + _grace_ns(node))

    def _is_first_to_stop(self, plan: ProcessPlan, running: set[int]) -> bool:
        """Whether a node is a source, or in a circle that nothing feeds any more.

        All others read the rest of their queues, and end by themselves when their sources are gone.
        """
        if not plan.upstream:
            return True
        return bool(plan.circle.members) and not plan.circle.feeders & running


def _next_rung(process: Process) -> Rung:
    match process.rung:
        case Rung.TOLD:
            return process.gentlest_rung()
        case Rung.INTERRUPTED:
            return Rung.TERMINATED
        case _:
            return Rung.KILLED


def _grace_ns(node: SupervisedNode) -> int:
    return int(node.plan.supervision.stop_grace_s * 1e9)
