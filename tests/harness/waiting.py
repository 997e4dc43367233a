"""Waits for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable

# A busy machine may take its time: how long something took is no finding of a test.
PATIENCE_S = 30.0


def eventually(condition: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    """Look until the condition holds; fail the test when it never does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.001)
