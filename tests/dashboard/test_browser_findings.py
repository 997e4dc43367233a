"""What is found beyond boxes, in a real browser: on the dashboard, and on the page of plot."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.dashboard.conftest import find_url
from tests.harness.flow import Flow
from tests.harness.waiting import eventually
from tests.nodes.known_models import write_classes, write_masks, write_oriented, write_pose

pytest.importorskip("starlette", reason="the extra [web] is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
skimage_data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")

PHOTOGRAPHS = Path(skimage_data.__file__).parent
GREEN = (75, 200, 60)  # of class 0 in plot, BGR
CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "masks": (write_masks, "coffee.png"),
    "keypoints": (write_pose, "astronaut.png"),
    "oriented": (write_oriented, "coffee.png"),
    "classes": (write_classes, "coffee.png"),
}
# What the dashboard draws of each: a selector, and how many there are.
DRAWN = {
    "masks": [(".mask", 2), ("rect", 2), ("text", 2)],
    "keypoints": [("circle", 12), ("line", 13), ("rect", 1)],
    "oriented": [("polygon", 1), ("rect", 0), ("text", 1)],
    "classes": [("text", 5), ("rect", 0)],
}


def write_flow(flow: Flow, name: str) -> None:
    write_model, photograph = CASES[name]
    write_model(flow.folder / "known.onnx")
    shutil.copy(PHOTOGRAPHS / photograph, flow.folder / photograph)
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source {photograph} --loop --fps 10
            outputs: [image]
          - id: detector
            module: dora_rt.nodes.object_detection
            args: --model known.onnx --backend opencv
            inputs: {{image: {{source: webcam/image, queue_policy: latest}}}}
            outputs: [bbox, {name}]
          - id: plot
            module: dora_rt.nodes.plot
            args: --output web --port 0
            inputs:
              image: webcam/image
              bbox: detector/bbox
              {name}: detector/{name}
        """,
    )


@pytest.mark.parametrize("name", CASES)
def test_findings_are_drawn_on_the_dashboard_and_in_plot(
    flow: Flow, browser: Any, name: str
) -> None:
    write_flow(flow, name)
    launcher = flow.start("--dashboard-port", "0")
    assert launcher.stdout is not None
    addresses = []
    for line in launcher.stdout:
        if found := re.search(r"open (http://\S+) to watch", line):
            addresses.append(found[1])
        elif line.startswith("dashboard:"):
            addresses.append(find_url(line))
        if len(addresses) == 2:
            break
    dashboard, plot = sorted(addresses, key=lambda url: "token" not in url)
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.on("pageerror", lambda error: complaints.append(str(error)))
    expect = playwright.expect
    expect.set_options(timeout=15_000)

    page.goto(dashboard)
    # Only the camera has pictures: masks are none.
    expect(page.locator("#pictures figcaption span:first-child")).to_have_text(["webcam/image"])
    for selector, count in DRAWN[name]:
        expect(page.locator(f"#pictures svg {selector}")).to_have_count(count)
    page.locator("#pictures figure").screenshot(path=str(flow.folder / f"dashboard-{name}.png"))

    page.goto(plot)
    picture = flow.folder / f"plot-{name}.png"
    eventually(lambda: green_pixels(page, picture) > 200)

    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)
    assert complaints == []


def green_pixels(page: Any, path: Path) -> int:
    """Take a picture of the page, and count the pixels in the colour of class 0."""
    page.screenshot(path=str(path))
    shown = cv2.imread(str(path))
    assert shown is not None
    return int((np.abs(shown.astype(int) - GREEN) < 40).all(axis=2).sum())
