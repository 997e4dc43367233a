"""Looks every few milliseconds of processor time at which line of Python this process is."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_PERIOD_S = 0.001

Place = tuple[str, str, int]
"""File (from its package on), function, line."""


@contextmanager
def sampled() -> Iterator[Counter[Place]]:
    """Count the places that the block is at, by the processor time that this process takes.

    Time in the kernel counts. The kernel looks at this clock only at its tick, a hundred to a
    thousand times a second. Python looks for signals between two of its instructions, so the time
    in a C function counts for the line that called it.
    """
    counts: Counter[Place] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            name = getattr(code, "co_qualname", code.co_name)  # its class as well, from 3.11 on
            counts[_short(code.co_filename), name, frame.f_lineno] += 1

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _PERIOD_S, _PERIOD_S)
    try:
        yield counts
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _short(path: str) -> str:
    parts = Path(path).parts
    for package in ("dora_rt", "benchmarks"):
        if package in parts[:-1]:
            first = len(parts) - 1 - parts[::-1].index(package)
            return "/".join(parts[first:])
    return Path(path).name
