"""Compiled and Python code in one dataflow, and one process: half of the lives have each.

The modules of the hot path are loaded a second time without their cores. What both share (events,
errors, the plan, the board) is there once.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

from dora_rt.compiled import PURE_VARIABLE
from dora_rt.node_config import NodeConfig, OutputConfig
from tests.protocol import substitutes
from tests.protocol.implementation import Ends, Looker, PythonEnds, PythonLooker

_TRANSPORT = "dora_rt.transport"
_LOADED_AGAIN = (
    "dora_rt.compiled",
    f"{_TRANSPORT}.input",
    f"{_TRANSPORT}.operator_link",
    f"{_TRANSPORT}.output",
    f"{_TRANSPORT}.ports",
    f"{_TRANSPORT}.primitives.doorbell",
    f"{_TRANSPORT}.primitives.noted_operations",
    f"{_TRANSPORT}.primitives.polling",
    f"{_TRANSPORT}.ring",
    f"{_TRANSPORT}.values",
)


@cache
def load_pure() -> dict[str, ModuleType]:
    """Load the modules of the hot path once more, without compiled code."""
    import_module(f"{_TRANSPORT}.ports")
    kept = _take_out()
    with patch.dict(os.environ, {PURE_VARIABLE: "1"}):
        ports = import_module(f"{_TRANSPORT}.ports")
    assert not sys.modules["dora_rt.compiled"].IS_COMPILED
    assert ports is not kept[f"{_TRANSPORT}.ports"]
    pure = _take_out()
    sys.modules.update(kept)
    for name, module in kept.items():
        parent, _, last = name.rpartition(".")
        setattr(sys.modules[parent], last, module)
    return pure


def _take_out() -> dict[str, ModuleType]:
    names = [
        name
        for name in sys.modules
        if any(name == again or name.startswith(f"{again}.") for again in _LOADED_AGAIN)
        # An extension module is loaded once in a process.
        and not name.endswith("._cores")
    ]
    return {name: sys.modules.pop(name) for name in names}


class MixedImplementation:
    """The package, of which every other life of a process runs without compiled code."""

    def __init__(self, first: int) -> None:
        """Begin.

        Args:
            first: 0 or 1: which lives are those.
        """
        self._first = first

    def put_under(self) -> AbstractContextManager[None]:
        """Replace what both are built on."""
        return substitutes.put_under(load_pure())

    def open(self, config: NodeConfig) -> Ends:
        """Attach one process."""
        process = substitutes.here.scheduler.process
        assert process is not None, "only processes open their ends"
        if process.life % 2 != self._first:
            return PythonEnds(config)
        ports: Any = load_pure()[f"{_TRANSPORT}.ports"]
        return PythonEnds(config, ports.Ports)

    def observe(self, run: str, output: OutputConfig) -> Looker:
        """Look at an output."""
        return PythonLooker(run, output)
