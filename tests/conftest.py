"""What every test shares: nothing of ours may be left behind, whatever the test was about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

SHM = Path("/dev/shm")


def shared_objects() -> set[str]:
    return {path.name for path in SHM.iterdir() if path.name.startswith(("drt-", "sem.drt-"))}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = shared_objects()
    yield
    left = shared_objects() - before
    assert not left, f"the test left shared objects behind: {sorted(left)[:5]}"
