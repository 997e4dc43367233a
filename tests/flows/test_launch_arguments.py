"""Arguments of a dataflow file on the command line: used, listed, refused."""

from __future__ import annotations

import pytest

from tests.harness.flow import Flow
from tests.harness.verbs import verb

pytestmark = pytest.mark.programs

FILE = """
arguments:
  camera: {default: 0, min: 0, max: 9, help: number of the camera}
  mode: {default: fast, choices: [fast, exact]}
  viewer: true
  robot: {help: its name}
nodes:
  - {id: a, path: a.py, args: "${robot} ${camera} ${mode}", outputs: [x]}
  - {id: viewer, path: a.py, enabled: "${viewer}", inputs: {x: a/x}}
"""


@pytest.fixture
def flow(flow: Flow) -> Flow:
    flow.write("flow.yml", FILE)
    flow.write("a.py", "import sys\nfrom dora_rt import Node\nNode()\nprint('got', sys.argv[1:])")
    return flow


def test_arguments_stand_before_and_behind_the_options(flow: Flow):
    done = flow.run("robot=r2", "--stop-after", "10s", "camera=3", "viewer=false")

    assert done.exit_code == 0, done.out + done.err
    assert "a | got ['r2', '3', 'fast']" in done.out
    assert "viewer" not in done.out


def test_help_of_a_file_lists_its_arguments(flow: Flow):
    done = flow.run("--help")

    assert done.exit_code == 0
    assert "--stop-after" in done.out
    listed = done.out.partition("arguments of ")[2].splitlines()[1:]
    assert listed == [
        "  camera=0     number of the camera; whole number, 0..9",
        "  mode=fast    fast | exact",
        "  viewer=true  true or false",
        "  robot=VALUE  its name; needed",
    ]


def test_help_of_a_file_without_arguments_and_of_one_that_is_broken(flow: Flow):
    plain = flow.write("plain.yml", "nodes: [{id: a, path: a.py}]")
    broken = flow.write("broken.yml", "arguments: 5")

    first = flow.run("--help", str(plain))
    flow.write("flow.yml", plain.read_text())
    second = flow.run("-h")
    flow.write("flow.yml", broken.read_text())
    third = flow.run("--help")

    assert first.exit_code == 0
    assert second.out.endswith("flow.yml declares no arguments\n")
    assert third.exit_code == 2
    assert "flow.yml:1:12: 'arguments' of the dataflow: expected a mapping" in third.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["camera=1"], ":6:3: argument 'robot' has no default; give it: robot=VALUE (its name)"),
        (["robot=a", "camra=1"], "no argument 'camra'; did you mean 'camera'?"),
        (["robot=a", "camera=10"], "argument 'camera'=10: expected a number from 0 to 9, got 10"),
        (["robot"], "argument NAME=VALUE: 'robot' is no argument of a file: write NAME=VALUE"),
        (["robot=a", "robot=b"], "dora-launch: robot=b: the argument 'robot' is given twice"),
    ],
)
def test_run_does_not_begin_with_arguments_that_do_not_fit(flow: Flow, words: list[str], told: str):
    done = flow.run(*words)

    assert done.exit_code == 2
    assert told in done.err
    assert "got" not in done.out


def test_verbs_that_read_a_file_take_its_arguments(flow: Flow):
    file = str(flow.folder / "flow.yml")

    missing = verb("check", file)
    checked = verb("check", file, "robot=a", "viewer=false")
    launched = flow.run("robot=a b", "viewer=false", "--check")
    unit = verb("service", "print", file, "robot=a b")

    assert missing.exit_code == 2
    assert "flow.yml is fine: 1 process, 0 edges" in checked.out
    assert "flow.yml is fine: 1 process, 0 edges" in launched.out
    assert 'flow.yml "robot=a b"\n' in unit.out
