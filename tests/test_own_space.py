"""The tests themselves: none hangs for ever, and several runs of them do not disturb each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from tests.harness.objects import namespace

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[1]

HANGS = """
    import subprocess, threading, time

    def test_hangs():
        # Who leaves this block waits for the child.
        with subprocess.Popen(["sleep", "600"]) as child:
            print("child:", child.pid)
            threading.Thread(target=time.sleep, args=(600,), name="other", daemon=True).start()
            time.sleep(600)

    def test_after_it():
        pass
"""


MARKED = "import pytest\npytestmark = pytest.mark.programs\n"


def run_pytest(
    folder: Path, text: str, *arguments: str, shell: str = "", before: str = MARKED
) -> subprocess.CompletedProcess[str]:
    """Run tests of a file with what `conftest.py` has for all tests."""
    (folder / "test_it.py").write_text(before + dedent(text))
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "tests.conftest"]
    command += ["--basetemp", str(folder / "files")]
    return subprocess.run(
        ["sh", "-c", f'{shell} exec "$@"', "sh", *command, *arguments, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )


def pid_of_child(out: str) -> int:
    return int(out.partition("child: ")[2].split()[0])


def test_test_that_hangs_is_ended_with_its_children_and_the_others_go_on(tmp_path: Path):
    done = run_pytest(tmp_path, HANGS, "--timeout", "1")

    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Failed: Timeout (>1.0s) from pytest-timeout." in done.stdout
    pid = pid_of_child(done.stdout)
    assert f"killed: {pid} sleep 600" in done.stdout + done.stderr
    assert not Path(f"/proc/{pid}").exists()
    assert "Stack of other" in done.stdout + done.stderr


def test_what_follows_a_failed_test_has_a_time_limit_too(tmp_path: Path):
    text = """
        import time
        import pytest

        @pytest.fixture
        def slow_to_end():
            yield
            time.sleep(600)

        def test_fails(slow_to_end):
            assert False

        def test_after_it():
            pass
    """

    done = run_pytest(tmp_path, text, "--timeout", "1")

    assert "1 failed, 1 passed, 1 error" in done.stdout, done.stdout + done.stderr


def test_test_that_no_signal_reaches_is_ended_with_the_whole_run(tmp_path: Path):
    (tmp_path / "conftest.py").write_text("import tests.conftest\ntests.conftest.GRACE_S = 0.5\n")
    text = """
        import signal, time

        def test_deaf():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(600)
    """
    began_s = time.monotonic()

    done = run_pytest(tmp_path, text, "--timeout", "0.5")

    assert time.monotonic() - began_s < 40
    assert done.returncode == 1
    assert "in test_deaf" in done.stderr, "it says where"


def test_children_hear_signals_that_a_shell_in_the_background_ignores(tmp_path: Path):
    text = """
        import signal, subprocess
        import pytest

        @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
        def test_child(number):
            child = subprocess.Popen(["sleep", "600"])
            child.send_signal(number)
            assert child.wait(30) == -number

        def test_ctrl_c():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

        @pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGHUP])
        def test_itself_goes_on(number):
            signal.raise_signal(number)
    """

    done = run_pytest(tmp_path, text, shell="trap '' INT QUIT HUP;")

    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_each_run_of_the_tests_has_a_name_space_of_its_own(tmp_path: Path):
    text = """
        from tests.harness.objects import namespace, own_objects
        from tests.harness.processes import own_processes

        def test_it():
            print("name space:", namespace())
            assert not own_objects()
            assert not own_processes()
    """
    stray = Path(f"/dev/shm/drt-0badcafe.{namespace()}-o0")
    stray.write_bytes(b"x")

    found = {
        run_pytest(tmp_path, text, "-rP").stdout.partition("name space: ")[2].split()[0]
        for _ in range(2)
    }

    stray.unlink()
    assert len(found | {namespace()}) == 3
    assert all(len(name) == len(namespace()) for name in found)


def test_test_that_starts_a_program_without_the_mark_fails(tmp_path: Path):
    text = """
        import subprocess

        def test_starts():
            subprocess.run(["true"])

        def test_needs_none():
            pass
    """

    done = run_pytest(tmp_path, text, before="")

    assert "test_starts starts a program and has no mark 'programs'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
