"""Semaphore operations noted in the same call into C, so that no exception comes between.

A signal handler's exception may arrive between any two bytecodes. Where it must be known for
certain whether a count was taken or given, the operation and the note of it are one chain of
iterators: each call of what these functions return draws one item through it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any

from dora_rt.transport.primitives.shm import Semaphore


def claiming(token: Semaphore, note: list[int], mark: int) -> Callable[[], Any]:
    """Return a function that takes one count at once, and then appends `mark` to `note`.

    It raises BusyError, and notes nothing, if there is no count to take.
    """
    taken = zip(repeat(mark), map(token.acquire, repeat(0)))
    return map(note.append, map(itemgetter(0), taken)).__next__


def posting(token: Semaphore, note: list[None]) -> Callable[[], Any]:
    """Return a function that adds one count, and then appends None to `note`."""
    return map(note.append, starmap(token.release, repeat(()))).__next__


def locking(lock: Any, note: list[bool], timeout_s: float) -> None:
    """Try to take a lock, for so long at most, and note whether it was taken.

    Args:
        lock: of `threading`.
        note: gets True or False; on True the caller releases the lock, whatever was raised.
        timeout_s: seconds to wait; 0: do not wait.
    """
    if timeout_s > 0:
        note.extend(map(lock.acquire, (True,), (timeout_s,)))
    else:
        note.extend(map(lock.acquire, (False,)))
