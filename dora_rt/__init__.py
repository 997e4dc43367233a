"""Robotics dataflows on shared memory: `from dora_rt import Node, DoraStatus`.

Exceptions are in `dora_rt.errors`, and what tests of nodes need in `dora_rt.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dora_rt.event import (
        DoraStatus,
        Event,
        Feedback,
        GoalRequest,
        InputClosed,
        InputRecovered,
        MatchedEvents,
        ParameterChanged,
        Request,
        Result,
        SourceRestarted,
    )
    from dora_rt.interface import NodeLike
    from dora_rt.live.attach import Watch, attach
    from dora_rt.live.run import run
    from dora_rt.node.goals import Goal
    from dora_rt.node.node import Node
    from dora_rt.report import EdgeReport, Ending, ProcessReport, Report, TraceReport, Usage
    from dora_rt.transport.output.loan import Loan

__version__ = "0.1.0"

_HOMES = {
    "DoraStatus": "event",
    "EdgeReport": "report",
    "Ending": "report",
    "Event": "event",
    "Feedback": "event",
    "Goal": "node.goals",
    "GoalRequest": "event",
    "InputClosed": "event",
    "InputRecovered": "event",
    "Loan": "transport.output.loan",
    "MatchedEvents": "event",
    "Node": "node.node",
    "NodeLike": "interface",
    "ParameterChanged": "event",
    "ProcessReport": "report",
    "Report": "report",
    "Request": "event",
    "Result": "event",
    "SourceRestarted": "event",
    "TraceReport": "report",
    "Usage": "report",
    "Watch": "live.attach",
    "attach": "live.attach",
    "run": "live.run",
}
__all__ = [
    "DoraStatus",
    "EdgeReport",
    "Ending",
    "Event",
    "Feedback",
    "Goal",
    "GoalRequest",
    "InputClosed",
    "InputRecovered",
    "Loan",
    "MatchedEvents",
    "Node",
    "NodeLike",
    "ParameterChanged",
    "ProcessReport",
    "Report",
    "Request",
    "Result",
    "SourceRestarted",
    "TraceReport",
    "Usage",
    "Watch",
    "attach",
    "run",
]


_MODULES = ("errors", "testing")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    # On first use: the launcher is part of this package too, and must not pay for numpy.
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"dora_rt.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'dora_rt' has no attribute {name!r}")
    return getattr(import_module(f"dora_rt.{_HOMES[name]}"), name)
