"""What a run says of itself to who asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dora_rt.control.supervised import SupervisedNode


def describe_run(run: str, file: str, nodes: Sequence[SupervisedNode]) -> dict[str, Any]:
    """Give the run's name, its dataflow file, and its nodes with their states."""
    return {
        "run": run,
        "file": str(Path(file).absolute()),
        "nodes": [
            {"id": node.name, "state": node.state.value, "is_dynamic": node.plan.is_dynamic}
            for node in nodes
        ],
    }
