"""The rungs of the stop ladder, and the ending of a process in words."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from enum import Enum

from dora_rt.report import Ending
from dora_rt.transport.primitives.shm import SHM_DIRECTORY


class Rung(Enum):
    """A step of the stop ladder that a process was pushed to."""

    NONE = 0
    TOLD = 1
    INTERRUPTED = 2
    """By SIGINT, which in Python is a KeyboardInterrupt: its cleanup code runs."""
    TERMINATED = 3
    KILLED = 4

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that belongs to it."""
        return _SIGNALS.get(self)


_SIGNALS = {
    Rung.INTERRUPTED: signal.SIGINT,
    Rung.TERMINATED: signal.SIGTERM,
    Rung.KILLED: signal.SIGKILL,
}


def describe_ending(
    exit_status: int, rungs: Sequence[Rung], *, was_interrupted: bool = True
) -> Ending:
    """Return how a process ended, in words.

    Args:
        exit_status: as of `subprocess`, minus the signal's number if a signal ended it.
        rungs: those it had been pushed to, with all that it had started.
        was_interrupted: whether SIGINT, if it is among them, was sent to the process itself.
    """
    if exit_status == 0:
        return Ending(False, "stopped" if rungs else "finished")
    if Rung.KILLED in rungs and exit_status == -signal.SIGKILL:
        return _killed(rungs)
    if was_interrupted and Rung.INTERRUPTED in rungs and exit_status == -signal.SIGTERM:
        # Its own handler would have been asked first: it had none, and nothing of it was run.
        return _killed([rung for rung in rungs if rung is not Rung.TERMINATED])
    for rung in (Rung.INTERRUPTED, Rung.TERMINATED):
        number = rung.signal
        # A shell, and many a program, exits with 128 and the number of the signal.
        if rung in rungs and number is not None and exit_status in (-number, 128 + number):
            return Ending(False, f"stopped ({number.name})")
    if exit_status < 0:
        return Ending(True, f"failed: {_describe_signal(-exit_status)}")
    return Ending(True, f"failed: exit status {exit_status}")


def _killed(rungs: Sequence[Rung]) -> Ending:
    asked = [rung.signal for rung in rungs if rung in (Rung.INTERRUPTED, Rung.TERMINATED)]
    at = "".join(f", nor at {number.name}" for number in asked if number is not None)
    return Ending(True, f"killed: it did not stop when told to{at}")


def name_signal(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal: Python has names for few of them


def _describe_signal(number: int) -> str:
    meaning = signal.strsignal(number)
    if meaning is None or number >= signal.SIGRTMIN:
        return name_signal(number)
    if number == signal.SIGBUS:
        meaning += f": shared memory was truncated, or {SHM_DIRECTORY} is full"
    return f"{name_signal(number)} ({meaning})"
