"""What the kernel says of a process."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_NBYTES = os.sysconf("SC_PAGE_SIZE")
# By their numbers in proc(5), which begin at 1; the first two are gone.
_UTIME, _STIME, _THREADS, _RSS = 14 - 3, 15 - 3, 20 - 3, 24 - 3


@dataclass(frozen=True, slots=True)
class Present:
    """What a process has used until now: CPU seconds (user and system), resident bytes, threads."""

    cpu_s: float
    rss_nbytes: int
    threads: int


def read_present(pid: int) -> Present | None:
    """Read what a process uses; None if it is gone, or in another PID namespace."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(") ")[2].split()
    ticks = int(fields[_UTIME]) + int(fields[_STIME])
    return Present(ticks / _TICKS_PER_S, int(fields[_RSS]) * _PAGE_NBYTES, int(fields[_THREADS]))


def read_signals(pid: int) -> tuple[int, int]:
    """Read which signals a process ignores, and which it has handlers for, as sets of bits."""
    ignored = caught = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"SigIgn:"):
                ignored = int(line.split()[1], 16)
            elif line.startswith(b"SigCgt:"):
                caught = int(line.split()[1], 16)
    return ignored, caught


def has_children(pid: int) -> bool:
    """Tell whether the main thread of a process has children."""
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_bytes().strip())
    except OSError:
        return False  # also of a kernel without CONFIG_PROC_CHILDREN


def is_group_alive(group: int) -> bool:
    """Tell whether a process group has a process that is more than a zombie."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_bytes().rpartition(b") ")[2].split(None, 3)
                if stat[0] not in (b"Z", b"X") and int(stat[2]) == group:
                    return True
    return False


def owner_of(pid: int) -> str:
    """Name the user whom a process belongs to."""
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "another user"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
