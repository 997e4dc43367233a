"""What the machine itself takes: waking a process from C, and copying bytes."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.payload import make_source
from benchmarks.placement import Placement, on_cores
from benchmarks.session import Session
from benchmarks.timing import Row, repeat, summarize

PINGPONG = "C semaphores"
COPY = "np.copyto"
COPY_IN_TURN = "np.copyto, a queue of frames"


def measure(placement: Placement, sizes: Mapping[str, int], session: Session) -> list[Row]:
    """Measure the floors of the round trip."""
    budget_s = session.options.budget_s
    rows = pingpong(placement, budget_s, session)
    for size, nbytes in sizes.items():
        found = copy(nbytes, budget_s, placement)
        rows.append({"contender": COPY, "way": "produced", "size": size, **found})
    return rows


def pingpong(placement: Placement, budget_s: float, session: Session) -> list[Row]:
    """Let two processes wake each other from C; nothing if there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        session.skip(PINGPONG, "no C compiler (cc, gcc or clang)")
        return []
    cores = [str(placement.writer), str(placement.readers)]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "pingpong"
        source = Path(__file__).with_name("pingpong.c")
        subprocess.run([compiler, "-O2", "-pthread", "-o", program, source], check=True)
        done = subprocess.run(
            [program, *cores, str(budget_s)],
            capture_output=True, text=True, check=True, timeout=30 + budget_s,
        )  # fmt: skip
    samples = summarize([int(line) for line in done.stdout.split()])
    return [{"contender": PINGPONG, "size": "8 B", "way": way, **samples} for way in _WAYS]


def copy(nbytes: int, budget_s: float, placement: Placement, *, targets: int = 1) -> Row:
    """Copy bytes into memory that was touched before: always the same, or several in turn."""
    source = make_source(nbytes)
    next_target = itertools.cycle([make_source(nbytes) for _ in range(targets)])

    def once() -> int:
        target = next(next_target)
        begin = time.monotonic_ns()
        np.copyto(target, source)
        return time.monotonic_ns() - begin

    with on_cores((placement.writer,)):
        return summarize(repeat(once, budget_s=budget_s / 2, most=4000))


_WAYS = ("produced", "in place")
