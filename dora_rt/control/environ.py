"""The environment that nodes and builds inherit from who runs the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def inherited_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment, with the commands of this Python's environment on its PATH.

    They are not there if that environment was not activated, and `path: some-command` would find
    none, or one of another Python.
    """
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    own = str(Path(sys.executable).parent)
    return {**environ, "PATH": os.pathsep.join(folders if own in folders else [own, *folders])}
