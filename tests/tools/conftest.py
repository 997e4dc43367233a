from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import no_remains
from tests.flows.flow import Flow


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    """See to it for a whole module, whose tests share a run that restarts its nodes."""
    with no_remains(own_runs):
        yield


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    flow = Flow(tmp_path)
    yield flow
    flow.close()
