"""Shared objects in /dev/shm, seen from outside: the runs they belong to, and their users."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dora_rt.runs import RUN_PATTERN, namespace_of_run
from dora_rt.transport.primitives.shm import SHM_DIRECTORY

_FILE_NAME = re.compile(rf"(?:sem\.)?drt-({RUN_PATTERN})-.+")
_BLOCK_NBYTES = 512


@dataclass(frozen=True, slots=True)
class SharedObject:
    """A shared object of some run: its file name in /dev/shm, and the memory that it takes."""

    name: str
    run: str
    nbytes: int


def find_objects(namespace: str) -> list[SharedObject]:
    """Find the shared objects of all runs of this user in a name space."""
    objects = []
    with os.scandir(SHM_DIRECTORY) as entries:
        for entry in entries:
            match = _FILE_NAME.fullmatch(entry.name)
            if match is None or namespace_of_run(match[1]) != namespace:
                continue
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.geteuid():
                    nbytes = status.st_blocks * _BLOCK_NBYTES
                    objects.append(SharedObject(entry.name, match[1], nbytes))
    return objects


def find_objects_of(run: str) -> list[SharedObject]:
    """Find the shared objects of one run of this user."""
    return [entry for entry in find_objects(namespace_of_run(run)) if entry.run == run]


def has_objects(run: str) -> bool:
    """Return whether the name of a shared object belongs to the run."""
    prefixes = (f"drt-{run}-", f"sem.drt-{run}-")
    return any(path.name.startswith(prefixes) for path in SHM_DIRECTORY.iterdir())


def find_mapped_runs() -> set[str]:
    """Find the runs of which a process, as far as it may be looked at from here, maps an object."""
    runs = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        # Gone meanwhile, or another user's.
        with suppress(OSError):
            for line in maps.read_text(errors="replace").splitlines():
                match = _FILE_NAME.match(line.partition(f" {SHM_DIRECTORY}/")[2])
                if match is not None:
                    runs.add(match[1])
    return runs


def unlink_objects(objects: Iterable[SharedObject]) -> None:
    """Remove shared objects; processes that have them mapped keep the memory."""
    for entry in objects:
        # As files, as Linux has them: another version may have made them.
        with suppress(FileNotFoundError):
            (SHM_DIRECTORY / entry.name).unlink()
