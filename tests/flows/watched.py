"""A small dataflow for the tests of what looks at running ones, and how to ask about it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from dora_rt.cli import main
from dora_rt.runs import Connection, base_folder, find_runs
from tests.helpers import eventually

SOURCE = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    for number, event in enumerate(node):
        picture = np.full((6, 8, 3), number % 200, np.uint8)
        node.send_output("image", picture, {"number": number})
        node.send_output("text", f"number {number}".encode())
        node.send_output("numbers", np.array([number, np.nan, 1.5], np.float32))
        node.send_output("bbox", np.array([[1, 1, 5, 4, 0.9, 0]], np.float32), {"labels": ["toy"]})
"""
SINK = """
    from dora_rt import Node
    for event in Node():
        pass
"""
YAML = """
    nodes:
      - id: camera
        path: camera.py
        inputs: {tick: dora/timer/millis/10}
        outputs: [image, text, numbers, bbox]
      - id: sink
        path: sink.py
        inputs: {image: {source: camera/image, queue_policy: block}}
"""


def started_run(pid: int) -> str:
    """Wait until the nodes of a launcher send, and give the name of its run."""
    found: list[str] = []

    def is_running() -> bool:
        for run in find_runs(base_folder(os.environ)):
            status = status_of(run)
            if status.get("pid") == pid and all(one["sent"] for one in status["outputs"]):
                found.append(run)
        return bool(found)

    eventually(is_running, within_s=20)
    return found[0]


def status_of(run: str) -> dict[str, Any]:
    connection = Connection.open(base_folder(os.environ), run)
    if connection is None:
        return {}
    with connection:
        return connection.ask("status")[0]


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from dora_rt.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def tool_here(capsys: pytest.CaptureFixture[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Do what `tool` does, in this process, which has paid for its imports already."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_code:
        main(words)
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(words, exit_code.value.code, printed.out, printed.err)
