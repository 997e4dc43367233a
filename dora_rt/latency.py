"""A latency histogram in plain counters: eight buckets an octave, so within 7 % anywhere."""

from __future__ import annotations

from collections.abc import Sequence

UNIT_SHIFT = 8  # the finest bucket is 256 ns wide
_STEPS = 8  # buckets an octave
BUCKETS = 216  # the last one begins at 64 s


def bucket(latency_ns: int) -> int:
    """Return the bucket that counts a latency."""
    units = latency_ns >> UNIT_SHIFT
    if units < _STEPS:
        return max(units, 0)
    shift = units.bit_length() - 4
    index = shift * _STEPS + (units >> shift)
    return index if index < BUCKETS else BUCKETS - 1


SHORT = tuple(map(bucket, range(0, 1 << 20, 1 << UNIT_SHIFT)))
"""The buckets of latencies below a millisecond, which are most, by units of `UNIT_SHIFT`."""


def percentile_ns(counts: Sequence[int], fraction: float) -> float | None:
    """Return the latency that `fraction` of the samples did not exceed; None without samples."""
    total = sum(counts)
    if not total:
        return None
    rank = fraction * total
    seen = 0
    for index, count in enumerate(counts):
        if count and seen + count >= rank:
            low, width = _bounds_ns(index)
            return low + width * (rank - seen) / count
        seen += count
    raise AssertionError("the rank is at most the total")


def _bounds_ns(index: int) -> tuple[int, int]:
    shift = max(index // _STEPS - 1, 0)
    low = index - shift * _STEPS
    return low << shift << UNIT_SHIFT, 1 << shift << UNIT_SHIFT
