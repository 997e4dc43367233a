"""The requests by which somebody stops a run or a node by hand, or restarts a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.requests import Answer, Requester
from dora_rt.launcher.supervision.node_state import SupervisedNode, Wish
from dora_rt.launcher.supervision.stop_ladder import StopLadder
from dora_rt.run_status import NodeState


class Commanding:
    """The requests `stop` and `restart`; everything in the supervisor's loop.

    A node that is stopped by hand is away like a dynamic node that is not attached: who reads it
    waits, nobody waits to send to it, its restart policy does nothing, and `restart` starts it
    again. Whatever it does while it is stopped or restarted by hand is no failure of the run.
    """

    def __init__(
        self,
        nodes: Sequence[SupervisedNode],
        ladder: StopLadder,
        memory: RunMemory,
        console: Console,
        *,
        stop_run: Callable[[], None],
        on_stopped: Callable[[SupervisedNode], None],
        clock: Callable[[], int],
    ) -> None:
        """Take the requests about `nodes`.

        Args:
            nodes: all nodes of the run.
            ladder: how a node that runs is stopped.
            memory: where its peers are told.
            console: where to tell what was asked.
            stop_run: stops the whole run.
            on_stopped: called when a node without a process counts as stopped.
            clock: `time.monotonic_ns`.
        """
        self._nodes = nodes
        self._ladder = ladder
        self._memory = memory
        self._console = console
        self._stop_run = stop_run
        self._on_stopped = on_stopped
        self._clock = clock

    def answers(self) -> dict[str, Answer]:
        """Give the requests, and what answers them."""
        return {"stop": self._stop, "restart": self._restart}

    def _stop(self, requester: Requester, request: dict[str, Any]) -> None:
        if request.get("node") is None:
            requester.reply({"ok": True})
            if not self._ladder.is_stopping_all:
                self._console.notice(f"stopping: asked by process {requester.pid}")
                self._stop_run()
            return
        node = self._find(requester, request)
        if node is None:
            return
        if not node.is_running and node.state is not NodeState.BACKOFF:
            requester.refuse(f"node {node.name!r} does not run: it is {node.state.value}")
            return
        self._console.notice(f"stopping node {node.name}: asked by process {requester.pid}")
        node.wish = Wish.STOP
        if node.is_running:
            self._push(node)
        else:
            node.give_up()
            self._memory.mark_dead(node.number, returns=True, keeps_queues=False)
            self._on_stopped(node)
        requester.reply({"ok": True})

    def _restart(self, requester: Requester, request: dict[str, Any]) -> None:
        node = self._find(requester, request)
        if node is None:
            return
        if node.plan.is_dynamic:
            requester.refuse(
                f"node {node.name!r} is dynamic: end its program and start it again where it runs"
            )
            return
        self._console.notice(f"restarting node {node.name}: asked by process {requester.pid}")
        if node.wish is not Wish.RESTART:
            node.restart_by_hand(self._clock())
            node.wish = Wish.RESTART
        if node.is_running:
            self._push(node)
        requester.reply({"ok": True})

    def _push(self, node: SupervisedNode) -> None:
        if node.rung is Rung.NONE:
            self._ladder.push(node, Rung.TOLD, self._clock())

    def _find(self, requester: Requester, request: dict[str, Any]) -> SupervisedNode | None:
        name = str(request.get("node"))
        found = [node for node in self._nodes if _is_called(node, name)]
        if not found:
            known = ", ".join(node.name for node in self._nodes)
            requester.refuse(f"there is no node {name!r}; there are: {known}")
        elif self._ladder.is_stopping_all:
            requester.refuse("the dataflow is being stopped")
        else:
            return found[0]
        return None


def _is_called(node: SupervisedNode, name: str) -> bool:
    if name == node.name:
        return True
    operators = [operator.name for operator in node.plan.config.operators]
    return any(name == operator or operator.startswith(f"{name}/") for operator in operators)
