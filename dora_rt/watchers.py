"""Programs that look at a run from outside: each holds a shared lock in the run directory.

The lock goes with its process. No node waits for such a program, and no connection is needed, of
which a run takes only a few. The launcher tries the lock when it must know whether anybody still
reads what a source sends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dora_rt.runs import MANIFEST_NAME

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def watch(base: Path, run: str) -> int | None:
    """Count as one that looks at a run until the descriptor is closed.

    Args:
        base: the folder of all runs.
        run: its name.

    Returns:
        The descriptor; None: the run has ended.
    """
    try:
        descriptor = os.open(base / run / MANIFEST_NAME, _FILE)
    except OSError:
        return None
    # Waits for the launcher's look at most.
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextlib.contextmanager
def watching(base: Path, run: str) -> Iterator[None]:
    """Count as one that looks at a run inside the block."""
    descriptor = watch(base, run)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def has_watchers(folder: Path) -> bool:
    """Whether a program looks at the run of this directory; only its launcher may ask."""
    try:
        descriptor = os.open(folder / MANIFEST_NAME, _FILE)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
