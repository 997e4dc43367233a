"""What has become another user, as by sudo: the launcher may not signal it."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.control.console import Console
from dora_rt.control.ending import Rung
from dora_rt.control.process import NodeProcess
from dora_rt.control.process_group import describe_foreign
from dora_rt.control.supervised import SupervisedNode


class Reach:
    """Tells of such processes, and finds the nodes that nobody waits for any more."""

    def __init__(self, nodes: Sequence[SupervisedNode], console: Console) -> None:
        self._nodes = nodes
        self._console = console
        self._told: set[int] = set()

    def leave_behind(self) -> list[tuple[SupervisedNode, NodeProcess]]:
        """Give the nodes that should be dead by now and cannot be killed; they count as ended."""
        left = []
        for node in self._nodes:
            process = node.process
            if not isinstance(process, NodeProcess) or not process.is_running:
                continue
            beyond = process.out_of_reach()
            if process.pid in beyond and process.rung is Rung.KILLED:
                process.leave_behind()
                left.append((node, process))
                continue
            for pid in beyond:
                if pid not in self._told:
                    self._told.add(pid)
                    where = f"node {node.name}: {describe_foreign(pid)}"
                    self._console.alarm(f"{where}; waiting for it to end by itself")
        return left
