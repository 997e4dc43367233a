"""Ctrl-C while a command still imports, before anything exists that had to be cleaned up."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_INTERRUPTED = 130


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let SIGINT end this process at once, with 130, inside the block; main thread only.

    A KeyboardInterrupt would not do: extension modules that are being imported print it, or make
    another error of it. A fork server that was begun ends with this process.
    """
    before = signal.getsignal(signal.SIGINT)
    # Who ignores it, as a shell lets what it starts with `&`, means it.
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
