"""How far the monotonic clock of another machine is ahead of the one here. Pure."""

from __future__ import annotations

from collections import deque

_KEPT_NS = 30_000_000_000
FAST_PERIOD_NS = 250_000_000
SLOW_PERIOD_NS = 1_000_000_000
_FAST_PROBES = 20


class ClockOffset:
    """The offset by the shortest round trip of the last half minute.

    A probe leaves here at `sent_ns`, reaches the other machine at `there_ns` by its clock, leaves
    it at `answered_ns`, and is back at `received_ns`. Whichever way took longer, the offset is off
    by at most half of the time under way; queues make that long for most probes and not for all.
    """

    def __init__(self) -> None:
        self._probes: deque[tuple[int, int, int]] = deque()
        self._count = 0

    def add(self, sent_ns: int, there_ns: int, answered_ns: int, received_ns: int) -> None:
        """Take in a probe; one whose times cannot be is left out."""
        round_trip_ns = received_ns - sent_ns - (answered_ns - there_ns)
        if answered_ns < there_ns or round_trip_ns < 0:
            return
        offset_ns = (there_ns + answered_ns - sent_ns - received_ns) // 2
        self._count += 1
        while self._probes and self._probes[0][0] < received_ns - _KEPT_NS:
            self._probes.popleft()
        # Only those that may still be the shortest one day: the later, the longer.
        while self._probes and self._probes[-1][1] >= round_trip_ns:
            self._probes.pop()
        self._probes.append((received_ns, round_trip_ns, offset_ns))

    @property
    def is_known(self) -> bool:
        """Whether a probe has come back."""
        return bool(self._probes)

    @property
    def offset_ns(self) -> int | None:
        """The other clock minus the one here."""
        return self._probes[0][2] if self._probes else None

    @property
    def error_ns(self) -> int | None:
        """How far the offset is off at most."""
        return (self._probes[0][1] + 1) // 2 if self._probes else None

    @property
    def round_trip_ns(self) -> int:
        """The shortest round trip; 0 if none is known."""
        return self._probes[0][1] if self._probes else 0

    @property
    def period_ns(self) -> int:
        """How long to wait before the next probe: at first it is short."""
        return FAST_PERIOD_NS if self._count < _FAST_PROBES else SLOW_PERIOD_NS

    def to_here(self, there_ns: int, now_ns: int) -> int:
        """Translate a time of the other machine: never later than now, and never below 1."""
        if not self._probes:
            return now_ns
        return max(min(there_ns - self._probes[0][2], now_ns), 1)
