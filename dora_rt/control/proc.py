"""What the kernel says of a process."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a group; which signals it ignores and has handlers for, as sets of bits."""

    pid: int
    parent: int
    name: str
    ignored: int
    caught: int


def read_members(group: int) -> list[Member]:
    """Read who is in the process group of a child, and more than a zombie; the child itself first.

    The child belongs to it before it has made it, and also where /proc hides it (hidepid), as it
    has become another user.
    """
    with os.scandir("/proc") as entries:
        numbers = [int(entry.name) for entry in entries if entry.name.isdigit()]
    pids = [group, *(pid for pid in sorted(numbers) if pid != group and _is_in(pid, group))]
    members = (_read_member(pid, is_child=pid == group) for pid in pids)
    return [member for member in members if member is not None]


def _is_in(pid: int, group: int) -> bool:
    # Far cheaper than to read a file of each process.
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


def _read_member(pid: int, *, is_child: bool) -> Member | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return Member(pid, 0, "", 0, 0) if is_child else None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if fields["State"].split()[0] in ("Z", "X"):
        return None
    ignored, caught = int(fields["SigIgn"], 16), int(fields["SigCgt"], 16)
    return Member(pid, int(fields["PPid"]), fields["Name"].strip(), ignored, caught)


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
