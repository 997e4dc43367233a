"""The environment that nodes and builds inherit from who runs the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

COMPAT_FOLDER = Path(__file__).parents[2] / "compat"
# It is the launcher's: what a node says of itself is not so of the run.
NOTIFY_VARIABLE = "NOTIFY_SOCKET"


def inherited_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment, with the commands of this Python's environment on its PATH.

    They are not there if that environment was not activated, and `path: some-command` would find
    none, or one of another Python.
    """
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    own = str(Path(sys.executable).parent)
    return {**environ, "PATH": os.pathsep.join(folders if own in folders else [own, *folders])}


def node_environ(environ: Mapping[str, str], *, compat: Path | None) -> dict[str, str]:
    """Give what all nodes of a run find in their environment; `compat`: where `dora` is first."""
    kept = {name: value for name, value in environ.items() if name != NOTIFY_VARIABLE}
    return with_compat({**kept, "PYTHONUNBUFFERED": "1"}, compat)


def with_compat(environ: dict[str, str], compat: Path | None) -> dict[str, str]:
    """Put the folder with `dora` first on the path of Python, unless there is none or it is."""
    folders = environ.get("PYTHONPATH", "").split(os.pathsep)
    if compat is None or folders[0] == str(compat):
        return environ
    path = os.pathsep.join([str(compat), *filter(None, folders)])
    return {**environ, "PYTHONPATH": path}
