"""The page in a real browser."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest

from dora_rt.runs import Connection, base_folder, find_runs
from tests.dashboard.conftest import FLOW, find_url
from tests.harness.flow import Flow
from tests.harness.verbs import start

pytest.importorskip("starlette", reason="the extra [web] is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


# How wide the picture was, looked at whenever the page has a moment, until there were ten.
WIDTHS_SEEN = """() => new Promise((done) => {
  const widths = new Set(), sources = new Set(), channel = new MessageChannel();
  channel.port1.onmessage = () => {
    const image = document.querySelector("#pictures img");
    widths.add(image.naturalWidth);
    sources.add(image.src);
    if (sources.size < 10) channel.port2.postMessage("again"); else done([...widths]);
  };
  channel.port2.postMessage("begin");
})"""


def test_page_shows_a_run_from_its_start_over_a_node_that_dies_to_its_stop(
    flow: Flow, browser: Any
):
    # Longer than the page and the dashboard take to ask again, both every half second.
    flow.write("flow.yml", FLOW.replace("restart_delay: 0.5", "restart_delay: 1.5"))
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    url = find_url(next(line for line in launcher.stdout if line.startswith("dashboard:")))
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    expect = playwright.expect
    expect.set_options(timeout=10_000)
    page.goto(url)

    expect(page.get_by_role("status")).to_contain_text("running")
    expect(page.locator("#graph svg .box[data-process=detector]")).to_have_attribute(
        "data-state", "running"
    )
    label = page.locator("#graph .label[data-edge='detector/bbox sink/bbox'] .value")
    expect(label).to_have_text(re.compile(r"[1-9]\d\.\d Hz · .+ / .+"))
    expect(page.locator("#pictures svg text")).to_have_text("cat 0.90")
    assert page.evaluate(WIDTHS_SEEN) == [64], "there is always a whole picture"
    expect(page.locator("#log")).to_contain_text("the camera looks")

    os.kill(pid_of("detector"), signal.SIGKILL)
    row = page.locator("#nodes li", has=page.get_by_text("detector", exact=True))
    expect(row).to_have_attribute("data-state", "waiting to be restarted")
    expect(row).to_have_attribute("data-state", "running")
    expect(row).to_contain_text("restarted 1×")
    expect(page.locator("#pictures svg text")).to_have_text("cat 0.90")

    page.get_by_role("button", name="Stop sink").click()
    page.get_by_role("button", name="Stop", exact=True).click()
    sink = page.locator("#nodes li", has=page.get_by_text("sink", exact=True))
    expect(sink).to_have_attribute("data-state", "stopped by hand")
    page.get_by_role("button", name="Restart sink").click()
    expect(sink).to_have_attribute("data-state", "running")

    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    page.get_by_role("button", name="Stop the run").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_contain_text("running")
    page.get_by_role("button", name="Stop the run").click()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("ended")
    launcher.communicate(timeout=30)
    assert launcher.returncode == 0
    assert complaints == []


def pid_of(node: str) -> int:
    base = base_folder(os.environ)
    for run in find_runs(base):
        connection = Connection.open(base, run)
        assert connection is not None
        with connection:
            status, _ = connection.ask("status")
        return next(entry["pid"] for entry in status["processes"] if entry["name"] == node)
    raise AssertionError("no run")


def test_page_shows_the_log_of_the_node_that_has_failed(flow: Flow, browser: Any):
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    url = find_url(next(line for line in launcher.stdout if line.startswith("dashboard:")))
    page = browser.new_page()
    expect = playwright.expect
    expect.set_options(timeout=10_000)
    page.goto(url)
    expect(page.locator("#log-node")).to_have_value("*")
    expect(page.locator("#log")).to_contain_text(
        re.compile(r"^camera +\| .*the camera looks", re.M)
    )
    expect(page.get_by_role("status")).to_contain_text("running")

    os.kill(pid_of("sink"), signal.SIGKILL)

    expect(page.get_by_role("status")).to_contain_text("1 failed")
    # Green is for what is well.
    green, red = (
        page.evaluate(f"getComputedStyle(document.querySelector('{which}')).color")
        for which in ("#nodes li[data-state=running] .name", "#state")
    )
    assert red != green
    expect(page.locator("#log-node")).to_have_value("sink")
    page.locator("#graph .box[data-process=camera]").click()
    expect(page.locator("#log-node")).to_have_value("camera")
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)
    # Its dashboard is gone with it, and what it showed last says how it ended.
    expect(page.get_by_role("status")).to_have_text("the run and its dashboard have ended")
    expect(page.get_by_role("alert")).to_contain_text("failed: sink (SIGKILL (Killed))")
    camera = page.locator("#nodes li", has=page.get_by_text("camera", exact=True))
    expect(camera).to_have_attribute("data-state", "ended")
    expect(page.locator("#nodes li[data-state=running]")).to_have_count(0)


def test_gap_in_the_network_is_not_taken_for_the_end_of_the_run(flow: Flow, browser: Any):
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    url = find_url(next(line for line in launcher.stdout if line.startswith("dashboard:")))
    context = browser.new_context()
    page = context.new_page()
    expect = playwright.expect
    expect.set_options(timeout=15_000)
    page.goto(url)
    expect(page.get_by_role("status")).to_contain_text("running")

    context.set_offline(True)

    expect(page.get_by_role("status")).to_contain_text(
        re.compile(r"connection lost, trying again \(last seen \d+ s ago\)")
    )
    context.set_offline(False)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"running \d+:\d\d"))
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)
    expect(page.get_by_role("status")).to_have_text("the run and its dashboard have ended")


def test_graph_and_edges_of_many_nodes_can_be_seen_whole(flow: Flow, browser: Any):
    count = 24
    chain = [
        f"- {{id: node{number}, path: pass.py, outputs: [out], "
        f"inputs: {{in: node{number - 1}/out}}}}"
        for number in range(1, count)
    ]
    first = "- {id: node0, path: pass.py, inputs: {tick: dora/timer/hz/20}, outputs: [out]}"
    flow.write("flow.yml", "nodes:\n" + "\n".join([first, *chain]))
    flow.write(
        "pass.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node: node.send_output("out", b"x")
        """,
    )
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    url = find_url(next(line for line in launcher.stdout if line.startswith("dashboard:")))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    expect = playwright.expect
    expect.set_options(timeout=20_000)
    page.goto(url)
    expect(page.get_by_role("status")).to_contain_text("running")
    area = "document.querySelector('#graph .scroll')"
    expect(page.locator("#graph .scroll")).to_have_attribute("data-more-right", "")

    page.get_by_role("button", name="Fit").click()

    assert page.evaluate(f"{area}.scrollWidth <= {area}.clientWidth")
    expect(page.locator("#graph .scroll[data-more-right]")).to_have_count(0)
    page.get_by_role("button", name="Larger").click()
    assert page.evaluate(f"{area}.scrollWidth > {area}.clientWidth")
    rows = page.locator("#edges li")
    assert page.evaluate("document.querySelector('#edges li').clientHeight") < 40
    assert page.evaluate("document.documentElement.scrollHeight") < 2700
    page.get_by_label("Find an edge").fill("node7")
    expect(rows.filter(visible=True)).to_have_count(2)
    page.get_by_label("Find an edge").fill("")
    page.get_by_label("Show").select_option("drops")
    expect(rows.filter(visible=True)).to_have_count(0)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('#logs').clientWidth") > 330
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)


@pytest.mark.programs
def test_page_without_a_run_says_how_to_start_one(browser: Any):
    dashboard = start("dashboard", "--port", "0")
    assert dashboard.stdout is not None
    page = browser.new_page()
    page.goto(find_url(dashboard.stdout.readline()))
    expect = playwright.expect

    expect(page.locator("#none")).to_contain_text("dora-launch FILE")
    expect(page.locator("main")).to_be_hidden()
    dashboard.send_signal(signal.SIGINT)
    dashboard.communicate(timeout=30)
    expect(page.get_by_role("status")).to_have_text("the dashboard has ended")
