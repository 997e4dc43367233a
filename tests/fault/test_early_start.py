"""The fork server that begins before the launcher knows whether it needs one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dora_rt.launcher.processes import early_start
from dora_rt.launcher.processes.environ import COMPAT_FOLDER, inherited_environ, node_environ
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.processes import children, is_alive
from tests.harness.waiting import eventually

needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="with one core nothing begins early"
)


Servers = Callable[[], list[int]]


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Give the living processes that the test has started; end a server that still waits."""
    before = set(children(os.getpid()))

    def living() -> list[int]:
        found = set(children(os.getpid())) - before
        return [pid for pid in found if is_alive(pid)]

    yield living
    early_start.dismiss()


@needs_two_cores
@pytest.mark.programs
def test_server_that_was_begun_is_taken_by_a_run_with_its_environment(servers: Servers):
    early_start.begin(os.environ)
    (begun,) = servers()

    server = early_start.take(
        node_environ(inherited_environ(os.environ), compat=COMPAT_FOLDER), [2]
    )

    assert server._server.pid == begun
    assert servers() == [begun]
    server.kill()
    assert servers() == []


@needs_two_cores
@pytest.mark.programs
def test_server_that_was_begun_with_another_environment_is_replaced(servers: Servers):
    early_start.begin(os.environ)
    (begun,) = servers()

    server = early_start.take(node_environ(inherited_environ(os.environ), compat=None), [2])

    assert servers() == [server._server.pid] != [begun]
    server.kill()


@pytest.mark.programs
@needs_two_cores
@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ("", False),
        ("flow.yml --check", False),
        ("flow.yml --che", False),
        ("--help", False),
        ("--vers", False),
        ("flow.yml --stop-after soon", False),
        ("flow.yml", True),
        ("--no-dora-compat flow.yml", True),
    ],
)
def test_server_begins_only_for_a_command_that_runs_something(arguments: str, begins: bool):
    program = """
import sys
from dora_rt.launcher.processes import early_start
early_start.begin = lambda environ, has_dora_compat: print("begun", has_dora_compat)
from dora_rt.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments.split()], capture_output=True, text=True
    )

    has_compat = "--no-dora-compat" not in arguments
    assert (f"begun {has_compat}" in done.stdout.splitlines()) is begins


@pytest.mark.parametrize(
    ("text", "is_worth_it"),
    [
        ("nodes: [{id: a, path: a.py}]", False),
        ('nodes:\n  - "id" : a\n    inputs: {valid: dora/timer/millis/9}\n', False),
        ("nodes: [{id: a, path: a.py}, {id: b, path: a.py}]", True),
        ("nodes: [{id: a, operators: [{'id': b, python: b.py}]}]", True),
        ("nodes: [{id: a, module: pair.yml}]", True),
        ("nodes: [{id: a, path: a.py}] #" + 65_536 * "-", True),
    ],
)
def test_file_with_one_node_is_told_before_it_is_parsed(
    tmp_path: Path, text: str, is_worth_it: bool
):
    file = tmp_path / "flow.yml"
    file.write_text(text)

    assert early_start.is_worth_it(file) is is_worth_it
    assert early_start.is_worth_it(tmp_path / "none.yml")


@pytest.mark.parametrize("file", ["flow.yml", "no_such_file.yml"])
def test_command_that_needs_no_server_leaves_none(isolated: IsolatedFlow, file: str):
    isolated.write("flow.yml", "nodes: [{id: alone, path: /bin/true}]")

    done = subprocess.run(
        [sys.executable, "-m", "dora_rt", file],
        cwd=isolated.folder,
        env=isolated.environ,
        capture_output=True,
        timeout=30,
    )

    assert done.returncode == (0 if file == "flow.yml" else 2)
    assert isolated.processes() == {}


# What the launcher imports last, and its fork server never.
HELD_UP = """
    import sys, time
    from pathlib import Path
    while not Path("go on").exists():
        time.sleep(0.005)
    sys.path.remove(str(Path(__file__).parent))
    del sys.modules["yaml"]
    import yaml
"""


def start_held_up(isolated: IsolatedFlow, *arguments: str) -> subprocess.Popen[str]:
    """Start a launcher that stays in its imports, with its server, until it may go on."""
    isolated.write_ticking()
    modules = isolated.folder / "modules"
    modules.mkdir()
    isolated.write("modules/yaml.py", HELD_UP.replace('"go on"', repr(f"{isolated.folder}/go on")))
    launcher = isolated.start(*arguments, env={"PYTHONPATH": str(modules)})
    eventually(lambda: len(isolated.processes()) == 2)
    return launcher


@needs_two_cores
def test_launcher_killed_while_it_imports_leaves_no_server(isolated: IsolatedFlow):
    launcher = start_held_up(isolated)

    isolated.kill(launcher.pid)

    eventually(lambda: not isolated.processes())


@needs_two_cores
def test_server_that_is_killed_before_it_is_taken_costs_only_time(isolated: IsolatedFlow):
    launcher = start_held_up(isolated, "--stop-after", "50ms")
    (server,) = isolated.processes().keys() - {launcher.pid}

    os.kill(server, signal.SIGKILL)
    isolated.write("go on", "")

    out, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 0, out
    assert isolated.has("received")
