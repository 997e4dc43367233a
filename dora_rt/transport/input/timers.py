"""The times that a node keeps for its inputs: ticks of timers, and `input_timeout`."""

from __future__ import annotations

from dora_rt.compiled import TimerCore
from dora_rt.event import Event


class Timer(TimerCore):
    """A timer input: tick number k is due at `start + k * period`, missed ticks are dropped.

    The receiving node makes the ticks itself: they are in phase with the start, and do not drift.
    """

    def __init__(self, input_id: str, period_ns: int) -> None:
        self.input_id = input_id
        self._period_ns = period_ns
        self._next = 0

    def due_ns(self, start_ns: int) -> int:
        """Return when the next tick is due."""
        return start_ns + self._next * self._period_ns

    def take(self, start_ns: int, now_ns: int) -> Event | None:
        """Return the newest tick that is due, or None; `dropped` counts those before it."""
        if now_ns < self.due_ns(start_ns):
            return None
        tick = (now_ns - start_ns) // self._period_ns
        dropped = tick - self._next
        self._next = tick + 1
        due_ns = start_ns + tick * self._period_ns
        return Event(self.input_id, b"", seq=tick, dropped=dropped, sent_ns=due_ns)


class InputTimeout:
    """The `input_timeout` of an input, counted from its first sample on."""

    def __init__(self, timeout_ns: int) -> None:
        self.due_ns: int | None = None
        self._timeout_ns = timeout_ns
        self._is_closed = False

    def note_sample(self, now_ns: int) -> bool:
        """Begin to count anew; return whether the input was closed until now."""
        was_closed, self._is_closed = self._is_closed, False
        self.due_ns = now_ns + self._timeout_ns
        return was_closed

    def expire(self, now_ns: int) -> bool:
        """Close the input if no sample came in time; return whether that is so just now."""
        if self.due_ns is None or now_ns < self.due_ns:
            return False
        self.due_ns = None
        self._is_closed = True
        return True
