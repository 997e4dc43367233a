"""What the kernel says of a process."""

from __future__ import annotations

import os
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
