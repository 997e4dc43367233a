"""Names, locks and rights: whose the things of a run are, and who may take them away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.run_directory import Manifest, RunDirectory, find_living, reclaim
from dora_rt.runs import base_folder
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import SHM, namespace, new_run, objects, run_named
from tests.harness.verbs import COMMAND
from tests.harness.waiting import eventually

SOMEBODY_ELSE = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")

# A launcher that is given the names of its run.
WITH_NAMES = """
    import secrets, sys
    names = iter(sys.argv[2].split(","))
    secrets.token_hex = lambda nbytes: next(names)
    from dora_rt.cli.dora_launch import main
    main([sys.argv[1], "--stop-after", "50ms"])
"""


def manifest(run: str, launcher_pid: int = 1) -> Manifest:
    return Manifest(run, "/robot/flow.yml", launcher_pid, "2026-01-02 03:04:05", "0.1.0", ("a",))


@contextmanager
def planted(*names: str, owner: int = -1) -> Iterator[None]:
    """Have foreign objects in /dev/shm, which must be the same in the end."""
    for name in names:
        (SHM / name).write_text("foreign")
        os.chown(SHM / name, owner, -1)
    try:
        yield
        assert [(SHM / name).read_text() for name in names] == ["foreign"] * len(names)
    finally:
        for name in names:
            (SHM / name).unlink()


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize("owner", [-1, pytest.param(SOMEBODY_ELSE, marks=needs_root)])
def test_run_takes_another_name_when_objects_of_its_name_exist(isolated: IsolatedFlow, owner: int):
    # F31
    isolated.write_ticking()
    script = str(isolated.write("with_names.py", WITH_NAMES))
    flow = str(isolated.folder / "flow.yml")

    taken = run_named("aaaaaaaa")
    with planted(f"drt-{taken}-board", f"sem.drt-{taken}-n0", owner=owner):
        code, out = isolated.finish(command=[sys.executable, script, flow, "aaaaaaaa,bbbbbbbb"])

    assert code == 0, out
    assert isolated.has("received")


def test_run_whose_names_are_all_taken_is_refused(isolated: IsolatedFlow):
    # F31
    isolated.write_ticking()
    script = str(isolated.write("with_names.py", WITH_NAMES))
    flow = str(isolated.folder / "flow.yml")
    names = [letter * 8 for letter in "abcde"]

    with planted(*(f"drt-{run_named(name)}-o0" for name in names)):
        code, out = isolated.finish(command=[sys.executable, script, flow, ",".join(names)])

    assert code == 3
    assert out == (
        "dora-launch: 5 random names for the run were all taken: somebody fills /dev/shm or "
        f"{isolated.base} with objects of such names\n"
    )
    assert isolated.runs() == set()


def test_two_runs_of_one_file_do_not_meet(isolated: IsolatedFlow):
    # F32
    isolated.write_ticking()
    isolated.write(
        "source.py",
        """
        import json, os
        from dora_rt import Node
        run = json.loads(os.environ["DORA_RT_NODE_CONFIG"])["run"]
        node = Node()
        for event in node:
            node.send_output("out", run.encode())
        """,
    )
    isolated.write(
        "sink.py",
        """
        import json, os
        from pathlib import Path
        from dora_rt import Node
        run = json.loads(os.environ["DORA_RT_NODE_CONFIG"])["run"]
        for number, event in enumerate(Node()):
            assert bytes(event.value) == run.encode(), event.value
            Path(run).write_text(str(number))
        """,
    )
    launchers = [isolated.start(), isolated.start()]
    eventually(lambda: len(isolated.runs()) == 2 and all(map(isolated.has, isolated.runs())))
    eventually(lambda: all(isolated.number(run) > 10 for run in isolated.runs()))

    launchers[0].send_signal(signal.SIGINT)
    out, _ = launchers[0].communicate(timeout=30)

    assert launchers[0].returncode == 130, out
    assert "failed" not in out
    (other,) = isolated.runs()
    assert objects(other)
    received = isolated.number(other)
    eventually(lambda: isolated.number(other) > received + 10)
    launchers[1].send_signal(signal.SIGINT)
    out, _ = launchers[1].communicate(timeout=30)
    assert launchers[1].returncode == 130, out
    assert "failed" not in out


def test_dead_run_is_reclaimed_though_its_process_number_lives_and_nobody_is_signalled(
    isolated: IsolatedFlow,
):
    # F33
    stranger = subprocess.Popen(["sleep", "300"])
    isolated.base.mkdir(mode=0o700)
    run = run_named("deadbeef")
    dead = RunDirectory.create(isolated.base, manifest(run, stranger.pid))
    os.close(dead.lock_fd)
    (SHM / f"drt-{run}-o0").write_bytes(bytes(2**17))
    assert stranger.poll() is None

    out = isolated.clean()

    assert out == f"reclaimed 1 object (128.0 KiB) of dead run {run} (/robot/flow.yml)\n"
    assert not objects(run)
    assert isolated.runs() == set()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@needs_root
def test_nobody_else_can_read_write_or_remove_what_belongs_to_a_run(isolated: IsolatedFlow):
    # F39; not below the private folder of the tests, where nothing could be reached anyhow.
    isolated.runtime = Path(tempfile.mkdtemp(prefix=f"dora_rt_{namespace()}_"))
    isolated.runtime.chmod(0o755)
    isolated.write_ticking()
    launcher = isolated.start_and_wait_for("received")
    (run,) = isolated.runs()
    found = [SHM / name for name in objects(run)]
    assert len(found) >= 8
    folder = isolated.base / run
    attempts: list[Callable[[], object]] = [
        *(lambda path=path: path.read_bytes() for path in found),
        *(lambda path=path: path.open("r+b") for path in found),
        *(lambda path=path: path.unlink() for path in found),
        lambda: list(isolated.base.iterdir()),
        lambda: list(folder.iterdir()),
        lambda: (folder / "manifest.json").read_text(),
        lambda: (isolated.base / "mine").touch(),
        lambda: (folder / "mine").touch(),
        lambda: folder.rename(isolated.runtime / "mine"),
        lambda: isolated.base.rename(isolated.runtime / "mine"),
    ]

    with acting_as(SOMEBODY_ELSE):
        assert Path("/proc/self/comm").read_text(), "somebody else can do something"
        for attempt in attempts:
            with pytest.raises(PermissionError):
                attempt()

    os.kill(launcher, signal.SIGINT)
    eventually(lambda: not isolated.processes())
    assert not isolated.base.exists()
    isolated.runtime.rmdir()


def test_base_that_is_a_symbolic_link_is_refused(isolated: IsolatedFlow):
    # F40
    isolated.write_ticking()
    target = isolated.folder / "target"
    target.mkdir(mode=0o700)
    isolated.base.symlink_to(target)

    code, out = isolated.finish("--stop-after", "50ms")

    assert code == 3
    assert out == (
        f"dora-launch: {isolated.base} is a symbolic link; "
        f"expected a folder of user {os.geteuid()} with mode 700: "
        "find out who made it, and remove it\n"
    )
    assert list(target.iterdir()) == []
    assert not isolated.has("received")


@needs_root
def test_base_of_somebody_else_is_refused(isolated: IsolatedFlow):
    # F40
    isolated.write_ticking()
    isolated.base.mkdir(mode=0o700)
    os.chown(isolated.base, SOMEBODY_ELSE, -1)

    code, out = isolated.finish("--stop-after", "50ms")
    told = [
        isolated.finish(command=[sys.executable, "-m", "dora_rt.cli", *words])
        for words in (["ps"], ["stop"], ["top", "--once"])
    ]

    os.chown(isolated.base, 0, -1)
    why = (
        f"{isolated.base} belongs to user {SOMEBODY_ELSE} with mode 700; expected a "
        "folder of user 0 with mode 700: find out who made it, or set XDG_RUNTIME_DIR to a "
        "folder of your own\n"
    )
    assert (code, out) == (3, f"dora-launch: {why}")
    assert told == [(3, f"dora-rt: {why}")] * 3
    assert isolated.runs() == set()


def test_base_that_others_may_write_is_refused(isolated: IsolatedFlow):
    # F40
    isolated.base.mkdir()
    isolated.base.chmod(0o770)

    with pytest.raises(LaunchError) as refusal:
        reclaim(isolated.base)

    assert str(refusal.value) == (
        f"{isolated.base} belongs to user {os.geteuid()} with mode 770; expected a folder of user "
        f"{os.geteuid()} with mode 700: chmod 700 {isolated.base}"
    )
    isolated.base.rmdir()


@needs_root
def test_runtime_folder_of_somebody_else_is_not_used(tmp_path: Path):
    os.chown(tmp_path, SOMEBODY_ELSE, -1)

    base = base_folder({"XDG_RUNTIME_DIR": str(tmp_path)})

    os.chown(tmp_path, 0, -1)
    assert base == Path("/tmp/dora_rt-0")
    assert base_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "dora_rt"
    assert base_folder({}) == Path("/tmp/dora_rt-0")


def test_run_directory_says_what_runs_and_only_its_user_can_look(isolated: IsolatedFlow):
    isolated.write_ticking()
    previous = os.umask(0o277)
    try:
        with RunDirectory.create(isolated.base, manifest("11111111")) as directory:
            modes = [path.stat().st_mode & 0o777 for path in (isolated.base, directory.path)]
    finally:
        os.umask(previous)
    launcher = isolated.start_and_wait_for("received")

    (run,) = isolated.runs()
    read = json.loads((isolated.base / run / "manifest.json").read_text())

    assert modes == [0o700, 0o700], "whatever the umask is"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", read.pop("started"))
    assert read == {
        "run": run,
        "file": str(isolated.folder / "flow.yml"),
        "launcher_pid": launcher,
        "version": "0.1.0",
        "processes": ["source", "sink"],
    }
    assert isolated.clean() == (
        f"left alone: run {run} is alive ({isolated.folder / 'flow.yml'}, launcher {launcher}, "
        f"since {find_living(isolated.base)[0].started})\n"
    )
    os.kill(launcher, signal.SIGINT)
    eventually(lambda: not isolated.processes())
    assert not isolated.runs()


def test_launcher_reaper_fork_server_and_every_node_hold_the_lock(isolated: IsolatedFlow):
    isolated.write_ticking()
    launcher = isolated.start_and_wait_for("received")
    (run,) = isolated.runs()
    directory = (isolated.base / run).stat()

    holders = {
        pid
        for pid in isolated.processes()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir()
        if os.path.samestat(descriptor.stat(), directory)
    }

    assert len(holders) == 5
    assert holders == isolated.processes().keys()
    os.kill(launcher, signal.SIGINT)
    eventually(lambda: not isolated.processes())


def test_lock_is_free_exactly_when_the_last_who_inherited_it_is_gone(isolated: IsolatedFlow):
    isolated.base.mkdir(mode=0o700)
    directory = RunDirectory.create(isolated.base, manifest("22222222"))
    child = subprocess.Popen(["sleep", "300"], pass_fds=(directory.lock_fd,))
    os.close(directory.lock_fd)

    assert reclaim(isolated.base) == []
    assert [living.run for living in find_living(isolated.base)] == ["22222222"]

    child.kill()
    child.wait()
    assert [reclaimed.run for reclaimed in reclaim(isolated.base)] == ["22222222"]
    assert isolated.runs() == set()


def test_directory_that_was_not_finished_is_removed_and_foreign_files_are_not(
    isolated: IsolatedFlow,
):
    isolated.base.mkdir(mode=0o700)
    (isolated.base / ".new-33333333-0").mkdir(mode=0o700)
    (isolated.base / "44444444").symlink_to(isolated.folder)
    (isolated.base / "notes").mkdir()

    assert reclaim(isolated.base) == []

    assert isolated.runs() == {"44444444", "notes"}
    assert isolated.folder.exists()


def test_objects_without_a_run_directory_are_told_and_removed_only_when_asked_and_unmapped(
    isolated: IsolatedFlow,
):
    unmapped, mapped = new_run(), new_run()
    for run in (unmapped, mapped):
        (SHM / f"drt-{run}-o0").write_bytes(bytes(2**16))
    maps_it = f"import mmap, os; m = mmap.mmap(os.open('/dev/shm/drt-{mapped}-o0', 2), 0)"
    command = [sys.executable, "-c", f"{maps_it}; print(flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    what = "1 object (64.0 KiB) of run {}, which has no directory: "
    left = f"left alone: {what.format(mapped)}a process maps them\n"

    def cleaned(*arguments: str) -> set[str]:
        return set(isolated.clean(*arguments).splitlines(keepends=True))

    assert cleaned() == {
        f"left alone: {what.format(unmapped)}no process maps them (dora-rt clean --strays "
        "removes them)\n",
        left,
    }
    assert cleaned("--strays") == {
        f"removed {what.format(unmapped)}no process mapped them\n",
        left,
    }

    child.communicate(b"\n")
    assert not objects(unmapped)
    assert objects(mapped)
    assert cleaned("--strays") == {f"removed {what.format(mapped)}no process mapped them\n"}
    assert not objects(mapped)
    assert cleaned() == {"nothing to clean up\n"}


def test_verb_that_does_not_exist_is_refused_with_a_suggestion(isolated: IsolatedFlow):
    done = subprocess.run(
        [*COMMAND, "claen"],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr == (
        "dora-rt: there is no verb 'claen'; did you mean 'clean'? (dora-rt --help)\n"
    )
