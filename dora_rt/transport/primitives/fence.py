"""A memory fence in pure Python, for words that are read without a claim."""

from __future__ import annotations

import os
import threading
from itertools import repeat, starmap

# Others see their stores in the order in which they were made, without a fence.
_IN_ORDER = frozenset({"x86_64", "i686"})


def stores_need_fences() -> bool:
    """Return whether this machine may show the stores of a thread to others in another order."""
    return os.uname().machine not in _IN_ORDER


class Fence:
    """Orders what this thread does before it and after it, as others see it.

    Releasing a lock publishes what was done before, taking one keeps what comes after from
    being done earlier, and the two stay in this order also on ARM. Not to be shared by threads.
    """

    def __init__(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        let_go = starmap(lock.release, repeat(()))
        # One call into C, so that no signal handler comes between the two.
        both = zip(let_go, map(lock.acquire, repeat(True)), strict=False)
        self.pass_through = both.__next__
        """Let nothing pass from one side of this call to the other."""
