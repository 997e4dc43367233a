"""`working_dir`: where a node runs, however it is started."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.harness.finished import Finished
from tests.harness.flow import Flow

NODE = """
    import os, sys
    print(os.getcwd(), sys.argv[1:], open("here").read().strip())
"""


def test_node_runs_in_its_working_dir_and_finds_there_its_module_and_its_arguments(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: here, path: node.py}
          - {id: warm, path: node.py, args: x, working_dir: sub/deep}
          - {id: plain, path: node.py, working_dir: sub, env: {PYTHONNODEBUGRANGES: ''}}
          - {id: module, module: mine, working_dir: sub}
          - {id: program, path: ./program, working_dir: sub}
          - {id: command, path: cat, args: here, working_dir: sub}
          - {id: operator, operator: {module: own, inputs: {x: op/x}}, working_dir: sub}
          - id: op
            operator: {python: op.py, inputs: {t: dora/timer/millis/1}, outputs: [x]}
            working_dir: sub/deep
        """,
    )
    (flow.folder / "sub/deep").mkdir(parents=True)
    for name, text in {"": "outside", "sub/": "inside", "sub/deep/": "deep inside"}.items():
        flow.write(f"{name}here", text)
    for name in ("node.py", "sub/mine.py"):
        flow.write(name, NODE)
    flow.write("program", '#!/bin/sh\necho "$PWD" "$(cat here)"\n').chmod(0o700)
    operator = """
        import os
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                print(os.getcwd())
                SEND
                return DoraStatus.STOP
    """
    flow.write("op.py", operator.replace("SEND", "send_output('x', b'x')"))
    flow.write("sub/own.py", operator.replace("SEND", ""))

    done = flow.run()

    assert done.exit_code == 0, done.out
    folder = flow.folder.resolve()
    assert done.lines("here") == [f"{folder} [] outside"]
    assert done.lines("warm") == [f"{folder}/sub/deep ['x'] deep inside"]
    assert done.lines("plain") == [f"{folder}/sub [] inside"]
    assert done.lines("module") == [f"{folder}/sub [] inside"]
    assert done.lines("program") == [f"{folder}/sub inside"]
    assert done.lines("command") == ["inside"]
    assert done.lines("operator") == [f"{folder}/sub"]
    assert done.lines("op") == [f"{folder}/sub/deep"]


def test_working_dir_of_a_modules_node_begins_at_the_module(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: camera, module: parts/part.yml}]")
    (flow.folder / "parts/sub").mkdir(parents=True)
    flow.write(
        "parts/part.yml",
        """
        module: {name: part, inputs: [], outputs: []}
        nodes: [{id: a, path: node.py, working_dir: sub}]
        """,
    )
    flow.write("parts/node.py", NODE)
    flow.write("parts/sub/here", "inside")

    done = flow.run()

    assert done.lines("camera.a") == [f"{flow.folder.resolve()}/parts/sub [] inside"], done.out


OTHER = """
    from dora_rt import Node
    for event in Node():
        print("goes on")
"""


def run_until_it_is_given_up(flow: Flow) -> Finished:
    """Run it until the node without a program is given up and the other works, and stop it."""
    launcher = flow.start()
    assert launcher.stdout is not None
    missing = {"given up after 2 restarts", "goes on"}
    before = []
    while missing:
        before.append(next(launcher.stdout))
        missing = {text for text in missing if text not in before[-1]}
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=30)
    return Finished(launcher.returncode, "".join(before) + out, err)


@pytest.mark.parametrize("kind", ["path: node.py", "path: ./program"])
def test_node_whose_folder_is_removed_before_its_restart_fails_alone(flow: Flow, kind: str):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: gone
            {kind}
            working_dir: sub
            restart: on-failure
            restart_delay: 10ms
            max_restarts: 2
          - {{id: other, path: other.py, inputs: {{tick: dora/timer/millis/10}}}}
        """,
    )
    (flow.folder / "sub").mkdir()
    flow.write("node.py", "import os\nos.rmdir(os.getcwd())\nraise SystemExit(3)\n")
    flow.write("program", '#!/bin/sh\nrmdir "$PWD"\nexit 3\n').chmod(0o700)
    flow.write("other.py", OTHER)

    done = run_until_it_is_given_up(flow)

    assert not (flow.folder / "sub").exists(), "the fault took place"
    assert "sub" in done.out[done.out.index("node gone failed") :]
    assert done.ending("other") == "stopped"


def test_node_whose_program_is_removed_before_its_restart_fails_alone(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: gone
            path: ./program
            restart: on-failure
            restart_delay: 10ms
            max_restarts: 2
          - {id: other, path: other.py, inputs: {tick: dora/timer/millis/10}}
        """,
    )
    flow.write("program", '#!/bin/sh\nrm "$0"\nexit 3\n').chmod(0o700)
    flow.write("other.py", OTHER)

    done = run_until_it_is_given_up(flow)

    assert not (flow.folder / "program").exists(), "the fault took place"
    program = flow.folder.resolve() / "program"
    assert done.ending("gone") == f"failed: cannot be started: {program}: No such file or directory"
    assert done.ending("other") == "stopped"


def test_program_that_comes_back_is_started_again(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: back, path: ./program, restart: on-failure, restart_delay: 10ms, max_restarts: 0}
          - {id: other, path: other.py, inputs: {tick: dora/timer/millis/10}}
        """,
    )
    good = flow.write("good", "#!/bin/sh\necho again\n")
    good.chmod(0o700)
    flow.write("program", '#!/bin/sh\nrm "$0"\nexit 3\n').chmod(0o700)
    flow.write("other.py", OTHER)
    launcher = flow.start()
    assert launcher.stdout is not None

    next(line for line in launcher.stdout if "cannot be started" in line)
    shutil.move(good, flow.folder / "program")

    assert next(line for line in launcher.stdout if "again" in line)
