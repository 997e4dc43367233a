"""The clock of a run: a word that the process of `clock:` writes, and every process may read.

So a new time costs the processes nothing that do not ask for it. Of the others, those with timers
are rung, and only when the clock has passed a tick of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from dora_rt.errors import SharedMemoryError
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.primitives.shm import Semaphore, attach_semaphore, attach_words
from dora_rt.transport.ring.protocol import MAGIC

_TIME = 1  # nanoseconds and 1; 0: it has not begun
_SET_NS = 2  # when that was set, by `time.monotonic_ns()`
CLOCK_NBYTES = 8 * 3
MAX_CLOCK_NS = 2**63 - 1

# As for the readers of an output (`transport/ring/writer.py`).
_ENOUGH_RINGS = 64


def format_clock(words: memoryview) -> None:
    """Write the first line of a new clock; runs in the launcher."""
    words[0] = MAGIC


def _check(words: memoryview, name: str) -> None:
    if words[0] != MAGIC or words.nbytes < CLOCK_NBYTES:
        raise SharedMemoryError(f"{name} is not the clock of a run")


class Clock:
    """The clock as every process reads it. It stays where it is while its source is away."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @classmethod
    def attach(cls, run: str) -> Clock:
        """Map what the launcher made.

        Raises:
            SharedMemoryError: it is gone, or something else.
        """
        return cls(attach_words(object_names.clock(run), _check, writable=False))

    def now_ns(self) -> int:
        """Return the time in nanoseconds; 0 before the first sample of the clock."""
        word = self._words[_TIME]
        return word - 1 if word else 0

    def time_ns(self) -> int | None:
        """Return the time in nanoseconds; None before the first sample of the clock."""
        word = self._words[_TIME]
        return word - 1 if word else None

    def set_at_ns(self) -> int:
        """Return when the time that was read before this was set: `time.monotonic_ns()`.

        Or a later one, if it was set again meanwhile.
        """
        Fence().pass_through()
        return self._words[_SET_NS]


class ClockHands:
    """The clock as the process sets it that has the output."""

    def __init__(self, words: memoryview, bells: Iterable[tuple[Semaphore, tuple[int, ...]]]):
        self._words = words
        self._bells = tuple(bells)
        self._pass_fence = Fence().pass_through
        self._was_set = False

    @classmethod
    def attach(cls, run: str, listeners: Iterable[tuple[int, tuple[int, ...]]]) -> ClockHands:
        """Attach to what the launcher made.

        Args:
            run: the run.
            listeners: the numbers of processes with timers, and their periods in nanoseconds.

        Raises:
            SharedMemoryError: it is gone, or something else.
        """
        words = attach_words(object_names.clock(run), _check, writable=True)
        bells = [
            (attach_semaphore(object_names.doorbell(run, process)), periods_ns)
            for process, periods_ns in listeners
        ]
        return cls(words, bells)

    def set(self, clock_ns: int) -> None:
        """Set the time, and ring at the processes of which a timer may have a tick."""
        words = self._words
        before_ns = words[_TIME] - 1
        words[_SET_NS] = time.monotonic_ns()
        self._pass_fence()
        words[_TIME] = clock_ns + 1
        # A forerunner of this process may have been killed before it rang.
        is_first, self._was_set = not self._was_set, True
        for bell, periods_ns in self._bells:
            has_tick = is_first or any(
                clock_ns // period_ns != before_ns // period_ns for period_ns in periods_ns
            )
            if has_tick and bell.value < _ENOUGH_RINGS:
                bell.release()
