"""What belongs to this run of the tests and to no other: its name space, objects and processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from dora_rt.launcher.cleanup.run_directory import new_run_name
from dora_rt.runs import NAMESPACE_VARIABLE

SHM = Path("/dev/shm")


def namespace() -> str:
    """Give the name space that `conftest.py` has chosen for this run of the tests."""
    return os.environ[NAMESPACE_VARIABLE]


def new_run() -> str:
    """Draw a name for a run."""
    return new_run_name(namespace())


def run_named(name: str) -> str:
    """Give the full name of a run that is called so, and that no other run of the tests has."""
    return f"{name}.{namespace()}"


def own_objects() -> set[str]:
    """Give the file names of the shared objects of this run of the tests."""
    # Also in name spaces that a test makes of this one.
    ours = f".{namespace()}"
    return {path.name for path in SHM.iterdir() if ours in path.name}


def run_of(name: str) -> str:
    """Give the run that the file of a shared object belongs to."""
    return name.removeprefix("sem.").split("-")[1]


def own_processes() -> dict[int, str]:
    """Give the living processes of dora_rt that the tests have started, with command lines."""
    found = {}
    for pid, environ, line in _started_processes():
        # What the fork server has become keeps the environment that it began with.
        if (
            b"DORA_RT_NODE_CONFIG=" in environ
            or b"DORA_RT_FORK_SERVER=" in environ
            or b"dora_rt" in line
        ):
            found[pid] = line.decode(errors="replace")
    return found


def kill_started_processes() -> dict[int, str]:
    """SIGKILL every process that the tests have started; give the command lines."""
    killed = {}
    # Again, because the killed may have started others meanwhile.
    while found := [entry for entry in _started_processes() if entry[0] not in killed]:
        for pid, _, line in found:
            killed[pid] = line.decode(errors="replace")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return killed


def _started_processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Give number, environment and command line of the processes with the mark of this run."""
    mark = f"{NAMESPACE_VARIABLE}={namespace()}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            # Of a zombie there is neither environment nor command line.
            environ = (folder / "environ").read_bytes()
            # First the quick look: most processes are of others.
            if mark in environ and any(entry.startswith(mark) for entry in environ.split(b"\0")):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(folder.name), environ, line
