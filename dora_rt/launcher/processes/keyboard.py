"""The terminal of dora-launch, as the standard input of the one node that asks for it.

The node has a session of its own, so nothing of job control holds for it: it may read at any time,
and Ctrl-C stops the dataflow while the terminal makes a signal of it. What the node changes of the
terminal's modes is put right when it ends.
"""

from __future__ import annotations

import contextlib
import os
import termios
from collections.abc import Sequence
from typing import Any

from dora_rt.plan.plan import ProcessPlan

_STDIN = 0


class Keyboard:
    """The terminal, with the modes that it had when it was opened."""

    def __init__(self, descriptor: int, modes: list[Any]) -> None:
        self.descriptor = descriptor
        self._modes = modes

    def restore(self) -> None:
        """Put the modes of the terminal back, unless another job has it by now."""
        if not _is_in_front(self.descriptor):
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self._modes)


def open_keyboard(
    plans: Sequence[ProcessPlan], descriptor: int = _STDIN
) -> tuple[Keyboard | None, str | None]:
    """Return the terminal if a node asks for it, and else why that node cannot have it.

    Args:
        plans: of which one may ask for the terminal.
        descriptor: the standard input of this process.
    """
    # A dynamic node reads what its user starts it with.
    names = [plan.name for plan in plans if plan.resources.has_terminal and not plan.is_dynamic]
    if not names:
        return None, None
    if not os.isatty(descriptor):
        why = "dora-launch was not started in a terminal"
    elif not _is_in_front(descriptor):
        why = "dora-launch runs in the background of its terminal"
    else:
        return Keyboard(descriptor, termios.tcgetattr(descriptor)), None
    return None, (
        f"node {names[0]} has `stdin: terminal`, but {why}: it reads nothing. Start dora-launch by "
        f"hand in a terminal; or write `path: dynamic` and start the program of the node there"
    )


def _is_in_front(descriptor: int) -> bool:
    """Whether this process may use the terminal: else another job reads it."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        # It is not the terminal of this session, so there is no job control; or it is gone.
        return os.isatty(descriptor)
