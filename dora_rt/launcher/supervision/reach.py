"""Nodes that have become another user, as by sudo: the launcher may not signal them."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.kernel_view import owner_of
from dora_rt.launcher.processes.starter import NodeProcess
from dora_rt.launcher.supervision.node_state import SupervisedNode


class Reach:
    """Tells of such nodes, and finds those that the end of the run does not wait for."""

    def __init__(self, nodes: Sequence[SupervisedNode], console: Console) -> None:
        self._nodes = nodes
        self._console = console
        self._told: set[int] = set()

    def leave_behind(self, *, is_stopping: bool) -> list[tuple[SupervisedNode, NodeProcess]]:
        """Give the nodes that should be dead by now and cannot be killed; they count as ended."""
        left = []
        for node in self._nodes:
            process = node.process
            if not isinstance(process, NodeProcess) or not process.is_running:
                continue
            if not process.is_out_of_reach:
                continue
            if is_stopping and process.rung is Rung.KILLED:
                process.leave_behind()
                left.append((node, process))
            elif process.pid not in self._told:
                self._told.add(process.pid)
                self._console.alarm(
                    f"node {node.name}: process {process.pid} belongs to {owner_of(process.pid)}, "
                    "and may not be signalled; waiting for it to end by itself"
                )
        return left
