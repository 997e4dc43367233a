"""Tells tests that start programs, such as dora-launch, from those that need none.

Those that start none are fast, and `make check` runs them. A test that takes one of the fixtures
below, directly or by another one, is marked; all others carry the mark `programs` themselves, or
their file does. A test without the mark that starts a program all the same fails.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

import pytest

FIXTURES = frozenset({"flow", "shared_flow", "isolated", "starts_programs"})
MARK = "programs"
MARK_TEXT = f"{MARK}: starts programs, such as dora-launch; not in `make check`"
# What Python reports before it starts a program; a fork that goes on with the test is none.
_EVENTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec"})

_current: list[pytest.Item] = []


def mark(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(MARK)


def may_start(item: pytest.Item) -> bool:
    return item.get_closest_marker(MARK) is not None


@contextlib.contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """Let the item start programs only if it is marked."""
    _current.append(item)
    try:
        yield
    finally:
        _current.pop()


def _watch(event: str, _: object) -> None:
    if event in _EVENTS and _current and not may_start(_current[-1]):
        raise AssertionError(f"{_current[-1].nodeid} starts a program and has no mark {MARK!r}")


sys.addaudithook(_watch)
