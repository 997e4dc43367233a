"""What every test shares: nothing of ours may be left behind, whatever the test was about."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import eventually

SHM = Path("/dev/shm")
_MARK = "DORA_RT_TESTS"


@pytest.fixture(scope="session", autouse=True)
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the runs of the tests, and what they reclaim, apart from those of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        runtime = tmp_path_factory.mktemp("runtime")
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        patch.setenv(_MARK, str(os.getpid()))
        # As on an ordinary machine: else each of a thousand processes compiles the package anew.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield runtime / "dora_rt"


@pytest.fixture(autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    objects, processes, runs = shared_objects(), own_processes(), run_directories(own_runs)
    yield
    left = shared_objects() - objects
    if left:
        # Somebody may run a dataflow on this machine meanwhile: it is alive, or has just ended.
        left = (left - in_use_by_others()) & shared_objects()
    assert not left, f"the test left shared objects behind: {sorted(left)[:5]}"
    eventually(lambda: own_processes().keys() <= processes.keys(), within_s=2)
    assert run_directories(own_runs) <= runs


def own_processes() -> dict[int, str]:
    """Give the living processes of dora_rt that the tests have started, with command lines."""
    mark = f"{_MARK}={os.getpid()}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            environ = (folder / "environ").read_bytes()
            if mark not in environ:
                continue  # most processes: looked at twice in each test
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            # What the fork server has become keeps the environment that it began with.
            is_ours = (
                b"DORA_RT_NODE_CONFIG=" in environ
                or b"DORA_RT_FORK_SERVER=" in environ
                or b"dora_rt" in line
            )
            # Of a zombie there is neither environment nor command line.
            if is_ours and mark in environ.split(b"\0"):
                found[int(folder.name)] = line.decode(errors="replace")
    return found


def run_directories(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()} if base.exists() else set()


@pytest.fixture(autouse=True)
def logs_of_failed_nodes_go_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


def shared_objects() -> set[str]:
    return {path.name for path in SHM.iterdir() if path.name.startswith(("drt-", "sem.drt-"))}


def in_use_by_others() -> set[str]:
    runs = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if maps.parent.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            for line in maps.read_text().splitlines():
                name = line.rpartition("/")[2]
                if "/dev/shm/" in line and name.startswith(("drt-", "sem.drt-")):
                    runs.add(name.removeprefix("sem.").split("-")[1])
    return {name for name in shared_objects() if name.removeprefix("sem.").split("-")[1] in runs}
