"""The processes that the tests start, found in /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from dora_rt.runs import NAMESPACE_VARIABLE
from tests.harness.objects import namespace


def own_processes() -> dict[int, str]:
    """Return the living processes of dora_rt that the tests have started, with command lines."""
    found = {}
    for pid, environ, line in _started_by_the_tests():
        # What the fork server has become keeps the environment that it began with.
        if (
            b"DORA_RT_NODE_CONFIG=" in environ
            or b"DORA_RT_FORK_SERVER=" in environ
            or b"dora_rt" in line
        ):
            found[pid] = line.decode(errors="replace")
    return found


def kill_started_processes() -> dict[int, str]:
    """SIGKILL every process that the tests have started; return the command lines."""
    killed = {}
    # Again, because the killed may have started others meanwhile.
    while found := [entry for entry in _started_by_the_tests() if entry[0] not in killed]:
        for pid, _, line in found:
            killed[pid] = line.decode(errors="replace")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return killed


def _started_by_the_tests() -> Iterator[tuple[int, bytes, bytes]]:
    return marked_processes(NAMESPACE_VARIABLE, namespace())


def marked_processes(variable: str, value: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Find the living processes, but this one, whose environment has a variable.

    The value only begins with this one: a test makes name spaces of its own name space.

    Yields:
        Number, environment and command line.
    """
    mark = f"{variable}={value}".encode()
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


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies among them."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process is there, and more than a zombie."""
    try:
        return _stat(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_suspended(pid: int) -> bool:
    """Whether a process was stopped by SIGSTOP or its kind."""
    return _stat(pid)[0] == "T"


def cpu_ticks(pid: int) -> int:
    """Return the processor time that a process has used, in ticks (of 10 ms)."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _stat(pid: int) -> list[str]:
    """Return what /proc says of a process behind its name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
