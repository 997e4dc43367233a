"""What docs/from-dora.md claims: everything is in its table, and what is the same has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/from-dora.md").read_text()
VERDICTS = ("same", "different", "not here")
# As `dir(dora.Node)` of dora-rs 1.1 and its documents have them.
METHODS = (
    "next try_recv drain is_empty recv_async send_output send_output_raw send_service_request "
    "send_service_response node_config dataflow_descriptor dataflow_id is_restart restart_count "
    "timestamp log log_error log_warn log_info log_debug log_trace merge_external_events "
    "extension_store extension_load extension_drop drain_dropped_extension_keys on_event"
)
EVENTS = (
    "INPUT INPUT_CLOSED STOP ERROR INPUT_RECOVERED NODE_RESTARTED NODE_FAILED PARAM_UPDATE "
    "PARAM_DELETED RELOAD"
)


def rows() -> list[list[str]]:
    """Give the cells of each row that compares something."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.splitlines()]
    return [row for row in cells if len(row) == 4 and row[1] in VERDICTS]


@pytest.mark.parametrize("method", METHODS.split())
def test_every_method_has_a_row(method: str):
    assert any(re.search(rf"`{method}\(", row[0]) for row in rows())


@pytest.mark.parametrize("event", EVENTS.split())
def test_every_event_has_a_row(event: str):
    assert any(f"`{event}`" in row[0] for row in rows())


def test_what_is_the_same_names_a_test_that_exists():
    same = [row for row in rows() if row[1] == "same"]
    assert len(same) > 30
    for what, _, _, shown_by in same:
        names = re.findall(r"`([\w/]+\.py)::(\w+)`", shown_by)
        assert names, f"{what} names no test"
        for file, name in names:
            folder = "tests" if "/" in file else "tests/dora"
            text = (ROOT / folder / file).read_text()
            assert f"\ndef {name}(" in text, f"{what}: there is no {file}::{name}"


def test_every_row_has_a_verdict():
    cells = [line.split("|")[1:-1] for line in TABLE.splitlines() if line.count("|") == 5]
    said = {cell[1].strip() for cell in cells} - {"here", "---"}

    assert said == set(VERDICTS)
