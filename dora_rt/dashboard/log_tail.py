"""Read what was added to a node's log file since the last look."""

from __future__ import annotations

import os
from pathlib import Path

from dora_rt.terminal import harmless

_MOST_NBYTES = 64 * 1024


def read_tail(path: Path, offset: int) -> tuple[str, int]:
    """Give whole lines after `offset`, at most the last 64 KiB, and the next offset.

    A file that is shorter than `offset` was begun anew, and is read from its start. It has
    neither colours nor control characters.

    Raises:
        OSError: there is no such file (any more).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        begin = offset if 0 <= offset <= end else 0
        is_cut = end - begin > _MOST_NBYTES
        if is_cut:
            begin = end - _MOST_NBYTES
        file.seek(begin)
        found = file.read(end - begin)
    whole = found[: found.rfind(b"\n") + 1]
    text = whole.partition(b"\n")[2] if is_cut else whole
    return harmless(text.decode("utf-8", "replace"), has_colours=False), begin + len(whole)
