from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.flow import Flow


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    flow = Flow(tmp_path)
    yield flow
    flow.close()


@pytest.fixture(scope="module")
def shared_flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """Give a folder for one flow that all tests of a module look at."""
    flow = Flow(tmp_path_factory.mktemp("flow"))
    yield flow
    flow.close()
