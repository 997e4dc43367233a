"""Runs in different name spaces of one user do not see each other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup import run_directory
from dora_rt.launcher.cleanup.run_directory import RunDirectory, new_run_name
from dora_rt.launcher.node_output.log_files import keep_logs
from dora_rt.runs import NAMESPACE_VARIABLE, RUN_PATTERN, base_folder, namespace_of
from dora_rt.transport.primitives.shm import unlink_run
from tests.fault.test_run_directory import manifest
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.objects import SHM, namespace, new_run, objects
from tests.harness.verbs import COMMAND
from tests.harness.waiting import eventually

OTHER = "x"


def other() -> str:
    """Give a name space that begins as that of the tests does."""
    return namespace() + OTHER


def dora_rt(isolated: IsolatedFlow, *words: str, inside: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        env={**isolated.environ, NAMESPACE_VARIABLE: inside},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_run_has_its_name_space_in_the_names_of_its_folder_and_of_all_its_objects(
    isolated: IsolatedFlow,
):
    isolated.write_ticking()
    launcher = isolated.start_and_wait_for("received")

    (run,) = isolated.runs()
    found = objects()

    assert re.fullmatch(rf"[0-9a-f]{{8}}\.{namespace()}", run)
    assert isolated.base == isolated.runtime / f"dora_rt.{namespace()}"
    assert found
    assert found == objects(run)
    os.kill(launcher, signal.SIGINT)
    eventually(lambda: not isolated.processes())


def test_verbs_see_only_the_runs_of_their_name_space(isolated: IsolatedFlow):
    isolated.write_ticking()
    launcher = isolated.start_and_wait_for("received")
    (run,) = isolated.runs()

    seen = dora_rt(isolated, "ps", "-q", inside=namespace())
    unseen = dora_rt(isolated, "ps", "--json", inside=other())
    refused = dora_rt(isolated, "stop", run, inside=other())
    cleaned = dora_rt(isolated, "clean", "--strays", inside=other())

    assert seen.stdout.split()[0] == run
    assert json.loads(unseen.stdout) == []
    assert refused.returncode == 2
    assert f"(looked in {isolated.runtime}/dora_rt.{other()})" in refused.stderr
    assert cleaned.stdout == "nothing to clean up\n"
    (isolated.folder / "received").unlink()
    eventually(lambda: isolated.has("received"))
    # A beginning of the name is enough.
    assert dora_rt(isolated, "stop", run[:4], inside=namespace()).returncode == 0
    eventually(lambda: not Path(f"/proc/{launcher}").exists() or not isolated.processes())


def test_what_a_dead_run_left_is_removed_in_its_name_space_only(isolated: IsolatedFlow):
    dead_run, stray = new_run_name(other()), new_run_name(other())
    base = base_folder({**isolated.environ, NAMESPACE_VARIABLE: other()})
    dead = RunDirectory.create(base, manifest(dead_run))
    os.close(dead.lock_fd)
    for run in (dead_run, stray):
        (SHM / f"drt-{run}-o0").write_bytes(bytes(2**16))

    assert isolated.clean("--strays") == "nothing to clean up\n"
    assert objects(dead_run)
    assert objects(stray)

    done = dora_rt(isolated, "clean", "--strays", inside=other())
    assert done.stdout.splitlines() == [
        f"reclaimed 1 object (64.0 KiB) of dead run {dead_run} (/robot/flow.yml)",
        f"removed 1 object (64.0 KiB) of run {stray}, which has no directory: "
        "no process mapped them",
    ]
    assert not objects()


def test_objects_of_a_run_whose_name_begins_alike_are_not_removed_with_it():
    run = new_run()
    alike = SHM / f"drt-{run}{OTHER}-o0"
    alike.write_bytes(b"foreign")
    (SHM / f"drt-{run}-o0").write_bytes(b"own")

    removed = unlink_run(run)

    assert removed == [f"drt-{run}-o0"]
    assert alike.read_bytes() == b"foreign"
    alike.unlink()


def test_node_keeps_to_what_its_launcher_decided_whatever_its_environment_says(
    isolated: IsolatedFlow,
):
    isolated.write_ticking()
    elsewhere = f"import os\nos.environ[{NAMESPACE_VARIABLE!r}] = {other()!r}\n"
    for name in ("source.py", "sink.py"):
        text = (isolated.folder / name).read_text()
        (isolated.folder / name).write_text(elsewhere + text)

    code, out = isolated.finish("--stop-after", "100ms")

    assert code == 0, out
    assert isolated.has("received")


@pytest.mark.parametrize("name", ["a-b", "a.b", "../x", "a" * 17, "ä", "a\n"])
def test_name_space_that_cannot_be_part_of_a_name_is_refused(isolated: IsolatedFlow, name: str):
    expected = (
        f"{NAMESPACE_VARIABLE}={name!r} is no name space: expected at most 16 letters, digits and "
        "_; set another one, or unset it"
    )
    with pytest.raises(LaunchError) as refusal:
        namespace_of({NAMESPACE_VARIABLE: name})

    assert str(refusal.value) == expected


def test_launcher_verb_and_node_refuse_a_bad_name_space_in_words(isolated: IsolatedFlow):
    isolated.write_ticking()
    said = (
        f"{NAMESPACE_VARIABLE}='a-b' is no name space: expected at most 16 letters, digits and _;"
    )
    environ = {**isolated.environ, NAMESPACE_VARIABLE: "a-b"}
    program = (
        "import dora_rt, dora_rt.errors\n"
        "try: dora_rt.Node('x')\n"
        "except dora_rt.errors.NotInDataflowError as error: print(error)"
    )

    launched = subprocess.run(isolated.command(), env=environ, capture_output=True, text=True)
    listed = dora_rt(isolated, "ps", inside="a-b")
    attached = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True
    )

    assert (launched.returncode, launched.stderr[:12]) == (3, "dora-launch:")
    assert said in launched.stderr
    assert (listed.returncode, listed.stderr[:8]) == (3, "dora-rt:")
    assert said in listed.stderr
    assert attached.stdout.startswith(said), attached.stderr


def test_last_run_of_a_name_space_leaves_no_folder(isolated: IsolatedFlow):
    isolated.write("flow.yml", "nodes: [{id: alone, path: /bin/true}]")

    code, out = isolated.finish()

    assert code == 0, out
    assert not isolated.base.exists()


def test_reaper_of_the_last_run_of_a_name_space_leaves_no_folder(isolated: IsolatedFlow):
    isolated.write_ticking()
    launcher = isolated.start_and_wait_for("received")

    isolated.kill(launcher)

    eventually(lambda: not isolated.processes())
    assert not isolated.base.exists()


def test_clean_removes_the_folder_of_a_name_space_with_its_last_dead_run(isolated: IsolatedFlow):
    first, second = (RunDirectory.create(isolated.base, manifest(new_run())) for _ in range(2))
    os.close(first.lock_fd)

    isolated.clean()
    assert isolated.runs() == {second.path.name}
    os.close(second.lock_fd)
    isolated.clean()

    assert not isolated.base.exists()


@pytest.mark.parametrize("look", [1, 2], ids=["before it is opened", "when it is open"])
def test_folder_that_another_run_removes_is_made_again(
    isolated: IsolatedFlow, monkeypatch: pytest.MonkeyPatch, look: int
):
    looks = []
    check = run_directory._check_base

    def check_and_remove(base: Path, status: os.stat_result) -> None:
        check(base, status)
        looks.append(base)
        if len(looks) == look:
            base.rmdir()

    monkeypatch.setattr(run_directory, "_check_base", check_and_remove)

    with RunDirectory.create(isolated.base, manifest(new_run())) as directory:
        assert isolated.runs() == {directory.path.name}

    assert len(looks) > 2
    assert not isolated.base.exists()


def test_without_a_name_space_a_run_has_its_plain_name():
    assert namespace_of({}) == namespace_of({NAMESPACE_VARIABLE: ""}) == ""
    assert re.fullmatch(r"[0-9a-f]{8}", new_run_name(""))
    assert re.fullmatch(RUN_PATTERN, new_run_name("arm_2"))
    assert base_folder({NAMESPACE_VARIABLE: "arm_2"}) == Path(f"/tmp/dora_rt-{os.geteuid()}.arm_2")


def test_logs_of_failed_runs_are_kept_for_each_name_space(tmp_path: Path):
    for number in range(3):
        (tmp_path / f"20260101-00000{number}-aaaaaaaa").mkdir()
    for run in (new_run_name("arm") for _ in range(12)):
        (tmp_path / "logs").mkdir()
        keep_logs(tmp_path / "logs", tmp_path, run)

    names = {path.name for path in tmp_path.iterdir()}

    assert sum(name.endswith(".arm") for name in names) == 10
    assert sum(name.endswith("-aaaaaaaa") for name in names) == 3
