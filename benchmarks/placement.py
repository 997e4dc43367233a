"""Which cores the two sides of a link may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where writer and readers run: unpinned, medians jump with what the scheduler likes."""

    name: str
    writer: int
    readers: int


TWO_CORES, ONE_CORE = "two cores", "one core"


def placements() -> tuple[Placement, ...]:
    """Give the placements that this machine has: two cores, if there are two, and one."""
    first, *others = sorted(os.sched_getaffinity(0))
    one = Placement(ONE_CORE, first, first)
    if not others:
        return (one,)
    # Two threads of one core share its caches, and each is slower while the other works.
    siblings = _siblings(first)
    second = next((core for core in others if core not in siblings), others[0])
    return (Placement(TWO_CORES, first, second), one)


@contextmanager
def on_cores(cores: tuple[int, ...]) -> Iterator[None]:
    """Let what is started in the block run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _siblings(core: int) -> set[int]:
    try:
        text = Path(_TOPOLOGY.format(core)).read_text()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
