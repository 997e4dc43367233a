"""Sees to it that tests leave neither processes nor shared objects nor runs behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.objects import SHM, own_objects, run_of
from tests.harness.processes import own_processes
from tests.harness.waiting import eventually


@contextlib.contextmanager
def no_remains(own_runs: Path) -> Iterator[None]:
    """Fail the test if more is there afterwards than before, and remove it."""
    objects, processes, runs = own_objects(), own_processes(), run_directories(own_runs)
    yield
    try:
        eventually(lambda: own_processes().keys() <= processes.keys(), within_s=10)
    except AssertionError:
        left = {pid: line for pid, line in own_processes().items() if pid not in processes}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pytest.fail(f"the test left processes behind: {left}")
    check_objects(objects)
    assert run_directories(own_runs) <= runs


def check_objects(before: set[str]) -> None:
    """Fail the test if there are new shared objects, and remove them."""
    # What a run that several tests look at makes as it goes on is left by none of them.
    runs_before = {run_of(name) for name in before}
    left = {name for name in own_objects() - before if run_of(name) not in runs_before}
    for name in left:
        (SHM / name).unlink()
    assert not left, f"the test left shared objects behind: {sorted(left)[:5]}"


def run_directories(base: Path) -> set[str]:
    try:
        return {path.name for path in base.iterdir()}
    except FileNotFoundError:
        # The last run takes the folder with it.
        return set()
