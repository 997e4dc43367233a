"""A fork server that begins before the launcher knows whether it needs one.

Both import for long, and a machine with two cores can do so at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from dora_rt.launcher.processes.environ import COMPAT_FOLDER, inherited_environ, node_environ
from dora_rt.launcher.processes.fork_client import WarmStart

# Beginnings of the options with which nothing, or something else, is started.
_STARTS_NOTHING = ("-h", "--h", "--c", "--v")
_waiting: list[WarmStart] = []


def begin(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start a fork server for a command with these arguments, if it may come to need one."""
    if not arguments or any(word.startswith(_STARTS_NOTHING) for word in arguments):
        return
    if len(os.sched_getaffinity(0)) < 2 or not _has_standard_streams():
        return
    try:
        server = WarmStart(node_environ(inherited_environ(environ), compat=COMPAT_FOLDER), None)
    except OSError:
        return
    _waiting.append(server)


def take(environ: Mapping[str, str], descriptors: Sequence[int]) -> WarmStart:
    """Give the one that was begun, if this is the environment that it has, or else start one.

    Args:
        environ: what the nodes find in their environment.
        descriptors: what they all inherit.

    Raises:
        OSError: it cannot be started.
    """
    if _waiting and _waiting[0].environ == environ:
        server = _waiting.pop()
        server.equip(descriptors)
        return server
    dismiss()
    return WarmStart(environ, descriptors)


def dismiss() -> None:
    """End the one that was begun and not taken, if there is one."""
    while _waiting:
        _waiting.pop().kill()


def _has_standard_streams() -> bool:
    # The first descriptors that are opened would take the numbers of those that are closed.
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True
