"""The pace of a recording: which frame is due, at a steady rate."""

from __future__ import annotations

from collections.abc import Callable


class Pacer:
    """Count frames at `fps` from the first call on, against one clock, so that nothing adds up.

    Args:
        fps: frames per second; 0 for as fast as they are asked for.
        clock: nanoseconds of a monotonic clock.
        sleep: sleeps for some seconds.
    """

    def __init__(
        self, fps: float, clock: Callable[[], int], sleep: Callable[[float], None]
    ) -> None:
        self._fps = fps
        self._clock = clock
        self._sleep = sleep
        self._started_ns: int | None = None
        self._next = 0

    def wait_due(self, timeout_s: float, *, newest: bool) -> int | None:
        """Wait until the next frame is due and return its number; None if it is not in time.

        With `newest`, frames whose successor is due as well are skipped; without, they are given
        late, one at each call.
        """
        if self._fps <= 0:
            return self._give(self._next)
        now_ns = self._clock()
        if self._started_ns is None:
            self._started_ns = now_ns
        due_ns = self._started_ns + round(self._next * 1e9 / self._fps)
        if due_ns > now_ns:
            wait_s = (due_ns - now_ns) / 1e9
            self._sleep(min(wait_s, timeout_s))
            return self._give(self._next) if wait_s <= timeout_s else None
        newest_due = int((now_ns - self._started_ns) * self._fps / 1e9)
        return self._give(max(self._next, newest_due) if newest else self._next)

    def _give(self, number: int) -> int:
        self._next = number + 1
        return number
