"""Signals as data: the handlers only record, and a pipe wakes the loop that reads the record."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-\ as well: whoever presses it in a hurry wants the motors off, which only nodes that are
# stopped do, and none that dies with its launcher.
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class SignalRecorder:
    """Signals that were received and not taken yet; `descriptor` is readable when there are."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._received: deque[signal.Signals] = deque()

    def record(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: only record it."""
        self._received.append(signal.Signals(number))

    def take(self) -> Iterator[signal.Signals]:
        """Yield the recorded signals, oldest first, and empty the pipe."""
        try:
            while os.read(self.descriptor, 512):
                pass
        except BlockingIOError:
            pass
        while self._received:
            yield self._received.popleft()

    @property
    def untaken(self) -> signal.Signals | None:
        """The first signal to stop that came too late to be taken; None if there is none."""
        return next((number for number in self._received if number in _STOPPING), None)


@contextmanager
def without_suspension(recorder: SignalRecorder) -> Iterator[None]:
    """Record the signal of Ctrl-Z inside the block, instead of being suspended by it.

    A node that reads the terminal would read on, and take from the shell what is typed for it.
    """
    previous = signal.signal(signal.SIGTSTP, recorder.record)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, previous)


@contextmanager
def recorded_signals() -> Iterator[SignalRecorder]:
    """Record SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGCHLD inside the block; main thread only."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    recorder = SignalRecorder(read_end)
    previous_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    previous = {
        number: signal.signal(number, recorder.record)
        for number in (*_STOPPING, signal.SIGCHLD)
        # nohup has ignored SIGHUP on purpose, and a script that goes on without us SIGQUIT.
        if number not in (signal.SIGHUP, signal.SIGQUIT)
        or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield recorder
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_wakeup)
        os.close(read_end)
        os.close(write_end)
