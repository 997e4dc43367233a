"""A memory fence in pure Python, for what is read without a claim."""

from __future__ import annotations

import threading


class Fence:
    """Orders what this thread does before it and after it, as others see it.

    Letting go of a lock publishes what was done before, taking one keeps what comes after from
    being done earlier, and the two stay in this order also on ARM. Not to be shared by threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def pass_through(self) -> None:
        """Let nothing pass from one side of this call to the other."""
        self._lock.release()
        self._lock.acquire()
