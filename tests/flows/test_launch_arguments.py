"""Arguments of a dataflow file on the command line: used, listed, refused."""

from __future__ import annotations

import pytest

import dora_rt
from tests.harness.flow import Flow
from tests.harness.verbs import verb, verb_apart

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

    drawn = verb("graph", file, "robot=a", "viewer=false")
    looked = verb("doctor", file, "robot=a", "--json")

    assert "viewer" not in drawn.out
    assert looked.exit_code in (0, 1)
    assert "no default" not in looked.err
    assert missing.exit_code == 2
    assert "flow.yml is fine: 1 process, 0 edges" in checked.out
    assert "flow.yml is fine: 1 process, 0 edges" in launched.out
    assert 'flow.yml "robot=a b"\n' in unit.out


def test_arguments_of_a_run_are_those_with_which_it_began(flow: Flow):
    for words in (("record", "robot", "a=b"), ("graph", "robot", "a=b")):
        done = verb(*words)

        assert (done.exit_code, done.out) == (2, "")
        assert done.err.endswith("a=b: a run has its arguments already\n")


def test_recorded_flow_takes_arguments_and_so_does_its_replay(flow: Flow):
    pytest.importorskip("mcap", reason="the extra [record] is not installed")
    flow.write(
        "flow.yml",
        """
        arguments: {word: {help: what is said}}
        nodes:
          - {id: a, path: a.py, args: "${word}", outputs: [x]}
          - {id: b, path: b.py, args: "${word}", inputs: {x: a/x}}
        """,
    )
    flow.write(
        "a.py",
        "import sys\nfrom dora_rt import Node\nNode().send_output('x', sys.argv[1].encode())",
    )
    flow.write(
        "b.py",
        """
        import sys
        from dora_rt import Node
        for event in Node():
            print(event.value, sys.argv[1])
        """,
    )
    file, recording = str(flow.folder / "flow.yml"), str(flow.folder / "kept.mcap")

    recorded = verb_apart("record", file, "word=hello", "-o", recording)
    replayed = verb_apart("replay", recording, file, "word=again")

    assert recorded.exit_code == 0, recorded.out + recorded.err
    assert replayed.exit_code == 0, replayed.out + replayed.err
    assert "b'hello' again" in replayed.out


def test_run_from_python_takes_arguments(flow: Flow):
    report = dora_rt.run(
        flow.folder / "flow.yml",
        quiet=True,
        arguments={"robot": "r2", "camera": 4, "viewer": False},
        log_dir=flow.folder / "logs",
    )

    assert [one.name for one in report.processes] == ["a"]
    assert "got ['r2', '4', 'fast']" in (flow.folder / "logs" / "a.log").read_text()
