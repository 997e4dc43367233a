"""Flows that play recordings, and write them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.harness.flow import Flow
from tests.harness.waiting import eventually

LATE_READER = """
    import time
    from dora_rt import Node
    node = Node()
    time.sleep(1.5)  # its model loads
    origins = [event.origin_ns for event in node]
    import json
    with open("origins.json", "w") as file:
        json.dump(origins, file)
"""


def test_recording_begins_when_its_slowest_reader_is_ready(flow: Flow):
    flow.write("reader.py", LATE_READER)
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source test://scene?frames=20&fps=20&width=160&height=120
            outputs: [image]
          - id: reader
            path: reader.py
            inputs: {image: {source: webcam/image, queue_policy: block}}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    steps_ms = np.diff(json.loads((flow.folder / "origins.json").read_text())) / 1e6
    assert len(steps_ms) == 19
    # In a burst the first ones were less than a millisecond apart.
    assert steps_ms.sum() > 940, steps_ms


def test_secret_of_a_source_is_in_no_log_and_no_output(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source "rtsp://admin:SECR#ET2@127.0.0.1:9/stream"
            outputs: [image]
        """,
    )

    checked = flow.run("--check")
    done = flow.run("--stop-after", "2s")

    assert "rtsp://127.0.0.1:9/stream" in checked.out
    assert "camera rtsp://127.0.0.1:9/stream: cannot be opened" in done.out
    logs = [path.read_text() for path in flow.folder.rglob("*.log")]
    for text in (checked.out, checked.err, done.out, done.err, *logs):
        assert "SECR" not in text and "ET2" not in text
    # FFmpeg's own line for each attempt says nothing that the node does not say once.
    assert "Connection refused" not in done.out


@pytest.mark.parametrize(
    "lines",
    [
        "args: --source rtsp://admin:MY SECRET@127.0.0.1:9/stream",
        """args: '--source "rtsp://admin:SECRET@127.0.0.1:9/stream'""",
        "env: {WIDTH: 'rtsp://admin:SECRET@127.0.0.1:9/stream'}",
        "path: rtsp://admin:SECRET@127.0.0.1:9/stream",
        "args: --sorce rtsp://admin:SECRET@127.0.0.1:9/stream",
    ],
)
def test_secret_of_a_source_that_is_written_wrongly_is_not_shown(flow: Flow, lines: str):
    module = "" if lines.startswith("path") else "module: dora_rt.nodes.webcam"
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: webcam
            {module or lines}
            {lines if module else ""}
            outputs: [image]
        """,
    )

    checked = flow.run("--check")
    done = flow.run("--stop-after", "3s", "--log-dir", str(flow.folder / "logs"))

    assert done.exit_code != 0
    logs = [path.read_text() for path in flow.folder.rglob("*.log")]
    for text in (checked.out, checked.err, done.out, done.err, *logs):
        assert "SECRET" not in text and "MY" not in text


def length_s(path: Path) -> float:
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.grab():
        frames += 1
    return frames / capture.get(cv2.CAP_PROP_FPS)


WRITERS = """
    nodes:
      - id: webcam
        module: dora_rt.nodes.webcam
        args: --source test://scene?frames=60&fps=30
        outputs: [image]
      - id: half
        module: dora_rt.nodes.transform
        args: --width 320 --flip horizontal
        inputs: {image: {source: webcam/image, queue_policy: block}}
        outputs: [image]
      - id: recorder
        module: dora_rt.nodes.video_writer
        args: --save out/drive.mp4
        inputs: {image: {source: half/image, queue_policy: block}}
      - id: plot
        module: dora_rt.nodes.plot
        args: --output none --save out/shown.avi
        inputs: {image: {source: half/image, queue_policy: block}}
      - id: probe
        path: probe.py
        inputs:
          before: {source: webcam/image, queue_policy: block}
          after: {source: half/image, queue_policy: block}
"""
PROBE = """
    import json
    from dora_rt import Node
    seen = {"before": [], "after": []}
    for event in Node():
        metadata = event.metadata
        row = [event.origin_ns, metadata["frame"], metadata["width"], "truth" in metadata]
        seen[event.id].append([*row, list(event.value.shape)])
    with open("seen.json", "w") as file:
        json.dump(seen, file)
"""


def test_pictures_are_changed_and_written_with_the_times_of_their_camera(flow: Flow):
    flow.write("flow.yml", WRITERS)
    flow.write("probe.py", PROBE)

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    seen = json.loads((flow.folder / "seen.json").read_text())
    assert [row[:2] for row in seen["after"]] == [row[:2] for row in seen["before"]]
    assert seen["after"][0][2:] == [320, False, [240, 320, 3]]
    filmed_s = (seen["after"][-1][0] - seen["after"][0][0]) / 1e9
    for name in ("drive.mp4", "shown.avi"):
        # The last picture lasts as long as the one before.
        length = length_s(flow.folder / "out" / name)
        assert filmed_s - 0.1 < length < filmed_s + 0.3
    assert any("drive.mp4: 60 pictures, " in line for line in done.lines("recorder"))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_video_of_a_recorder_that_is_killed_can_be_read(flow: Flow, suffix: str):
    text = WRITERS.replace("frames=60&", "").replace("drive.mp4", f"drive{suffix}")
    flow.write("flow.yml", text)
    flow.write("probe.py", PROBE)
    path = flow.folder / "out" / f"drive{suffix}"

    launcher = flow.start()
    eventually(lambda: path.exists() and path.stat().st_size > 600_000)
    recorder = _process_of("dora_rt.nodes.video_writer")
    os.kill(recorder, signal.SIGKILL)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)

    assert length_s(path) > 0.5


def _process_of(module: str) -> int:
    """Find the process of a node of this test's flow."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if module.encode() in words and b"out/drive" in b" ".join(words):
                return int(folder.name)
    raise AssertionError(f"no process of {module}")


EXAMPLE = Path(__file__).parents[2] / "examples" / "drive_recorder"


def test_example_records_as_it_stands(flow: Flow):
    shutil.copy(EXAMPLE / "dataflow.yml", flow.folder / "flow.yml")

    done = flow.run(env={"SOURCE": "test://scene?frames=20"})

    assert done.exit_code == 0, done.out + done.err
    (path,) = (flow.folder / "out").iterdir()
    assert cv2.VideoCapture(str(path)).read()[1].shape == (360, 480, 3)
