"""The environment of nodes and builds, inherited from the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

COMPAT_FOLDER = Path(__file__).parents[2] / "compat"
# For the launcher only: a node that is ready does not make the run ready.
NOTIFY_VARIABLE = "NOTIFY_SOCKET"


def inherited_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, with the commands of this Python's environment on its PATH.

    They are not there if that environment was not activated, and `path: some-command` would find
    none, or one of another Python.
    """
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    own = str(Path(sys.executable).parent)
    return {**environ, "PATH": os.pathsep.join(folders if own in folders else [own, *folders])}


def node_environ(environ: Mapping[str, str], *, compat: Path | None) -> dict[str, str]:
    """Return the environment of all nodes of a run; `compat` is the folder of `dora`, if wanted."""
    kept = {name: value for name, value in environ.items() if name != NOTIFY_VARIABLE}
    return with_compat({**kept, "PYTHONUNBUFFERED": "1"}, compat)


def with_compat(environ: dict[str, str], compat: Path | None) -> dict[str, str]:
    """Prepend `compat` to PYTHONPATH, unless it is None or already first."""
    folders = environ.get("PYTHONPATH", "").split(os.pathsep)
    if compat is None or folders[0] == str(compat):
        return environ
    path = os.pathsep.join([str(compat), *filter(None, folders)])
    return {**environ, "PYTHONPATH": path}
