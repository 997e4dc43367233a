"""Places in which a launcher must work, or say what it lacks: few files, no terminal, no home."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from dora_rt.runs import NAMESPACE_VARIABLE, base_folder
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import namespace

OTHER_USER = 65531
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def test_too_few_open_files_are_refused_with_the_number_that_is_enough(isolated: IsolatedFlow):
    # F48
    isolated.write_ticking()

    code, out = isolated.finish(
        command=["sh", "-c", 'ulimit -S -n 20; exec "$@"', "sh", *isolated.command()]
    )

    assert code == 3
    found = re.fullmatch(
        r"dora-launch: the launcher of 2 processes needs (\d+) open files, and 20 are allowed "
        r"here: raise the limit \(ulimit -n (\d+)\)\n",
        out,
    )
    assert found is not None, out
    assert found[1] == found[2]
    assert isolated.runs() == set()
    enough = ["sh", "-c", f'ulimit -n {found[1]}; exec "$@"', "sh"]
    code, out = isolated.finish(command=[*enough, *isolated.command("--stop-after", "50ms")])
    assert code == 0, out


def test_launcher_whose_standard_streams_are_closed_runs_its_nodes_as_ever(isolated: IsolatedFlow):
    # F49
    isolated.write_ticking()
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]

    code, out = isolated.finish(command=[*closed, *isolated.command("--stop-after", "100ms")])

    assert (code, out) == (0, "")
    assert isolated.has("received")


def test_launcher_without_a_terminal_prints_plain_lines(isolated: IsolatedFlow):
    # F49
    isolated.write_ticking()

    code, out = isolated.finish("--stop-after", "50ms")

    assert code == 0
    assert "stopping after 0.05 s" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("terminal", "has_colour"), [("dumb", False), ("xterm", True)])
def test_terminal_that_is_dumb_gets_plain_lines(
    isolated: IsolatedFlow, terminal: str, has_colour: bool
):
    # F49
    isolated.write("flow.yml", "nodes: [{id: prints, path: prints.py}]")
    isolated.write("prints.py", "print('something')")
    controller, screen = pty.openpty()
    wrapped = ["sh", "-c", f'exec "$@" >/dev/fd/{screen}', "sh", *isolated.command()]
    os.set_inheritable(screen, True)

    launcher = isolated.start(command=wrapped, env={"TERM": terminal}, pass_fds=(screen,))

    launcher.wait(30)
    os.close(screen)
    shown = os.read(controller, 64 * 1024)
    os.close(controller)
    assert launcher.returncode == 0
    assert b"something" in shown
    assert (b"\x1b" in shown) == has_colour


@needs_root
def test_launcher_runs_with_a_read_only_home_no_runtime_folder_and_a_tmp_without_exec(
    isolated: IsolatedFlow,
):
    # F50
    isolated.write_ticking()
    isolated.write("proof.sh", "#!/bin/sh\necho executed").chmod(0o700)
    mounts = (
        "mount --bind /tmp /tmp && mount -o remount,bind,noexec /tmp && "
        # This Python itself may be anywhere, also under /tmp.
        f"mount --bind {sys.prefix} {sys.prefix} && mount -o remount,bind,exec {sys.prefix} && "
        'mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME" && '
        f'! {isolated.folder}/proof.sh && ! touch "$HOME/proof" && '
        'unset XDG_RUNTIME_DIR && exec "$@"'
    )
    private = ["unshare", "--mount", "sh", "-c", mounts, "sh"]

    code, out = isolated.finish(command=[*private, *isolated.command("--stop-after", "50ms")])

    assert code == 0, out
    assert "proof.sh: Permission denied" in out
    assert "Read-only file system" in out
    assert isolated.has("received")


@needs_root
def test_tmp_that_cannot_be_written_is_told_when_there_is_no_runtime_folder(isolated: IsolatedFlow):
    # F50
    isolated.write_ticking()
    mounts = (
        "mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && "
        'unset XDG_RUNTIME_DIR && exec "$@"'
    )
    private = ["unshare", "--mount", "sh", "-c", mounts, "sh"]

    code, out = isolated.finish(command=[*private, *isolated.command("--stop-after", "50ms")])

    assert code == 3
    base = base_folder({NAMESPACE_VARIABLE: namespace()})
    assert re.fullmatch(
        rf"dora-launch: cannot make {base}(/[0-9a-f]{{8}}\.{namespace()})?: Read-only file "
        r"system; set XDG_RUNTIME_DIR to a folder of your own\n",
        out,
    )
    assert not isolated.has("received")


def mounted(isolated: IsolatedFlow, preparation: str, *command: str) -> tuple[int, str]:
    """Run a launcher, or a command, where something else is mounted."""
    script = f'{preparation} && exec "$@"'
    return isolated.finish(
        command=["unshare", "-m", "sh", "-c", script, "sh", *(command or isolated.command())]
    )


@needs_root
@pytest.mark.parametrize(
    ("preparation", "said"),
    [
        (
            "mount -t tmpfs tmpfs /dev/shm && mount -o remount,ro /dev/shm",
            "/dev/shm is read-only: mount it writable (mount -o remount,rw /dev/shm)",
        ),
        (
            "umount -l /proc",
            "there is no /proc, and without it no process can be found: mount it "
            "(mount -t proc proc /proc)",
        ),
        (
            "umask 777",
            "the umask 777 takes from this user the rights to what it makes itself: set it to 077 "
            "or 022",
        ),
    ],
    ids=["/dev/shm read-only", "no /proc", "umask 777"],
)
def test_launcher_that_lacks_something_says_what_in_one_sentence(
    isolated: IsolatedFlow, preparation: str, said: str
):
    isolated.write_ticking()

    assert mounted(isolated, preparation) == (3, f"dora-launch: {said}\n")


@needs_root
@pytest.mark.programs
def test_shared_memory_that_this_user_may_not_write_is_told():
    program = """
import os
from dora_rt.launcher.preconditions import check_shared_memory
from dora_rt.errors import LaunchError
os.setuid(65534)  # not before the imports: the interpreter may be in root's home
try:
    check_shared_memory()
except LaunchError as error:
    print(error)
"""
    script = 'mount -t tmpfs -o mode=755 tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.stdout, done.stderr) == (
        "/dev/shm cannot be written by user 65534 (its mode is 0755, 1777 is usual): "
        "chmod 1777 /dev/shm\n",
        "",
    )


@needs_root
@pytest.mark.parametrize(
    "words",
    ["doctor", "ps", "clean --strays", "logs", "top --once", "stop", "dashboard", "echo a/b"],
)
def test_verb_that_looks_for_runs_without_proc_says_that_it_cannot_tell(
    isolated: IsolatedFlow, words: str
):
    command = [sys.executable, "-m", "dora_rt.cli", *words.split()]

    assert mounted(isolated, "umount -l /proc", *command) == (
        3,
        "dora-rt: there is no /proc, and without it no process can be found: mount it "
        "(mount -t proc proc /proc)\n",
    )


@needs_root
def test_dynamic_node_without_proc_says_that_it_cannot_tell(isolated: IsolatedFlow):
    program = """
from dora_rt import Node
try:
    Node("a")
except RuntimeError as error:
    print(error)
"""
    code, out = mounted(isolated, "umount -l /proc", sys.executable, "-c", program)

    assert (code, out[:22]) == (0, "there is no /proc, and")


@needs_root
@pytest.mark.parametrize("number", range(1, 8))
def test_user_who_may_start_no_more_processes_is_told_so(isolated: IsolatedFlow, number: int):
    if shutil.which("setpriv") is None:
        pytest.skip("it takes setpriv (util-linux)")
    isolated.write_ticking()
    os.chown(isolated.folder, OTHER_USER, OTHER_USER)
    os.chown(isolated.runtime, OTHER_USER, OTHER_USER)
    # One that has no other process; and its rights, so that it may read root's files.
    user = ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"]
    caps = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    limit = ["sh", "-c", f'ulimit -p {number} 2>/dev/null || ulimit -u {number}; exec "$@"', "sh"]

    code, out = isolated.finish(
        command=[*user, *caps, *limit, *isolated.command("--stop-after", "100ms")]
    )

    assert "Traceback" not in out
    assert code in (0, 3), out
    if number < 5:
        assert code == 3
        assert "dora-launch: " in out
