"""Where the tests of the nodes find data that are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder beside the checkout with a real model and real videos, or skip the test."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the folder {_SHARED_DATA} is missing (a real model and real videos)")
    return _SHARED_DATA
