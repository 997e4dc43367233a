"""Ctrl-C while a command still imports, when there is nothing to clean up yet."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from dora_rt.exit_codes import EXIT_INTERRUPTED


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """In the block, SIGINT ends this process at once, with 130; main thread only.

    A KeyboardInterrupt would not do: extension modules that are being imported print it, or turn it
    into another error. A fork server that has begun ends with this process.
    """
    before = signal.getsignal(signal.SIGINT)
    # A shell makes what it starts with `&` ignore it; that stays so.
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(*_: object) -> None:
    os._exit(EXIT_INTERRUPTED)
