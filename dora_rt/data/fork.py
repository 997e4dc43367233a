"""Whether this process is a fork of a node: then nothing of the node is its own to change."""

from __future__ import annotations

import os

from dora_rt.errors import NodeClosedError

is_forked = False
_is_watching = False


def watch() -> None:
    """Notice forks of this process from now on."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        os.register_at_fork(after_in_child=_note)


def _note() -> None:
    global is_forked
    is_forked = True


def refuse(where: str, what: str) -> None:
    """Let nobody do in a fork what only the node itself can do.

    Raises:
        NodeClosedError: this process is a fork of the node.
    """
    if is_forked:
        raise NodeClosedError(
            f"{where}: this process is a fork of the node; only the node can {what}"
        )
