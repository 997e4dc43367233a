"""Removes what other products leave in /dev/shm when their processes are gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHM = Path("/dev/shm")


@contextmanager
def removed(*patterns: str) -> Iterator[None]:
    """Remove the files that appear in /dev/shm during the block, match, and are used by nobody."""
    before = _matching(patterns)
    try:
        yield
    finally:
        new = _matching(patterns) - before
        for path in new - _in_use(new):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()


def _matching(patterns: tuple[str, ...]) -> set[Path]:
    return {path for pattern in patterns for path in _SHM.glob(pattern)}


def _in_use(paths: set[Path]) -> set[Path]:
    used: set[Path] = set()
    if paths:
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with contextlib.suppress(OSError):
                text = maps.read_text(errors="replace")
                used.update(path for path in paths if str(path) in text)
    return used
