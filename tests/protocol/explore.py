"""Runs many schedules: of each kind in turn, seeds one after the other."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.protocol.implementation import Implementation, PythonImplementation
from tests.protocol.schedule import Kind, Result, Schedule

_COLLECT_EVERY = 256


@dataclass
class Explored:
    """What was explored, and what was found."""

    schedules: int = 0
    steps: int = 0
    samples: int = 0
    kills: int = 0
    interrupts: int = 0
    first_seed: int = -1
    last_seed: int = -1
    cpu_s: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, int, str]] = field(default_factory=list)
    """Kind, seed, and what was violated."""

    def add(self, kind: Kind, seed: int, result: Result) -> None:
        """Count one schedule."""
        if self.first_seed < 0:
            self.first_seed = seed
        self.last_seed = seed
        self.schedules += 1
        self.steps += result.steps
        self.samples += result.samples
        self.kills += result.kills
        self.interrupts += result.interrupts
        self.by_kind[kind.name] += 1
        if result.violation is not None:
            self.violations.append((kind.name, seed, result.violation))


def explore(
    kinds: Iterable[Kind],
    seeds: Iterable[int],
    *,
    seconds: float = float("inf"),
    most_violations: int = 10,
    implementation: Implementation | None = None,
) -> Explored:
    """Run each kind of schedule with each seed, until the time is over.

    Args:
        kinds: sorts of schedules.
        seeds: each is one schedule of each kind.
        seconds: for how long, at most.
        most_violations: how many to find, at most.
        implementation: what to drive; None: the package itself.
    """
    implementation = implementation or PythonImplementation()
    explored = Explored()
    kinds = tuple(kinds)
    until, began_s = time.monotonic() + seconds, time.process_time()
    with _seldom_collected(), implementation.put_under():
        for number, seed in enumerate(seeds, 1):
            for kind in kinds:
                explored.add(kind, seed, Schedule(implementation, kind, seed).run())
            if time.monotonic() > until or len(explored.violations) >= most_violations:
                break
            if number % _COLLECT_EVERY == 0:
                gc.collect()
    explored.cpu_s = time.process_time() - began_s
    return explored


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Collect garbage between schedules only, so that one seed is always the same schedule."""
    # An exception of a signal handler may come out in a finalizer; nobody is to read of that.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
        sys.unraisablehook = hook
