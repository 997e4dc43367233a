"""Whether this process may open as many files as a run needs, asked before anything exists."""

from __future__ import annotations

import resource
from pathlib import Path

from dora_rt.control.requests import MAX_REQUESTERS
from dora_rt.errors import LaunchError

_PER_PROCESS = 2  # its output, and a log file
# Signals, statuses, selector, lock, lifeline, one start of a process, some air; the socket of the
# run and its connections, one that is turned away included.
_PER_RUN = 16 + 2 + MAX_REQUESTERS


def check_open_files(processes: int) -> None:
    """Check the limit of open files of the launcher; each process has the same one for itself.

    Raises:
        LaunchError: it is too low.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
    needed = is_open + _PER_RUN + _PER_PROCESS * processes
    if limit < needed:
        raise LaunchError(
            f"{processes} processes need {needed} open files in their launcher, and {limit} are "
            f"allowed here: raise the limit (ulimit -n {needed})"
        )
