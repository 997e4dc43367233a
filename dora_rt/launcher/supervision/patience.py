"""How long the launcher waits for a sign of life."""

from __future__ import annotations

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.starter import NodeProcess
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.run_status import NodeState


def patience_ends_ns(node: SupervisedNode, started_ns: int | None, memory: RunMemory) -> int | None:
    """Tell when a node counts as hung: not ready in time, or without a heartbeat."""
    supervision = node.plan.supervision
    if not node.is_running or node.rung is not Rung.NONE or node.plan.is_dynamic:
        return None
    if node.state is NodeState.STARTING and node.plan.has_ports:
        return node.began_ns + int(supervision.startup_timeout_s * 1e9)
    if (
        node.state is NodeState.RUNNING
        and supervision.heartbeat_timeout_s is not None
        and started_ns is not None
    ):
        last_ns = max(started_ns, node.began_ns, memory.last_beat_ns(node.number))
        return last_ns + int(supervision.heartbeat_timeout_s * 1e9)
    return None


def end_hung(node: SupervisedNode) -> None:
    """Kill a node that counts as hung; its ending says why."""
    assert isinstance(node.process, NodeProcess), "only what the launcher started can hang"
    supervision = node.plan.supervision
    if node.state is NodeState.STARTING:
        why = f"not ready within {supervision.startup_timeout_s:g} s"
    else:
        why = f"hung: no heartbeat for {supervision.heartbeat_timeout_s:g} s"
    node.process.kill_because(why)
