"""`--watch` and `dora-rt watch`: who saves a file sees its node, and only that, start again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dora_rt.cli.imported_files import source_files
from dora_rt.run_status import OperatorProgram, Program
from tests.harness.flow import Flow
from tests.harness.verbs import process, start, status, statuses
from tests.harness.waiting import eventually

FLOW = """
    nodes:
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
      - id: pair
        operators:
          - {id: first, python: first.py, inputs: {in: source/out}, outputs: [out]}
          - {id: second, python: second.py, inputs: {in: pair/first/out}}
      - id: sink
        path: sink.py
        inputs: {out: {source: source/out, queue_policy: block}}
"""
SOURCE = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("out", b"x")
"""
SINK = """
    from words import GREETING
    from dora_rt import Node
    print(GREETING)
    for event in Node():
        pass
"""
OPERATOR = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            return DoraStatus.CONTINUE
"""


@pytest.fixture
def written(flow: Flow) -> Flow:
    flow.write("flow.yml", FLOW)
    flow.write("source.py", SOURCE)
    flow.write("sink.py", SINK)
    flow.write("words.py", "GREETING = 'hello'\n")
    flow.write("first.py", OPERATOR)
    flow.write("second.py", OPERATOR)
    return flow


def pids() -> dict[str, int]:
    return {one["name"]: one["pid"] for one in status()["processes"] if one["name"] != "dora"}


def is_running() -> bool:
    return [one["state"] for one in statuses()] == ["running"] and all(
        one["state"] == "running" for one in status()["processes"]
    )


def test_saved_file_restarts_its_node_or_operators_alone(written: Flow):
    launcher = written.start("--watch", "--stop-after", "30s")
    assert launcher.stdout is not None
    lines = []
    for line in iter(launcher.stdout.readline, ""):
        lines.append(line)
        if line.startswith("watch: "):
            break
    assert lines[-1:] == ["watch: 5 files of 3 nodes; a change restarts its node\n"], lines
    eventually(is_running)
    before = pids()

    written.write("words.py", "GREETING = 'good evening'\n")
    said = iter(launcher.stdout.readline, "")
    assert "watch: words.py changed: restarting sink\n" in said, launcher.communicate()
    assert any(line.endswith("| good evening\n") for line in said)
    eventually(is_running)
    after = pids()
    assert after["sink"] != before["sink"]
    assert {**after, "sink": 0} == {**before, "sink": 0}

    written.write("second.py", OPERATOR + "    # other\n")
    assert "watch: second.py changed: restarting pair\n" in said
    eventually(lambda: process("pair")["pid"] not in (None, before["pair"]))
    eventually(is_running)
    assert {**pids(), "pair": 0} == {**after, "pair": 0}

    launcher.terminate()
    out, err = launcher.communicate(timeout=30)
    assert launcher.returncode == 143, out + err
    assert not [line for line in out.splitlines() if "failed" in line]


def test_syntax_error_restarts_nothing_and_a_touched_file_neither(written: Flow):
    written.start("--stop-after", "30s")
    eventually(is_running)
    before = pids()
    with start("watch", "flow.yml") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("watch: 5 files")

        (written.folder / "source.py").touch()
        written.write("sink.py", "for event in Node(:\n")
        line = watch.stdout.readline()
        assert line.startswith("watch: sink.py:1: ")
        assert line.endswith("; its nodes go on as before\n")
        written.write("flow.yml", FLOW + "    # other\n")
        line = watch.stdout.readline()
        assert line == "watch: flow.yml has changed: that takes a new start of the run\n"
        assert pids() == before

        written.write("sink.py", SINK + "    # whole again\n")
        assert watch.stdout.readline() == "watch: sink.py changed: restarting sink\n"
        eventually(lambda: process("sink")["pid"] not in (None, before["sink"]))
        eventually(is_running)

        written.close()
        assert watch.wait(30) == 0


def test_line_is_one_write_since_the_launcher_writes_to_the_same_place(written: Flow):
    written.start()
    eventually(is_running)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        watch = subprocess.Popen(
            [sys.executable, "-m", "dora_rt.cli", "watch", "flow.yml"],
            stdout=theirs,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        ours.settimeout(20)

        write = ours.recv(4096)

        assert write == b"watch: 5 files of 3 nodes; a change restarts its node\n"
        written.close()
        assert watch.wait(30) == 0


@pytest.mark.parametrize(
    ("argv", "operators", "names"),
    [
        (["-u", "{}/node.py", "--file", "x"], [], {"node.py", "beside.py", "pack/__init__.py"}),
        (
            ["-u", "-m", "pack.node"],
            [],
            {"pack/node.py", "pack/deep/__init__.py", "pack/deep/a.py"},
        ),
        (["-u", "-m", "pack.deep"], [], {"pack/deep/__main__.py", "pack/deep/a.py"}),
        (["-u", "-m", "numpy"], [], set()),
        (["-u", "-m", "no.such.module"], [], set()),
        (["-u", "-m", "dora_rt.node.runtime"], [{"path": "node.py", "module": None}], {"node.py"}),
        (
            ["-u", "-m", "dora_rt.node.runtime"],
            [{"path": None, "module": "pack.node"}],
            {"pack/node.py"},
        ),
    ],
)
def test_files_of_a_node_are_what_it_imports_of_its_own(
    tmp_path: Path, argv: list[str], operators: list[dict[str, Any]], names: set[str]
):
    files = {
        "node.py": "import numpy, beside\nfrom pack import VALUE, missing\n",
        "beside.py": "import beside\nimport json\n",
        "other.py": "",
        "pack/__init__.py": "VALUE = 1\n",
        "pack/node.py": "from .deep import a\nfrom . import VALUE\n",
        "pack/deep/__init__.py": "",
        "pack/deep/__main__.py": "from ..deep.a import x\n",
        "pack/deep/a.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    found = source_files(
        Program(
            (sys.executable, *(word.format(tmp_path) for word in argv)),
            str(tmp_path),
            tuple(OperatorProgram(**operator) for operator in operators),
        )
    )

    assert names <= {str(path.relative_to(tmp_path)) for path in found if tmp_path in path.parents}
    assert tmp_path / "other.py" not in found
    assert not [path for path in found if "site-packages" in str(path)]
