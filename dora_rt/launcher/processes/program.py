"""Why a program could not be executed, found out before it is tried."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def find_obstacle(program: str, *, folder: str, search_path: str) -> str | None:
    """Say why a program cannot be executed, or None if nothing is in its way.

    Args:
        program: as of `execvp`: a path, if it has a slash, or a name to be searched for.
        folder: the folder in which it will be executed.
        search_path: the PATH with which it will be executed.
    """
    if "/" not in program:
        found = shutil.which(program, path=search_path)
        return os.strerror(errno.ENOENT) if found is None else _find_obstacle(Path(found))
    return _find_obstacle(Path(folder) / program)


def _find_obstacle(path: Path) -> str | None:
    if not path.exists():
        return os.strerror(errno.ENOENT)
    if not path.is_file() or not os.access(path, os.X_OK):
        return os.strerror(errno.EACCES)
    interpreter = _interpreter(path)
    if interpreter is None or interpreter.exists():
        return None
    return f"its first line names {interpreter}, which does not exist"


def _interpreter(path: Path) -> Path | None:
    try:
        with path.open("rb") as file:
            line = file.readline(256)
    except PermissionError:
        # A compiled program can be executed without being readable.
        return None
    words = line.removeprefix(b"#!").split()
    return Path(os.fsdecode(words[0])) if line.startswith(b"#!") and words else None
