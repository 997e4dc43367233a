"""How the ends of nodes are told on the console."""

from __future__ import annotations

from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.supervision.node_state import SupervisedNode, Wish
from dora_rt.report import Ending
from dora_rt.units import counted


def tell_return(console: Console, node: SupervisedNode, ending: Ending, now_ns: int) -> None:
    """Tell that a node has ended, and comes back by its policy or by hand."""
    if node.wish is Wish.STOP:
        console.notice(
            f"node {node.name} {ending.text}; `dora-rt restart {node.name}` starts it again"
        )
    elif node.wish is Wish.RESTART:
        console.notice(f"node {node.name} {ending.text}; starting it again")
    elif node.restart_at_ns is not None:
        seconds = (node.restart_at_ns - now_ns) / 1e9
        text = f"node {node.name} {ending.text}; restart {node.restarts.count} in {seconds:.1f} s"
        (console.alarm if ending.is_failure else console.notice)(text)


def tell_failure(console: Console, node: SupervisedNode, *, is_stopping: bool) -> None:
    """Tell that a node has failed for good."""
    assert node.ending is not None, "it has ended"
    given_up = ""
    if node.restarts.count and not is_stopping:
        window_s = node.plan.supervision.restart_window_s
        restarts = counted(node.restarts.count, "restart")
        given_up = f"; given up after {restarts} ({window_s:g} s window)"
    console.alarm(f"node {node.name} {node.ending.text}{given_up}")
