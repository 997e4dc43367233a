"""The page of teleop in a real browser: it drives while a button is held, and however it ends."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.harness.flow import Flow
from tests.nodes.test_teleop import FLOW, MOTOR

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# Longer than by default: the browser shares a busy machine with other tests, and may stand still
# for a second or two while it opens a page.
HOLD_S = 1.5
LONG_HOLD_S = 4
NOBODY = "twist 0.0 0.0 0.0 0.0 0.0 0.0 nobody"
AHEAD = "twist 0.25 0.0 0.0 0.0 0.0 0.0 page"


class Driven:
    """A run whose twists are read line by line."""

    def __init__(self, flow: Flow, hold_s: float = HOLD_S) -> None:
        flow.write(
            "flow.yml", FLOW.replace("ARGS", f"--devices page --port 0 --page-hold {hold_s}")
        )
        flow.write("motor.py", MOTOR)
        launcher = flow.start()
        assert launcher.stdout is not None
        self.launcher, self._lines = launcher, iter(launcher.stdout)
        self.url = ""
        while not self.url or not self._seen_first:
            self._take()

    _seen_first = False

    def _take(self) -> str:
        line = next(self._lines)
        if found := re.search(r"open (http://\S+) to drive", line):
            self.url = found[1]
        text = line.partition("| ")[2].strip()
        self._seen_first |= text == NOBODY
        return text

    def next_twist(self) -> str:
        while not (text := self._take()).startswith("twist"):
            pass
        return text


def test_page_drives_while_a_button_is_held_and_stops_however_it_ends(flow: Flow, browser: Any):
    driven = Driven(flow, LONG_HOLD_S)
    complaints: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(driven.url)
    state = page.get_by_role("status")
    expect = playwright.expect
    expect(state).to_have_text("ready")

    # A button that is held, moved away from, and let go.
    button = page.get_by_role("button", name="Forward")
    button.hover()
    page.mouse.down()
    assert driven.next_twist() == AHEAD
    expect(state).to_have_text("driving")
    page.mouse.move(2, 2)
    page.mouse.up()
    assert driven.next_twist() == NOBODY

    # A key, and STOP while it is held.
    page.keyboard.down("a")
    assert driven.next_twist() == "twist 0.0 0.0 0.0 0.0 0.0 0.5 page"
    page.keyboard.down("ArrowUp")
    assert driven.next_twist() == "twist 0.25 0.0 0.0 0.0 0.0 0.5 page"
    page.keyboard.press("Space")
    assert driven.next_twist() == NOBODY
    page.keyboard.up("a")
    page.keyboard.up("ArrowUp")

    # Another page does not take over from one that drives.
    button.hover()
    page.mouse.down()
    assert driven.next_twist() == AHEAD
    other = browser.new_page()
    other.goto(driven.url)
    other.keyboard.down("s")
    expect(other.get_by_role("status")).to_have_text("somebody else drives")
    other.close()

    # The connection is lost while the button is held.
    page.context.set_offline(True)
    assert driven.next_twist() == NOBODY
    expect(state).to_have_text("no connection: stopped")
    page.context.set_offline(False)
    assert driven.next_twist() == AHEAD

    # And the page is closed, just as it is.
    page.close()
    assert driven.next_twist() == NOBODY
    assert complaints == []


def test_page_whose_program_is_frozen_is_a_stop(flow: Flow, browser: Any):
    driven = Driven(flow)
    page = browser.new_page()
    page.goto(driven.url)
    playwright.expect(page.get_by_role("status")).to_have_text("ready")
    page.get_by_role("button", name="Forward").hover()
    page.mouse.down()
    assert driven.next_twist() == AHEAD

    # A page that hangs tells no release.
    page.evaluate("() => { const until = Date.now() + 4000; while (Date.now() < until) {} }")

    assert driven.next_twist() == NOBODY
