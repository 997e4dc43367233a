"""What every test shares: nothing of ours may be left behind, whatever the test was about."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = shared_objects()
    yield
    left = shared_objects() - before
    if left:
        # Somebody may run a dataflow on this machine meanwhile: that one is alive.
        left -= in_use_by_others()
    assert not left, f"the test left shared objects behind: {sorted(left)[:5]}"


def shared_objects() -> set[str]:
    return {path.name for path in SHM.iterdir() if path.name.startswith(("drt-", "sem.drt-"))}


def in_use_by_others() -> set[str]:
    runs = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if maps.parent.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            for line in maps.read_text().splitlines():
                name = line.rpartition("/")[2]
                if "/dev/shm/" in line and name.startswith(("drt-", "sem.drt-")):
                    runs.add(name.removeprefix("sem.").split("-")[1])
    return {name for name in shared_objects() if name.removeprefix("sem.").split("-")[1] in runs}
