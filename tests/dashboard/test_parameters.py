"""Parameters on the page: shown, moved, refused, reset; and the requests behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import Dashboard, find_url
from tests.harness.flow import Flow
from tests.harness.verbs import verb
from tests.harness.waiting import eventually

pytest.importorskip("starlette", reason="the extra [web] is not installed")

FLOW = """
nodes:
  - id: detector
    path: detector.py
    inputs: {tick: dora/timer/millis/50}
    outputs: [out]
    parameters:
      threshold: {value: 0.4, min: 0, max: 1, help: least confidence}
      mode: {value: fast, choices: [fast, exact]}
      is_on: true
      classes: [person, dog]
      size: {value: 640, min: 32}
  - {id: old, path: detector.py, inputs: {tick: detector/out}, outputs: [out]}
"""
DETECTOR = """
from dora_rt import Node, ParameterChanged
node = Node()
while (event := node.next_event()) is not None:
    if isinstance(event, ParameterChanged):
        with open("notes", "a") as file:
            print(event.name, event.value, file=file)
    elif node.id() == "detector":
        node.send_output("out", b"x")
"""


@pytest.fixture
def flow(flow: Flow) -> Flow:
    flow.write("flow.yml", FLOW)
    flow.write("detector.py", DETECTOR)
    return flow


def start(flow: Flow) -> Dashboard:
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    return Dashboard(find_url(next(line for line in launcher.stdout if "dashboard:" in line)))


def notes(flow: Flow) -> list[str]:
    path: Path = flow.folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def shown_value(dashboard: Dashboard, run: str, name: str) -> Any:
    found = dashboard.ask(f"/api/runs/{run}/status").fields["parameters"]
    return next(one["value"] for one in found if one["name"] == name)


def test_value_is_set_and_reset_by_a_request(flow: Flow):
    dashboard = start(flow)
    (run,) = [one["run"] for one in dashboard.ask("/api/runs").fields["runs"]]
    fields = {"node": "detector", "name": "threshold"}

    done = dashboard.act(f"/api/runs/{run}/parameter", **fields, value=0.75)
    eventually(lambda: shown_value(dashboard, run, "threshold") == 0.75)
    again = dashboard.act(f"/api/runs/{run}/parameter", **fields)

    assert (done.status, done.fields) == (200, {"value": 0.75})
    assert again.fields == {"value": 0.4, "has_value": True}
    eventually(lambda: notes(flow) == ["threshold 0.75", "threshold 0.4"])


REFUSED = [
    ("{}", 400, "expected JSON such as"),
    ("[1]", 400, "expected JSON such as"),
    ("no", 400, "expected JSON such as"),
    ('{"node": "detector", "name": "threshold", "value": 2}', 409, "from 0 to 1, got 2"),
    ('{"node": "detector", "name": "nothing", "value": 2}', 409, "has no parameter"),
    ('{"node": {}, "name": [], "value": 2}', 409, "there is no node"),
    (json.dumps({"node": "x" * 70_000}), 413, "a request has at most 65536 bytes"),
]


def test_requests_that_make_no_sense_and_those_of_other_pages_are_refused(flow: Flow):
    dashboard = start(flow)
    (run,) = [one["run"] for one in dashboard.ask("/api/runs").fields["runs"]]
    path, origin = f"/api/runs/{run}/parameter", f"http://{dashboard.host}"

    for body, status, error in REFUSED:
        answer = dashboard.ask(path, method="POST", body=body, Origin=origin)
        assert (answer.status, error in answer.fields["error"]) == (status, True), body
    body = '{"node": "detector", "name": "threshold", "value": 0.5}'
    foreign = dashboard.ask(path, method="POST", body=body, Origin="http://evil.example")

    assert foreign.status == 403
    assert shown_value(dashboard, run, "threshold") == 0.4
    assert notes(flow) == []


def test_page_has_a_control_for_each_parameter_and_the_node_follows_it(flow: Flow, browser: Any):
    playwright = pytest.importorskip("playwright.sync_api")
    dashboard = start(flow)
    expect = playwright.expect
    expect.set_options(timeout=10_000)
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(dashboard.url)
    slider = page.get_by_label("threshold of detector, slider")
    field = page.get_by_label("threshold of detector", exact=True)

    expect(slider).to_have_value("0.4")
    expect(page.locator("#parameters li")).to_have_count(5)
    expect(page.locator("#parameters")).to_contain_text("least confidence")
    # As a person with a mouse: pressed where it stands, drawn to the end.
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.move(box["x"] + box["width"] + 5, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(field).to_have_value("1")
    eventually(lambda: notes(flow)[-1:] == ["threshold 1.0"])

    field.fill("0.25")
    field.press("Enter")
    expect(slider).to_have_value("0.25")
    eventually(lambda: notes(flow)[-1] == "threshold 0.25")

    page.get_by_label("mode of detector", exact=True).select_option("exact")
    eventually(lambda: notes(flow)[-1] == "mode exact")
    page.get_by_label("is_on of detector", exact=True).uncheck()
    eventually(lambda: notes(flow)[-1] == "is_on False")
    classes = page.get_by_label("classes of detector", exact=True)
    expect(classes).to_have_value('["person","dog"]')
    classes.fill('["cat"]')
    classes.press("Enter")
    eventually(lambda: notes(flow)[-1] == "classes ['cat']")

    # Refused, by the page and by the launcher: the reason is there, and the value as it was.
    classes.fill("[cat]")
    classes.press("Enter")
    why = page.locator("#parameters li", has_text="classes").locator(".why")
    expect(why).to_contain_text("expected JSON such as")
    size = page.get_by_label("size of detector", exact=True)
    size.fill("5")
    size.press("Enter")
    row = page.locator("#parameters li", has_text="size")
    expect(row.locator(".why")).to_contain_text("expected 32 or more, got 5")
    expect(size).to_have_value("640")
    page.get_by_role("button", name="Reset threshold of detector").click()
    expect(field).to_have_value("0.4")
    eventually(lambda: notes(flow)[-1] == "threshold 0.4")

    # What somebody else sets is shown, and a parameter that nobody has declared as well.
    verb("param", "set", "detector", "mode", "fast")
    expect(page.get_by_label("mode of detector", exact=True)).to_have_value('"fast"')
    verb("param", "set", "old", "gain", "2")
    expect(page.get_by_label("gain of old", exact=True)).to_have_value("2")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []
