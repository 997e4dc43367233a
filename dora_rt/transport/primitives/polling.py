"""Polling for a moment before sleeping, because to wake a sleeping process costs far more.

The rule of competitive spinning (Karlin and others, 1991, "Empirical studies of competitive
spinning for a shared-memory multiprocessor"): a poll of at most as long as a wake-up costs
never pays more than twice the best that was possible. On top of that a waiter here polls only
while its recent waits were that short, so a camera's 33 ms are slept from the first microsecond.
"""

from __future__ import annotations

import os
from pathlib import Path

from dora_rt.compiled import SpinCore

_FIRST_LIMIT_NS = 50_000  # until the first wake-ups have been measured
_LEAST_LIMIT_NS = 5_000
_MOST_LIMIT_NS = 100_000
_LEARNING = 8  # an expensive wake-up counts for an eighth; a cheap one at once

_PAID = 1  # what one successful poll adds to the score, and one in vain takes away
_IN_VAIN = 4
_START_SCORE = 8
_MOST_SCORE = 32
_SHORT_WAITS = 16  # so many short waits one after the other, and polling begins
_MOST_SHORT_WAITS = 4096
_LOOK_EVERY = 256  # successful polls between two looks for an idle core


class Spin(SpinCore):
    """How long one waiter polls before it sleeps.

    Attributes:
        limit_ns: for how long to poll now; 0: sleep at once.
        cost_ns: estimated cost of a wake-up.
        is_learning: False with a fixed `spin_us`; else every sleep must be reported to `slept`.
    """

    def __init__(self, fixed_ns: int | None) -> None:
        """Begin without polling.

        Args:
            fixed_ns: poll so long before every sleep (0: never); None: while it pays.
        """
        self.limit_ns = fixed_ns or 0
        self.cost_ns = _FIRST_LIMIT_NS
        self.is_learning = fixed_ns is None
        self._score = 0
        self._short_waits = 0
        self._short_waits_needed = _SHORT_WAITS
        self._until_look = _LOOK_EVERY

    def paid(self) -> None:
        """Note that a poll was successful."""
        if self._score < _MOST_SCORE:
            self._score += _PAID
        self._until_look -= 1
        if not self._until_look and self.is_learning:
            self._until_look = _LOOK_EVERY
            # It works, so the next failure is forgiven sooner.
            self._short_waits_needed = _SHORT_WAITS
            if not has_idle_core():
                self._stop()

    def was_in_vain(self) -> None:
        """Note that a poll has ended without it."""
        self._score -= _IN_VAIN
        if self._score <= 0 and self.is_learning:
            self._stop()
            # Two that share a core see short waits, and each poll only keeps the other away.
            self._short_waits_needed = min(2 * self._short_waits_needed, _MOST_SHORT_WAITS)

    def slept(self, waited_ns: int) -> None:
        """Note how long a sleep was, its wake-up included."""
        if self.limit_ns or not self.is_learning:
            return
        if waited_ns > 2 * self.cost_ns:
            self._short_waits = 0
            return
        self._short_waits += 1
        if self._short_waits >= self._short_waits_needed:
            self._short_waits = 0
            if has_idle_core():
                self.limit_ns = self.cost_ns
                self._score = _START_SCORE

    def learn(self, latency_ns: int) -> None:
        """Note how long something took to arrive for which this waiter had to be woken."""
        bounded_ns = min(max(latency_ns, _LEAST_LIMIT_NS), _MOST_LIMIT_NS)
        more_ns = bounded_ns - self.cost_ns
        self.cost_ns += more_ns // _LEARNING if more_ns > 0 else more_ns

    def _stop(self) -> None:
        self.limit_ns = 0
        self._score = 0
        self._short_waits = 0


def has_idle_core() -> bool:
    """Return whether at most as many threads are runnable at this moment as there are cores."""
    cores = os.cpu_count() or 1
    if cores < 2:
        return False
    # "0.20 0.18 0.12 1/80 11206": the fourth field is runnable threads / all threads (proc(5)).
    running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
    return int(running) <= cores
