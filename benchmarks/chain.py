"""A node that hands on what it gets, with nothing else imported, in dora_rt's API or in dora's.

python -m benchmarks.chain dora_rt FOLDER NUMBER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def make_dataflow(
    api: str, folder: Path, nodes: int, source: dict[str, Any], *, keys: dict[str, Any]
) -> dict[str, Any]:
    """Give the dataflow file of a chain of nodes; `source` has the inputs of the first one."""
    program = ["-u", "-m", "benchmarks.chain", api, str(folder)]

    def node(number: int) -> dict[str, Any]:
        arguments = [*program, str(number)]
        start: dict[str, Any] = {"path": sys.executable, "args": " ".join(arguments)}
        if api == "dora_rt":
            start = {"module": "benchmarks.chain", "args": arguments[3:]}
        inputs = source if number == 0 else {"value": f"node{number - 1}/value"}
        wiring = {"outputs": ["value"], **({"inputs": inputs} if inputs else {})}
        return {"id": f"node{number}", **start, **wiring, **keys}

    return {"nodes": [node(number) for number in range(nodes)]}


def main(api: str, folder: str, number: str) -> None:
    """Hand on each value, and note when the first one was there, and which process this is."""
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    arrived = Path(folder) / f"{number}.arrived"
    run = _run_dora_rt if api == "dora_rt" else _run_dora
    run(arrived)


def _run_dora_rt(arrived: Path) -> None:
    from dora_rt import Node

    node = Node()
    if not node.input_ids():
        node.send_output("value", bytes(8))
    for _ in node:
        _note(arrived)
        node.send_output("value", bytes(8))


def _run_dora(arrived: Path) -> None:
    from dora import Node

    node = Node()
    if not node.node_config()["inputs"]:
        node.send_output("value", bytes(8))
        return
    for event in node:
        if event["type"] == "INPUT":
            _note(arrived)
            node.send_output("value", bytes(8))


def _note(arrived: Path) -> None:
    now = time.monotonic_ns()
    if not arrived.exists():
        draft = arrived.with_suffix(".draft")
        draft.write_text(str(now))
        draft.rename(arrived)


if __name__ == "__main__":
    main(*sys.argv[1:4])
