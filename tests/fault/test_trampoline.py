"""The trampoline: what a node inherits from it, and what it was tied to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dora_rt
from dora_rt.descriptor.tree.model import Resources
from dora_rt.launcher.cleanup.guard import settings_of
from dora_rt.launcher.processes.starter import find_obstacle
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.processes import is_alive
from tests.harness.waiting import eventually

pytestmark = pytest.mark.programs

TRAMPOLINE = Path(dora_rt.__file__).parent / "launcher" / "processes" / "trampoline.py"
NO_RESOURCES = Resources()


def jump(
    *program: str, resources: Resources = NO_RESOURCES, launcher: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Start a program by the trampoline, as a launcher would."""
    settings = [f"{key}={value}" for key, value in settings_of(resources)]
    pid = str(launcher or os.getpid())
    return subprocess.run(
        [sys.executable, "-I", "-S", str(TRAMPOLINE), pid, *settings, "--", *program],
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_program_dies_with_the_process_that_started_it(tmp_path: Path):
    starts = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()), '--', "
        "'sh', '-c', 'echo $$; exec sleep 300'], start_new_session=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starts, TRAMPOLINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)

    parent.kill()
    parent.wait()

    eventually(lambda: not is_alive(child))
    parent.communicate()


def test_program_is_not_started_when_its_launcher_is_dead_already(tmp_path: Path):
    gone = subprocess.Popen(["true"])
    gone.wait()

    done = jump("touch", str(tmp_path / "touched"), launcher=gone.pid)

    assert done.returncode == 1
    assert not (tmp_path / "touched").exists()


def test_program_inherits_no_ignored_signals():
    done = jump("grep", "SigIgn", "/proc/self/status")

    ignored = int(done.stdout.split()[1], 16)
    mine = {number for number in range(1, 32) if ignored & 1 << (number - 1)}
    assert not mine & {signal.SIGPIPE, signal.SIGXFSZ}


def test_program_that_cannot_be_executed_is_named():
    missing = jump("/nowhere/program")
    folder = jump("/")

    assert missing.returncode == 127
    assert missing.stderr == (
        "dora_rt: cannot execute /nowhere/program: No such file or directory\n"
    )
    assert folder.returncode == 126
    assert folder.stderr == "dora_rt: cannot execute /: Permission denied\n"


def test_node_gets_its_memory_limit_its_cores_and_its_niceness():
    core = min(os.sched_getaffinity(0))
    tells = (
        "import os, resource; print(resource.getrlimit(resource.RLIMIT_AS)[0], "
        "os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0))"
    )

    done = jump(
        sys.executable,
        "-c",
        tells,
        resources=Resources(memory_limit_nbytes=2 << 30, cpu_affinity=(core,), nice=7),
    )

    assert done.stdout == f"{2 << 30} {{{core}}} 7\n"
    assert done.stderr == ""


def test_node_that_may_not_have_its_priority_is_warned_and_runs():
    # Not even root may, without this capability.
    without = ["setpriv", "--bounding-set=-sys_nice"] if os.geteuid() == 0 else []
    command = [*without, sys.executable, "-I", "-S", str(TRAMPOLINE), str(os.getpid())]

    done = subprocess.run(
        [*command, "priority=50", "nice=-20", "cpu_affinity=4095", "--", "echo", "runs"],
        capture_output=True,
        text=True,
    )

    assert done.stdout == "runs\n"
    assert done.stderr.splitlines() == [
        f"dora_rt: warning: {what} cannot be had here: {reason}; going on without it"
        for what, reason in (
            ("priority 50", "Operation not permitted"),
            ("nice -20", "Permission denied"),
            ("cpu_affinity 4095", "Invalid argument"),
        )
    ]


def test_program_whose_interpreter_is_missing_is_refused_before_anything_starts(
    isolated: IsolatedFlow,
):
    isolated.write("flow.yml", "nodes: [{id: broken, path: ./broken}]")
    path = isolated.write("broken", "#!/nowhere/sh\n")
    path.chmod(0o700)

    code, out = isolated.finish()

    assert code == 2
    assert out == (
        f"{isolated.folder}/flow.yml:1:28: node 'broken': './broken' cannot be executed: its first "
        "line names /nowhere/sh, which does not exist\n"
    )
    assert isolated.runs() == set()


@pytest.mark.parametrize(
    ("program", "obstacle"),
    [
        ("sh", None),
        ("./fine", None),
        ("no-such-program", "No such file or directory"),
        ("./missing", "No such file or directory"),
        ("./plain", "Permission denied"),
        ("./orphan", "its first line names /nowhere/sh, which does not exist"),
        ("/", "Permission denied"),
    ],
)
def test_obstacle_of_a_program_is_found_before_it_is_tried(
    tmp_path: Path, program: str, obstacle: str | None
):
    (tmp_path / "fine").write_text("#!/bin/sh\n")
    (tmp_path / "fine").chmod(0o700)
    (tmp_path / "plain").touch(mode=0o600)
    (tmp_path / "orphan").write_text("#!/nowhere/sh\n")
    (tmp_path / "orphan").chmod(0o700)

    found = find_obstacle(program, folder=str(tmp_path), search_path=os.defpath)

    assert found == obstacle
