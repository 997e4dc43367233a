"""`~` at the beginning of a path in a dataflow file: no shell reads it."""

from __future__ import annotations

from pathlib import Path

NO_HOME = "no home folder is known for that user"
"""Why a path that still begins with `~` does not exist."""


def with_home(path: str) -> str:
    """Return a path with the home folder in place of `~` or `~user`; as it is if there is none."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path
