"""A fork server that begins before the launcher knows whether it needs one.

Both import for long, and a machine with two cores can do so at the same time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.launcher.processes.environ import COMPAT_FOLDER, inherited_environ, node_environ
from dora_rt.launcher.processes.fork_client import WarmStart

_waiting: list[WarmStart] = []
_NAMES = re.compile(rb"""\bid["']?\s*:""")
_LOOKED_AT_NBYTES = 65536


def is_worth_it(file: Path) -> bool:
    """Guess from a dataflow file, before it is parsed, whether its run will use a fork server.

    One process alone does not. A wrong guess costs time, and nothing else.
    """
    if not file.is_file():
        return True  # whoever reads it will say so; and a pipe can be read once only
    try:
        with file.open("rb") as text:
            start = text.read(_LOOKED_AT_NBYTES)
    except OSError:
        return True
    # A module is several nodes, and is in another file.
    return len(start) == _LOOKED_AT_NBYTES or b"module" in start or len(_NAMES.findall(start)) > 1


def begin(environ: Mapping[str, str], *, has_dora_compat: bool = True) -> None:
    """Start a fork server for a run in this environment, if there is a core for it.

    The standard streams must be open: its pipes would take their numbers.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return
    try:
        compat = COMPAT_FOLDER if has_dora_compat else None
        server = WarmStart(node_environ(inherited_environ(environ), compat=compat), None)
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
