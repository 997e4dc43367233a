"""Robotics dataflows on shared memory: `from dora_rt import Node, DoraStatus`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dora_rt.event import (
        DoraStatus,
        Event,
        InputClosed,
        InputRecovered,
        MatchedEvents,
        SourceRestarted,
    )
    from dora_rt.live.attach import Watch, attach
    from dora_rt.live.run import run
    from dora_rt.node.node import Node
    from dora_rt.report import EdgeReport, ProcessReport, Report
    from dora_rt.transport.output.loan import Loan

__version__ = "0.1.0"

_HOMES = {
    "DoraStatus": "event",
    "EdgeReport": "report",
    "Event": "event",
    "InputClosed": "event",
    "InputRecovered": "event",
    "Loan": "transport.output.loan",
    "MatchedEvents": "event",
    "Node": "node.node",
    "ProcessReport": "report",
    "Report": "report",
    "SourceRestarted": "event",
    "Watch": "live.attach",
    "attach": "live.attach",
    "run": "live.run",
}
__all__ = [
    "DoraStatus",
    "EdgeReport",
    "Event",
    "InputClosed",
    "InputRecovered",
    "Loan",
    "MatchedEvents",
    "Node",
    "ProcessReport",
    "Report",
    "SourceRestarted",
    "Watch",
    "attach",
    "run",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    # On first use: the launcher is part of this package too, and must not pay for numpy.
    if name not in _HOMES:
        raise AttributeError(f"module 'dora_rt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dora_rt.{_HOMES[name]}"), name)
