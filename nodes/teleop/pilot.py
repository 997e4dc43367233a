"""Decide who drives, and stop when nobody holds on any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

DEVICES = ("gamepad", "page", "keyboard")
"""Who may drive; of several at the same time the first one does."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Where to, each as a part of the greatest speed, -1 to 1.

    Attributes:
        forward: forwards is positive.
        side: to the left is positive.
        turn: counterclockwise is positive.
    """

    forward: float = 0.0
    side: float = 0.0
    turn: float = 0.0

    def bounded(self) -> Motion:
        """Return it with each part within -1 to 1; what is no number is 0."""
        return Motion(_bounded(self.forward), _bounded(self.side), _bounded(self.turn))

    def scaled(self, factor: float) -> Motion:
        """Return it slower, or faster."""
        return Motion(self.forward * factor, self.side * factor, self.turn * factor)


STILL = Motion()


@dataclass(frozen=True, slots=True)
class Command:
    """What is driven now, and by which device; "" if by none."""

    motion: Motion
    device: str


class Pilot:
    """The dead man's rule: a device drives only while it says so again and again.

    Each device is a thread of its own.

    Args:
        clock: nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._news = threading.Condition()
        self._held: dict[str, tuple[Motion, int]] = {}
        """By device, where to, and until when that holds."""
        self._halted: dict[str, int] = {}
        """By device that drove when all were halted, until when it held."""
        self._count = 0

    def steer(self, device: str, motion: Motion, hold_s: float) -> None:
        """Drive, for so long; whoever was halted must have let go before."""
        now_ns = self._clock()
        until_ns = now_ns + round(hold_s * 1e9)
        with self._news:
            if device in self._halted:
                if now_ns < self._halted[device]:
                    # It goes on pressing.
                    self._halted[device] = until_ns
                    return
                del self._halted[device]
            before = self._held.get(device)
            self._held[device] = motion.bounded(), until_ns
            if before is None or before[0] != motion.bounded() or before[1] <= now_ns:
                self._count += 1
                self._news.notify_all()

    def release(self, device: str) -> None:
        """Drive no more."""
        with self._news:
            self._halted.pop(device, None)
            if self._held.pop(device, None) is not None:
                self._count += 1
                self._news.notify_all()

    def halt(self) -> None:
        """Stop, whoever drives; each device must let go before it drives again."""
        with self._news:
            for device, (_, until_ns) in self._held.items():
                self._halted[device] = until_ns
            self._held.clear()
            self._count += 1
            self._news.notify_all()

    def command(self) -> Command:
        """Return what is driven now."""
        now_ns = self._clock()
        with self._news:
            for device in DEVICES:
                motion, until_ns = self._held.get(device, (STILL, 0))
                if now_ns < until_ns:
                    return Command(motion, device)
        return Command(STILL, "")

    def wait(self, count: int, timeout_s: float) -> int:
        """Wait for a change since `count`, or until a hold ends; return the count of changes."""
        now_ns = self._clock()
        with self._news:
            ends_ns = [until for _, until in self._held.values() if until > now_ns]
            soonest_s = min([timeout_s, *((end - now_ns) / 1e9 for end in ends_ns)])
            self._news.wait_for(lambda: self._count != count, max(soonest_s, 0.0))
            return self._count


def _bounded(part: float) -> float:
    return min(1.0, max(-1.0, part)) if part == part else 0.0
