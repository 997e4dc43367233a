"""The requests `stop` and `restart`, by which somebody stops a run or a node by hand.

A node that is stopped by hand is away like a dynamic node that is not attached: its readers wait,
its writers do not, its restart policy does nothing, and `restart` starts it again. No ending of a
node that is stopped or restarted by hand is a failure of the run.
"""

from __future__ import annotations

from typing import Any

from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.requests import Asker
from dora_rt.launcher.supervision.node_state import SupervisedNode, Wish
from dora_rt.launcher.supervision.run_parts import Run, begin_stop, end_flow_if_it_ends_with
from dora_rt.run_status import NodeState


def stop(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Stop the node that the request names, or the whole run if it names none."""
    if request.get("node") is None:
        asker.reply({"ok": True})
        if not run.is_stopping:
            run.console.notice(f"stopping: asked by {asker.who}")
            begin_stop(run, "`dora-rt stop`")
        return
    node = _find(run, asker, request)
    if node is None:
        return
    if not node.is_running and node.state is not NodeState.BACKOFF:
        asker.refuse(f"node {node.name!r} does not run: it is {node.state.value}")
        return
    run.console.notice(f"stopping node {node.name}: asked by {asker.who}")
    node.wish = Wish.STOP
    if node.is_running:
        _tell_to_end(run, node)
    else:
        node.cancel_restart()
        run.memory.mark_dead(node.number, returns=True, keeps_queues=False)
        end_flow_if_it_ends_with(run, node)
    asker.reply({"ok": True})


def restart(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Start a node again, after the end of its present process if it has one."""
    node = _find(run, asker, request)
    if node is None:
        return
    if node.plan.is_dynamic:
        asker.refuse(
            f"node {node.name!r} is dynamic: end its program and start it again where it runs"
        )
        return
    run.console.notice(f"restarting node {node.name}: asked by {asker.who}")
    if node.wish is not Wish.RESTART:
        node.restart_by_hand(run.clock())
        node.wish = Wish.RESTART
        node.is_mended = request.get("mended") is True
    if node.is_running:
        _tell_to_end(run, node)
    asker.reply({"ok": True})


def _tell_to_end(run: Run, node: SupervisedNode) -> None:
    if node.rung is Rung.NONE:
        run.ladder.push(node, Rung.TOLD, run.clock())


def _find(run: Run, asker: Asker, request: dict[str, Any]) -> SupervisedNode | None:
    name = str(request.get("node"))
    found = [node for node in run.nodes if _is_called(node, name)]
    if not found:
        known = ", ".join(node.name for node in run.nodes)
        asker.refuse(f"there is no node {name!r}; there are: {known}")
    elif run.is_stopping:
        asker.refuse("the dataflow is being stopped")
    else:
        return found[0]
    return None


def _is_called(node: SupervisedNode, name: str) -> bool:
    if name == node.name:
        return True
    operators = [operator.name for operator in node.plan.config.operators]
    return any(name == operator or operator.startswith(f"{name}/") for operator in operators)
