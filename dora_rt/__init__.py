"""Robotics dataflows on shared memory: `from dora_rt import Node, DoraStatus`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dora_rt.event import DoraStatus, Event
    from dora_rt.live.attach import attach
    from dora_rt.live.run import run
    from dora_rt.node.node import Node

__all__ = ["DoraStatus", "Event", "Node", "attach", "run"]
__version__ = "0.1.0"

_HOMES = {
    "DoraStatus": "event",
    "Event": "event",
    "Node": "node",
    "attach": "watching",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    # On first use: the launcher is part of this package too, and must not pay for numpy.
    if name not in _HOMES:
        raise AttributeError(f"module 'dora_rt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dora_rt.{_HOMES[name]}"), name)
