from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.remains import no_remains


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(own_runs: Path) -> Iterator[None]:
    """See to it for a whole module, whose tests share a run that restarts its nodes."""
    with no_remains(own_runs):
        yield
