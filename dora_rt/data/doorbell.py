"""Semaphores to sleep on: the doorbell of a node, and what comes back on a blocking edge."""

from __future__ import annotations

import ctypes
import time

from dora_rt.data.shm import SLICE_S, BusyError, SignalError, attach_semaphore

_LONG_NS = 3600 * 1_000_000_000
_FOR_EVER_S = 366 * 24 * 3600


def deadline_after(timeout_s: float | None) -> int | None:
    """Give the `time.monotonic_ns()` at which a time-out in seconds is over; None: never.

    Raises:
        ValueError: the time-out is negative or not a number.
    """
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, (int, float)) or not timeout_s >= 0:
        raise ValueError(f"timeout must be 0 or more seconds, or None, got {timeout_s!r}")
    # Infinity has no nanoseconds.
    return None if timeout_s > _FOR_EVER_S else time.monotonic_ns() + int(timeout_s * 1e9)


class Doorbell:
    """A semaphore to sleep on.

    What a signal handler raises during the wait arrives, and the deadline is monotonic. Neither is
    true of posix_ipc's own waits: they replace the handler's exception by one of theirs, and their
    time-outs are wall-clock time. They serve only where the C library has no `sem_clockwait`
    (before glibc 2.30), in short slices.
    """

    def __init__(self, name: str) -> None:
        self._semaphore = attach_semaphore(name)
        self._clock_wait = _clock_wait(name)

    def wait(self, deadline_ns: int | None) -> bool:
        """Sleep until somebody rings, or until `time.monotonic_ns()` reaches the deadline.

        Returns:
            False when the deadline passed first.
        """
        semaphore = self._semaphore
        while True:
            now_ns = time.monotonic_ns()
            until_ns = now_ns + _LONG_NS if deadline_ns is None else deadline_ns
            try:
                if until_ns <= now_ns:
                    semaphore.acquire(0)
                    return True
                if self._clock_wait is None:
                    semaphore.acquire(min((until_ns - now_ns) / 1e9, SLICE_S))
                    return True
                if self._clock_wait(until_ns):
                    return True
            except SignalError:
                continue
            except BusyError:
                if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                    return False

    def silence(self) -> None:
        """Take back all the ringing there was so far."""
        semaphore = self._semaphore
        while semaphore.value:
            try:
                semaphore.acquire(0)
            except BusyError:
                return

    def ring(self) -> None:
        """Wake the node, or let its next wait return at once."""
        self._semaphore.release()


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _ClockWait:
    """`sem_clockwait(CLOCK_MONOTONIC)` of glibc 2.30 and later, on a semaphore opened by name."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        library.sem_open.restype = ctypes.c_void_p
        self._semaphore = ctypes.c_void_p(library.sem_open(name.encode(), 0))
        self._wait = library.sem_clockwait

    def __call__(self, deadline_ns: int) -> bool:
        """Wait once; False when time is up or a signal came (the caller looks at the clock)."""
        until = _Timespec(*divmod(deadline_ns, 1_000_000_000))
        answer: int = self._wait(self._semaphore, time.CLOCK_MONOTONIC, ctypes.byref(until))
        return answer == 0


def _clock_wait(name: str) -> _ClockWait | None:
    library = ctypes.CDLL(None)
    return _ClockWait(library, name) if hasattr(library, "sem_clockwait") else None
