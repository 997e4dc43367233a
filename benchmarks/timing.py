"""How samples become numbers, once for all benchmarks. All times are `time.monotonic_ns()`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

Row = dict[str, Any]
"""One finding of one process, JSON-able; `round`, `contender`, `placement` are added to it."""

WARM_UP = 10


def repeat(once: Callable[[], int], *, budget_s: float, most: int, least: int = 6) -> list[int]:
    """Call `once`, which gives nanoseconds, until the time or the number is reached.

    The first calls warm up and do not count, as far as the time allows.
    """
    begin = time.monotonic_ns()
    for _ in range(WARM_UP):
        once()
        if time.monotonic_ns() - begin > budget_s * 0.3e9:
            break
    samples: list[int] = []
    begin = time.monotonic_ns()
    while len(samples) < least or (
        len(samples) < most and time.monotonic_ns() - begin < budget_s * 1e9
    ):
        samples.append(once())
    return samples


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest of the ordered samples that `share` of them do not exceed."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summarize(samples_ns: Sequence[int]) -> Row:
    """Give p50, p99 and min in microseconds, and how many there were."""
    ordered = sorted(samples_ns)
    return {
        "p50_us": percentile(ordered, 0.5) / 1e3,
        "p99_us": percentile(ordered, 0.99) / 1e3,
        "min_us": ordered[0] / 1e3,
        "samples": len(ordered),
    }


def over_rounds(rows: Iterable[Row], key: str) -> float | None:
    """Give the median over the rounds of what each round found; None if none found it."""
    found = [row[key] for row in rows if row.get(key) is not None]
    return median(found) if found else None
