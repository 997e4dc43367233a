from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.bed import Bed
from tests.flows.flow import Flow


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    flow = Flow(tmp_path)
    yield flow
    flow.close()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(tmp_path)
    yield bed
    bed.close()
