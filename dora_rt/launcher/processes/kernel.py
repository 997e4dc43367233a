"""Processes as the kernel shows, signals and reaps them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dora_rt.launcher.cleanup.guard import RunGuard
from dora_rt.report import Usage

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_NBYTES = os.sysconf("SC_PAGE_SIZE")
# By their numbers in proc(5), which begin at 1; the first two are gone.
_UTIME, _STIME, _THREADS, _RSS = 14 - 3, 15 - 3, 20 - 3, 24 - 3
_INIT = 1
# Members that go on starting others, each in a group of its own, may be faster than any look.
_KILL_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Present:
    """Usage of a running process: CPU seconds (user and system), resident bytes, threads."""

    cpu_s: float
    rss_nbytes: int
    threads: int


def read_present(pid: int) -> Present | None:
    """Return the usage of a process; None if it is gone, or in another PID namespace."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(") ")[2].split()
    ticks = int(fields[_UTIME]) + int(fields[_STIME])
    return Present(ticks / _TICKS_PER_S, int(fields[_RSS]) * _PAGE_NBYTES, int(fields[_THREADS]))


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a session; the signals that it ignores and handles are sets of bits."""

    pid: int
    parent: int
    name: str
    ignored: int
    caught: int


class Kernel:
    """The children of one launcher, seen, signalled and reaped; `guard` knows which there are.

    All nodes share one scan of /proc, until `look_again`: a hundred nodes that stop together would
    otherwise scan it a hundred times.
    """

    def __init__(self, guard: RunGuard) -> None:
        self._guard = guard
        self._popens: dict[int, subprocess.Popen[bytes]] = {}
        self._sessions: dict[int, list[int]] | None = None

    def adopt(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        """Look after a child that has just begun; `popen` if `subprocess` has started it."""
        self._guard.watch(pid)
        if popen is not None:
            self._popens[pid] = popen

    def look_again(self) -> None:
        """Drop the last scan: processes may have come and gone."""
        self._sessions = None

    def members(self, session: int) -> list[Member]:
        """Return the living members of the session of a child, the child itself first.

        The child belongs to it before it has made it, and also where /proc hides it (hidepid),
        as it has become another user.
        """
        members = (_read_member(pid, is_child=pid == session) for pid in self._pids(session))
        return [member for member in members if member is not None]

    def signal(self, pid: int, session: int, number: signal.Signals) -> None:
        """Signal a member of a session, unless its number belongs to another process by now.

        Raises:
            ProcessLookupError: it has ended.
            PermissionError: it has become another user.
        """
        if pid == session or os.getsid(pid) == session:
            os.kill(pid, number)

    def kill_session(self, session: int) -> None:
        """Kill all members of a session that may be killed, each of its process groups at once."""
        killed: set[int] = set()
        for _ in range(_KILL_ROUNDS):
            new = [pid for pid in self._pids(session) if pid not in killed]
            if not new:
                return
            for group in _groups(new, session):
                # There is no group as long as the node has not begun, and no permission if nobody
                # in it may be signalled.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            killed.update(new)
            # Again: a shell with job control may just have put its next job into a new group.
            self.look_again()

    def has_exited(self, pid: int) -> bool:
        """Whether a child has ended; it is not reaped."""
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reap(self, pid: int) -> tuple[int, Usage]:
        """Wait for the end of a child; return its exit status and what it has used."""
        _, status, usage = os.wait4(pid, 0)
        self._guard.forget(pid)
        exit_status = os.waitstatus_to_exitcode(status)
        if pid in self._popens:
            self._popens.pop(pid).returncode = exit_status
        return exit_status, Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def reap_orphans(self, own: Collection[int]) -> None:
        """Reap processes that others have left behind, if this process is the init of a container.

        Without an init (`docker run` without --init) each of them would stay a zombie.

        Args:
            own: the processes whose exit status means something to the launcher.
        """
        if os.getpid() != _INIT:
            return
        with suppress(ChildProcessError):
            # The launcher needs no exit status of its other children, such as its reaper.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in own:
                    return
                os.waitpid(ended.si_pid, 0)

    def owner_of(self, pid: int) -> str:
        """Return the name of the user whom a process belongs to."""
        try:
            uid = Path(f"/proc/{pid}").stat().st_uid
        except OSError:
            return "another user"
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"

    def _pids(self, session: int) -> list[int]:
        if self._sessions is None:
            self._sessions = _scan()
        return [session, *(pid for pid in self._sessions.get(session, ()) if pid != session)]


def _groups(pids: Iterable[int], session: int) -> list[int]:
    """Return the process groups of the members of a session, that of its leader in any case."""
    groups = {session}
    for pid in pids:
        # As long as the node has not begun, it is in the group of another process.
        with suppress(ProcessLookupError):
            group = os.getpgid(pid)
            if os.getsid(pid) == session:
                groups.add(group)
    return sorted(groups)


def _scan() -> dict[int, list[int]]:
    """Return the processes of this machine by their sessions."""
    with os.scandir("/proc") as entries:
        pids = sorted(int(entry.name) for entry in entries if entry.name.isdigit())
    sessions: dict[int, list[int]] = {}
    for pid in pids:
        # Far cheaper than to read a file of each process; one that has ended meanwhile has none.
        with suppress(OSError):
            sessions.setdefault(os.getsid(pid), []).append(pid)
    return sessions


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
