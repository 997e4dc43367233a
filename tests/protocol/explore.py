"""Runs many schedules: kinds in turn, seeds one after the other."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.protocol.implementation import Implementation, PythonImplementation
from tests.protocol.schedule import Kind, Result, Schedule


@dataclass
class Explored:
    """What was explored, and what was found."""

    schedules: int = 0
    steps: int = 0
    samples: int = 0
    kills: int = 0
    interrupts: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, int, str]] = field(default_factory=list)
    """Kind, seed, and what was violated."""

    def add(self, kind: Kind, seed: int, result: Result) -> None:
        """Count one schedule."""
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
    """Run each kind of schedule with each seed, until the time is over."""
    implementation = implementation or PythonImplementation()
    explored = Explored()
    kinds = tuple(kinds)
    until = time.monotonic() + seconds
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    # What a schedule leaves is collected from time to time, and not what was there before.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with implementation.put_under():
            for seed in seeds:
                for kind in kinds:
                    explored.add(kind, seed, Schedule(implementation, kind, seed).run())
                if time.monotonic() > until or len(explored.violations) >= most_violations:
                    break
                if seed % 256 == 0:
                    gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
        sys.unraisablehook = hook
    return explored
