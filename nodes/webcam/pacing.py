"""The pace of a recording: which frame is due, at a steady rate or by the frames' own times."""

from __future__ import annotations

import math
from collections.abc import Callable

# A longer pause in a recording of unknown length is taken for a damaged time.
_LONGEST_PAUSE_S = 3600.0


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

    def set_fps(self, fps: float) -> None:
        """Go on at another rate: the next frame is due one new step after now, and not before."""
        self._fps = fps
        if self._started_ns is not None and fps > 0:
            self._started_ns = self._clock() - round((self._next - 1) * 1e9 / fps)

    def _give(self, number: int) -> int:
        self._next = number + 1
        return number


class Timeline:
    """The times of a recording's frames, by the positions that its file gives them.

    Args:
        fps: the nominal rate, for frames whose position says nothing.
        duration_s: how long the recording is said to be; None: not known.
    """

    def __init__(self, fps: float, duration_s: float | None) -> None:
        self._step_ns = round(1e9 / fps)
        longest_s = _LONGEST_PAUSE_S if duration_s is None else max(duration_s, 60.0)
        self._longest_ms = longest_s * 1000
        self._round_ns = 0
        self._last_ms: float | None = None
        self._regular_steps = 0
        self._steps = 0
        self.last_step_ns = self._step_ns
        self._step_before_ns = 0
        self.offset_ns = 0
        """When the newest frame is due, since the first frame of the first round."""

    @property
    def elapsed_s(self) -> float:
        """The time of the newest frame in this round of the recording."""
        return (self.offset_ns - self._round_ns) / 1e9

    @property
    def is_steady(self) -> bool:
        """Whether nearly all frames come at the nominal rate."""
        return self._regular_steps > 0.9 * self._steps

    def begin_again(self) -> None:
        """Begin the next round, one frame after the last one of this round."""
        self.offset_ns += self._step_ns
        self._round_ns = self.offset_ns
        self._last_ms = None

    def add(self, position_ms: float) -> int:
        """Add the next frame; return by how much it is later than the one before, in ns."""
        if self._last_ms is None:
            self._last_ms = position_ms if math.isfinite(position_ms) else 0.0
            return 0
        step_ns = self._read_step(self._last_ms, position_ms)
        self.offset_ns += step_ns
        self._step_before_ns, self.last_step_ns = self.last_step_ns, step_ns
        self._steps += 1
        self._regular_steps += abs(step_ns - self._step_ns) < self._step_ns // 2
        return step_ns

    def _read_step(self, last_ms: float, position_ms: float) -> int:
        is_time = math.isfinite(position_ms) and position_ms > 0
        if is_time and 0 < position_ms - last_ms <= self._longest_ms:
            self._last_ms = position_ms
            return round((position_ms - last_ms) * 1e6)
        # It does not grow, or jumps by more than can be. Behind a jump positions count from there.
        step_ns = self._likely_step_ns()
        has_jumped = is_time and abs(position_ms - last_ms) > 1000
        self._last_ms = position_ms if has_jumped else last_ms + step_ns / 1e6
        return step_ns

    def _likely_step_ns(self) -> int:
        # OpenCV 4.6 does not know the times of the last frames of a file. They go on as the two
        # before, if these are alike, which one after a pause is not; else at the nominal rate.
        is_alike = abs(self.last_step_ns - self._step_before_ns) < 0.1 * self.last_step_ns
        return self.last_step_ns if is_alike else self._step_ns
