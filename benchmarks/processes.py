"""Starts the processes of a job, waits for them, and leaves none behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contender import Command
from benchmarks.placement import on_cores

_PR_SET_CHILD_SUBREAPER = 36
_REPOSITORY = Path(__file__).parents[1]


class JobError(Exception):
    """A job did not end well; says why, with the last lines of what its processes printed."""


def adopt_orphans() -> None:
    """Become the parent of what children of this process leave behind, so that it can be ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextmanager
def running(
    commands: Iterable[Command], *, cores: tuple[int, ...], log: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start commands side by side; whatever is left of them when the block ends is ended."""
    environ = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1"}
    before = set(descendants())
    with log.open("wb") as output, on_cores(cores):
        started = [
            subprocess.Popen(
                command,
                cwd=log.parent,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for command in commands
        ]
    try:
        yield started
    finally:
        _end(before)
        for process in started:
            process.wait()


def run_to_end(
    commands: Iterable[Command], *, cores: tuple[int, ...], timeout_s: float, log: Path
) -> None:
    """Run commands side by side until all have ended.

    Raises:
        JobError: one failed or did not end in time; then all are ended.
    """
    with running(commands, cores=cores, log=log) as started:
        deadline = time.monotonic() + timeout_s
        while any(process.poll() is None for process in started):
            check(started, log)
            if time.monotonic() > deadline:
                raise JobError(f"did not end within {timeout_s:.0f} s; {_last_lines(log)}")
            time.sleep(0.01)
        check(started, log)


def check(started: Iterable[subprocess.Popen[bytes]], log: Path) -> None:
    """Look whether one has failed.

    Raises:
        JobError: it has.
    """
    for process in started:
        if code := process.poll():
            raise JobError(f"{_name(process)} ended with {code}; {_last_lines(log)}")


def descendants(root: int | None = None) -> list[int]:
    """Give all living processes that descend from `root`; by default from this one."""
    root = os.getpid() if root is None else root
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found


def _end(spared: set[int]) -> None:
    """End all descendants but those spared, and what became of their orphans.

    First as a terminal would, so that a launcher can end its nodes, then harder.
    """
    for number, grace_s in ((signal.SIGINT, 3), (signal.SIGTERM, 2), (signal.SIGKILL, 2)):
        deadline = time.monotonic() + grace_s
        for pid in set(descendants()) - spared:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while set(descendants()) - spared and time.monotonic() < deadline:
            time.sleep(0.01)


def cpu_ns(pid: int) -> int:
    """Give the processor time of a process, all its threads together; 0 if it is gone."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total


def _parent(pid: int) -> int | None:
    """Give the parent's number; None if the process is gone. Reaps it if it is our dead child."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state == "Z" and int(parent) == os.getpid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return None if state in "ZX" else int(parent)


def _name(process: subprocess.Popen[bytes]) -> str:
    command: list[str] = list(process.args)  # type: ignore[arg-type]
    return " ".join(Path(part).name for part in command[:3])


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-12:]
    return "\n  ".join(["its last lines:", *lines]) if lines else "it printed nothing"
