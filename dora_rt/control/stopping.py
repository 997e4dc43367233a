"""The stop ladder: a stop event, then SIGTERM, then SIGKILL, each node at its own pace."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.control.memory import RunMemory
from dora_rt.control.plan import ProcessPlan
from dora_rt.control.process import Rung
from dora_rt.control.supervised import SupervisedNode, Wish


class StopLadder:
    """Stops sources first; who still has one drains, and ends by itself or after its grace."""

    def __init__(self, nodes: Sequence[SupervisedNode], memory: RunMemory) -> None:
        self._nodes = nodes
        self._memory = memory
        self._since_ns: int | None = None

    @property
    def is_stopping_all(self) -> bool:
        """Tell whether the dataflow is being stopped, and not only a node by hand."""
        return self._since_ns is not None

    def stop_all(self, now_ns: int) -> None:
        """Begin to stop the dataflow."""
        self._since_ns = now_ns

    def next_deadline_ns(self) -> int | None:
        """Tell when `advance` has something to do that no event announces."""
        deadlines = []
        for node in self._nodes:
            if node.process is None or not node.is_running:
                continue
            if node.rung is Rung.NONE:
                if self._since_ns is not None:
                    deadlines.append(self._since_ns + _grace_ns(node))
            elif node.process.rung_deadline_ns is not None:
                deadlines.append(node.process.rung_deadline_ns)
        return min(deadlines, default=None)

    def advance(self, now_ns: int) -> None:
        """Push each node that is due one rung further."""
        running = {node.number for node in self._nodes if node.is_running}
        for node in self._nodes:
            if node.process is None or not node.is_running:
                continue
            if node.rung is Rung.NONE:
                if self._since_ns is None:
                    continue
                is_late = now_ns >= self._since_ns + _grace_ns(node)
                if is_late or _is_first_to_stop(node.plan, running):
                    self.push(node, Rung.TOLD, now_ns)
            else:
                deadline_ns = node.process.rung_deadline_ns
                if deadline_ns is not None and now_ns >= deadline_ns:
                    is_told = node.rung is Rung.TOLD
                    self.push(node, Rung.TERMINATED if is_told else Rung.KILLED, now_ns)

    def hurry(self, now_ns: int) -> Rung:
        """Push all that still run a rung further at once; tell which one it was."""
        running = [node for node in self._nodes if node.is_running]
        were_terminated = all(node.rung in (Rung.TERMINATED, Rung.KILLED) for node in running)
        rung = Rung.KILLED if were_terminated else Rung.TERMINATED
        for node in running:
            self.push(node, rung, now_ns)
        return rung

    def push(self, node: SupervisedNode, rung: Rung, now_ns: int) -> None:
        """Push one node to a rung."""
        assert node.process is not None, "only a running node is pushed"
        comes_back = node.wish is not Wish.NONE and not self.is_stopping_all
        self._memory.stop(node.number, comes_back=comes_back)
        if rung is Rung.TOLD and not node.process.reads_events:
            # It never asks for an event, so it would never see the one that tells it to stop.
            rung = Rung.TERMINATED
        node.process.push(rung, None if rung is Rung.KILLED else now_ns + _grace_ns(node))


def _grace_ns(node: SupervisedNode) -> int:
    return int(node.plan.supervision.stop_grace_s * 1e9)


def _is_first_to_stop(plan: ProcessPlan, running: set[int]) -> bool:
    """Tell whether a node is a source, or in a circle that nothing feeds any more.

    All others read what is left for them, and end by themselves when their sources are gone.
    """
    outside = plan.upstream - plan.circle
    return not plan.upstream or (bool(plan.circle) and not outside & running)
