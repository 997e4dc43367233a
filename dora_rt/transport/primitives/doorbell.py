"""Semaphores to sleep on: the doorbell of a node, and what comes back on a blocking edge."""

from __future__ import annotations

import ctypes
import functools
import time
from contextlib import suppress

from dora_rt.compiled import DoorbellCore, prefer_compiled, prefer_compiled_function
from dora_rt.errors import SharedMemoryError
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import (
    SLICE_S,
    BusyError,
    ClosedError,
    SignalError,
    attach_semaphore,
)

_FOR_EVER_S = 366 * 24 * 3600


@prefer_compiled_function
def deadline_after(timeout_s: float | None) -> int | None:
    """Return the `time.monotonic_ns()` at which a time-out in seconds is over; None: never.

    Raises:
        ValueError: the time-out is negative or not a number.
    """
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, (int, float)) or not timeout_s >= 0:
        raise ValueError(f"timeout must be 0 or more seconds, or None, got {timeout_s!r}")
    # Infinity has no nanoseconds.
    return None if timeout_s > _FOR_EVER_S else time.monotonic_ns() + int(timeout_s * 1e9)


@prefer_compiled
class Doorbell(DoorbellCore):
    """A semaphore to sleep on.

    An exception of a handler during the wait arrives, and the deadline is monotonic. Neither is
    true of posix_ipc's own waits: they replace the handler's exception by one of theirs, and their
    time-outs are wall-clock time. They serve only where the C library has no `sem_clockwait`
    (before glibc 2.30), in short slices.
    """

    def __init__(self, name: str, spin: Spin) -> None:
        """Attach to what the launcher made; `spin` says how long to poll before each sleep.

        Raises:
            SharedMemoryError: there is none of this name.
        """
        self._semaphore = attach_semaphore(name)
        try:
            self._waits = _find_waits(name)
        except SharedMemoryError:
            self._semaphore.close()
            raise
        self._spin = spin
        self.has_slept = False
        """Whether the last `wait` that returned True had to be woken."""

    def wait(self, deadline_ns: int | None) -> bool:
        """Wait for a ring, or until `time.monotonic_ns()` reaches the deadline.

        Returns:
            False when the deadline passed first.
        """
        semaphore = self._semaphore
        self.has_slept = False
        # A look costs less than the exception.
        if semaphore.value or (self._spin.limit_ns and self._poll(deadline_ns)):
            try:
                semaphore.acquire(0)
                return True
            except BusyError:
                pass  # another thread was faster
        return self._sleep(deadline_ns)

    def _poll(self, deadline_ns: int | None) -> bool:
        semaphore, spin = self._semaphore, self._spin
        until_ns = time.monotonic_ns() + spin.limit_ns
        if deadline_ns is not None and deadline_ns < until_ns:
            until_ns = deadline_ns
        while not semaphore.value:
            if time.monotonic_ns() >= until_ns:
                spin.was_in_vain()
                return False
        spin.paid()
        return True

    def _sleep(self, deadline_ns: int | None) -> bool:
        is_learning = self._spin.is_learning
        began_ns = now_ns = 0
        if is_learning or deadline_ns is not None:
            began_ns = now_ns = time.monotonic_ns()
        sleep = self._sleep_once if self._waits is None else self._waits.wait
        while deadline_ns is None or now_ns < deadline_ns:
            if sleep(deadline_ns):
                if is_learning:
                    self._spin.slept(time.monotonic_ns() - began_ns)
                self.has_slept = True
                return True
            now_ns = time.monotonic_ns()
        return self._take()

    def _sleep_once(self, deadline_ns: int | None) -> bool:
        slice_s = SLICE_S
        if deadline_ns is not None:
            slice_s = min(max(deadline_ns - time.monotonic_ns(), 0) / 1e9, SLICE_S)
        try:
            self._semaphore.acquire(slice_s)
        except (SignalError, BusyError):
            return False
        return True

    def _take(self) -> bool:
        try:
            self._semaphore.acquire(0)
        except BusyError:
            return False
        return True

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

    def close(self) -> None:
        """Close the semaphore; no thread may wait on it any more."""
        with suppress(ClosedError):
            self._semaphore.close()
        if self._waits is not None:
            self._waits.close()


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Waits:
    """The waits of glibc 2.30 and later, on a semaphore opened by name."""

    _nothing = ctypes.c_void_p()
    _semaphore = _nothing  # until it is open

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        library.sem_open.restype = ctypes.c_void_p
        self._close = library.sem_close
        self._semaphore = ctypes.c_void_p(library.sem_open(name.encode(), 0))
        if not self._semaphore:
            # Removed a moment ago; a wait on nothing is a segmentation fault.
            raise SharedMemoryError(f"semaphore {name} is gone: its process has ended")
        self._wait = library.sem_wait
        self._clock_wait = library.sem_clockwait

    def wait(self, deadline_ns: int | None) -> bool:
        """Wait once; False when time is up or a signal came (the caller looks at the clock)."""
        answer: int
        if deadline_ns is None:
            answer = self._wait(self._semaphore)
        else:
            until = _Timespec(*divmod(deadline_ns, 1_000_000_000))
            clock = time.CLOCK_MONOTONIC
            answer = self._clock_wait(self._semaphore, clock, ctypes.byref(until))
        return answer == 0

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the C library counts how often it is open."""
        semaphore, self._semaphore = self._semaphore, self._nothing
        if semaphore:
            self._close(semaphore)


def _find_waits(name: str) -> _Waits | None:
    library = _find_library()
    return _Waits(library, name) if hasattr(library, "sem_clockwait") else None


@functools.cache
def _find_library() -> ctypes.CDLL:
    # Once: each makes classes of its own, in a circle, and a peer that restarts makes a doorbell.
    return ctypes.CDLL(None)
