from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import in_use_by_others, own_processes, run_directories, shared_objects
from tests.flows.flow import Flow
from tests.helpers import eventually


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    """See to it for a whole module, whose tests share a run that restarts its nodes."""
    objects, processes, runs = shared_objects(), own_processes(), run_directories(own_runs)
    yield
    eventually(lambda: own_processes().keys() <= processes.keys(), within_s=2)
    left = shared_objects() - objects - in_use_by_others()
    assert left & shared_objects() == set()
    assert run_directories(own_runs) <= runs


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    flow = Flow(tmp_path)
    yield flow
    flow.close()
