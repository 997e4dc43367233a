"""Timer inputs, made by the receiving node itself: phase-aligned to the start, not drifting."""

from __future__ import annotations

from dora_rt.event import Event


class Timer:
    """Tick number k is due at `start + k * period`; ticks that were slept through are dropped."""

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
