"""What comes to a launcher that is the init of its container: what nodes have left behind."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

_INIT = 1


def reap_orphans(own: Collection[int]) -> None:
    """Let go of processes that have ended and that nobody waits for, if that is this one's part.

    Without an init (`docker run` without --init) each of them would stay a zombie.

    Args:
        own: the processes whose end means something to the launcher.
    """
    if os.getpid() != _INIT:
        return
    with suppress(ChildProcessError):
        # Of the launcher's other children, such as its reaper, no exit status is needed.
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)
