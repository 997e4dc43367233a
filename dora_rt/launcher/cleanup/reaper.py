"""The reaper: ends a run whose launcher was killed.

Executed by the launcher, and not imported: python -I -S reaper.py RUN DIRECTORY LOCK_FD

Its standard input is the lifeline: "+SESSION" and "-SESSION" for those that come and go, "bye"
when nothing is left to do. End of file without "bye" means that the launcher is gone.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time

_SHM = "/dev/shm"
_TERMINATE_S = 1.0
_LOCK_S = 5.0
_LOOK_AGAIN_S = 0.01
_KILL_ROUNDS = 100


def main() -> None:
    """Wait for the end of the launcher, and clean up if it could not do so itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    run, directory, lock_fd = sys.argv[1:]
    sessions = _wait_for_launcher()
    if sessions is None:
        # At once: the launcher waits for it.
        os._exit(0)
    _end(sessions)
    os.close(int(lock_fd))
    lock = _take_lock(directory)
    # Also when a process keeps the lock, like a daemon of a node: without its launcher the
    # run is over, and names are all that is taken away. The directory stays then, for `dora-rt
    # clean` and the next launch to come back to.
    _unlink(run)
    if lock is not None:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
        # The last one of a name space, of which a machine may see many, leaves no folder.
        if "." in run:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(directory))


def _wait_for_launcher() -> set[int] | None:
    """Read the lifeline to its end; return the sessions that are left, or None after "bye"."""
    sessions: set[int] = set()
    rest = b""
    while received := os.read(0, 4096):
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            if line == b"bye":
                return None
            if line.startswith(b"+"):
                sessions.add(int(line))
            else:
                sessions.discard(-int(line))
    return sessions


def _end(sessions: set[int]) -> None:
    # The nodes themselves are dead already, by PR_SET_PDEATHSIG; this is for their children. As
    # long as a process is left in a session or a group, its number is not given to another.
    deadline = time.monotonic() + _TERMINATE_S
    _signal(_living_groups(sessions), signal.SIGTERM)
    while (alive := _living_groups(sessions)) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
    # Again and again: a shell with job control may just have put its next job into a new group.
    # What is dying, or may not be killed, is not waited for.
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        if alive <= killed:
            break
        _signal(alive, signal.SIGKILL)
        killed |= alive
        alive = _living_groups(sessions)


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _living_groups(sessions: set[int]) -> set[int]:
    """Find the groups of these sessions with a process that is more than a zombie.

    Signal 0 would not tell them apart, and in a container it may take its init long to reap.
    """
    groups = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            state, _, group, session, *_ = file.read().rpartition(b") ")[2].split(maxsplit=4)
            if state not in (b"Z", b"X") and int(session) in sessions:
                groups.add(int(group))
    return groups


def _take_lock(directory: str) -> int | None:
    """Lock the directory anew, which fails while one process of the run is left."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        # The launcher, or a later launch, has removed it.
        return None
    deadline = time.monotonic() + _LOCK_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_AGAIN_S)
        else:
            return lock
    return None


def _unlink(run: str) -> None:
    # As files: posix_ipc is in site-packages, which this interpreter does not look at, and on Linux
    # a shared object is a file of this folder (a semaphore with "sem." before its name).
    for name in os.listdir(_SHM):
        if name.startswith((f"drt-{run}-", f"sem.drt-{run}-")):
            with contextlib.suppress(OSError):
                os.unlink(f"{_SHM}/{name}")


if __name__ == "__main__":
    main()
