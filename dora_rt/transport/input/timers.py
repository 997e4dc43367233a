"""The times that a node keeps for its inputs: ticks of timers, and `input_timeout`."""

from __future__ import annotations

from dora_rt.compiled import TimerCore
from dora_rt.event import Event, encode_clock
from dora_rt.transport.clock import Clock


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


class ClockTimer:
    """A timer input of a dataflow with a clock: it ticks when that passes a multiple of its period.

    So the timers of all nodes are in phase, also those of one that was started again. The first
    tick comes with the first time, and one with the time to which a clock jumps back: it begins
    anew. A clock that jumps ahead makes one tick, with the others in `dropped`.
    """

    def __init__(self, input_id: str, period_ns: int, clock: Clock) -> None:
        self.input_id = input_id
        self._period_ns = period_ns
        self._clock = clock
        self._number = 0
        self._multiple: int | None = None  # the one that the clock passed last

    def take(self, _start_ns: int, _now_ns: int) -> Event | None:
        """Return the newest tick that is due, or None; `dropped` counts those before it."""
        clock_ns = self._clock.time_ns()
        if clock_ns is None:
            return None
        multiple, before = clock_ns // self._period_ns, self._multiple
        if multiple == before:
            return None
        self._multiple = multiple
        dropped, due_ns = 0, clock_ns
        if before is not None and multiple > before:
            dropped, due_ns = multiple - before - 1, multiple * self._period_ns
        seq = self._number + dropped
        self._number = seq + 1
        return Event(
            self.input_id,
            b"",
            encode_clock(due_ns),
            seq=seq,
            dropped=dropped,
            sent_ns=self._clock.set_at_ns(),
        )


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
