"""The name space of this run of the tests, and the shared objects in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dora_rt.launcher.cleanup.run_directory import new_run_name
from dora_rt.runs import NAMESPACE_VARIABLE

SHM = Path("/dev/shm")


def namespace() -> str:
    """Return the name space that `conftest.py` has chosen for this run of the tests."""
    return os.environ[NAMESPACE_VARIABLE]


def new_run() -> str:
    """Draw a name for a run."""
    return new_run_name(namespace())


def run_named(name: str) -> str:
    """Return the full name of a run of that name, which no other run of the tests has."""
    return f"{name}.{namespace()}"


def own_objects() -> set[str]:
    """Return the file names of the shared objects of this run of the tests."""
    # Also in name spaces that a test makes of this one.
    ours = f".{namespace()}"
    return {path.name for path in SHM.iterdir() if ours in path.name}


def run_of(name: str) -> str:
    """Return the run that the file of a shared object belongs to."""
    return name.removeprefix("sem.").split("-")[1]


def objects(run: str = "") -> dict[str, int]:
    """Return the shared objects of a run, or of all tests, with the bytes that they take."""
    found = {}
    for name in own_objects():
        if name.removeprefix("sem.").startswith(f"drt-{run}"):
            with contextlib.suppress(FileNotFoundError):
                found[name] = (SHM / name).stat().st_blocks * 512
    return found


def new_objects(before: dict[str, int]) -> set[str]:
    """Return the shared objects that have appeared since."""
    return own_objects() - before.keys()
