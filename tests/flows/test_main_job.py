"""The main job on real input: camera, detector, picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.harness.finished import Edge, Finished
from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"

PROBE = """
    import json, sys
    from dora_rt import Node
    boxes = []
    for event in Node():
        boxes.append([event.value.tolist(), event.metadata["labels"], event.origin_ns])
    print(json.dumps(boxes), file=open(sys.argv[1], "w"))
"""


@pytest.fixture
def data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the folder with real videos and a real model is not here: {SHARED_DATA}")
    return SHARED_DATA


def launch(file: Path, *arguments: str, **env: str) -> Finished:
    done = subprocess.run(
        [sys.executable, "-m", "dora_rt", str(file), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CI": "true", **env},
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "examples" / "webcam_yolo", tmp_path / "example")


def test_demo_finds_the_toys_of_the_scene_ends_by_itself_and_leaves_a_picture(tmp_path: Path):
    file = shutil.copy(ROOT / "launch" / "dataflow.yml", tmp_path)

    done = launch(Path(file), SOURCE="test://scene?seed=11&frames=60", OUTPUT="file")

    assert done.exit_code == 0, done.out + done.err
    assert done.edge("webcam/image", "plot/image").sent == 60
    picture = cv2.imread(str(tmp_path / "out" / "plot.png"))
    assert picture.shape == (480, 640, 3)
    said = "\n".join(done.lines("plot"))
    for label in ("ball", "crate", "cone", "star", "ring", "robot"):
        assert label in said
    assert "latency camera to picture" in said
    assert "out/plot.png" in said


def test_without_a_camera_the_source_says_that_it_draws_a_scene(tmp_path: Path):
    if list(Path("/dev").glob("video*")):
        pytest.skip("this machine has a camera")
    file = shutil.copy(ROOT / "launch" / "dataflow.yml", tmp_path)

    done = launch(Path(file), "--stop-after", "4s", OUTPUT="none")

    assert done.exit_code == 0, done.out + done.err
    assert any("no camera" in line for line in done.lines("webcam"))
    # How many it is fast enough for, is the machine's affair.
    edge = done.edge("webcam/image", "object_detection/image")
    assert edge.sent > 5
    assert edge.delivered > 0


def test_persons_are_found_in_every_frame_of_a_real_video(flow: Flow, data: Path):
    # Lossless, so that it is every frame of the first five seconds and not those that fitted.
    found = flow.folder / "boxes.json"
    clip = first_frames(data / "vtest.avi", flow.folder / "clip.avi", 50)
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: ["--source", "{clip}", "--fps", "0"]
            outputs: [image]
          - id: object_detection
            module: dora_rt.nodes.object_detection
            args: ["--model", "{data / "yolox_nano.onnx"}"]
            inputs: {{image: {{source: webcam/image, queue_policy: block}}}}
            outputs: [bbox]
          - id: probe
            path: probe.py
            args: ["{found}"]
            inputs: {{bbox: {{source: object_detection/bbox, queue_policy: block}}}}
        """,
    )
    flow.write("probe.py", PROBE)

    done = flow.run(timeout_s=90)

    assert done.exit_code == 0, done.out + done.err
    assert done.edge("webcam/image", "object_detection/image") == Edge(50, 50, 0)
    boxes = json.loads(found.read_text())
    assert len(boxes) == 50
    for frame_boxes, labels, _ in boxes:
        assert "person" in {labels[int(box[5])] for box in frame_boxes}
    assert len({origin_ns for *_, origin_ns in boxes}) == 50, "each box knows its own picture"


def test_example_with_todays_nodes_finds_persons(example: Path, data: Path):
    clip = first_frames(data / "vtest.avi", example / "clip.avi", 60, fps=25)

    done = launch(
        example / "dataflow.yml",
        SOURCE=str(clip),
        MODEL=str(data / "yolox_nano.onnx"),
        OUTPUT="file",
    )

    assert done.exit_code == 0, done.out + done.err
    boxes = done.edge("object_detection/bbox", "plot/bbox")
    # How many of the pictures it is fast enough for, is the machine's affair.
    assert boxes.sent == done.edge("webcam/image", "object_detection/image").delivered
    assert boxes.delivered > 5
    line = next(line for line in done.lines("object_detection") if "seen:" in line)
    persons = int(line.split(" person")[0].split()[-1])
    assert persons >= boxes.delivered, line
    assert cv2.imread(str(example / "out" / "webcam_yolo.png")).shape == (576, 768, 3)


def test_example_of_2022_runs_as_it_stands(example: Path, data: Path):
    # As many as a queue holds: a slow machine drops none.
    clip = first_frames(data / "vtest.avi", example / "clip.avi", 10)

    done = launch(
        example / "dataflow_2022.yml", VIDEO=str(clip), MODEL=str(data / "yolox_nano.onnx")
    )

    assert done.exit_code == 0, done.out + done.err
    assert "note: " in done.out
    assert "'communication' is not needed" in done.out
    assert done.edge("webcam/image", "object_detection/image") == Edge(10, 10, 0)
    assert done.edge("object_detection/bbox", "plot/bbox") == Edge(10, 10, 0)
    words = done.lines("plot")[0].split()
    assert int(words[1]) == 10
    assert int(words[4]) > 30


def test_programs_of_2022_run_beside_todays_nodes(example: Path, data: Path):
    clip = first_frames(data / "vtest.avi", example / "clip.avi", 10)

    done = launch(
        example / "side_by_side.yml",
        VIDEO=str(clip),
        MODEL=str(data / "yolox_nano.onnx"),
        OUTPUT="file",
    )

    assert done.exit_code == 0, done.out + done.err
    assert done.edge("detection_2022/bbox", "plot_2022/bbox") == Edge(10, 10, 0)
    today = done.edge("webcam/image", "object_detection/image")
    assert today.sent == 10
    assert today.delivered + today.dropped == 10
    picture = cv2.imread(str(example / "out" / "side_by_side.png"))
    assert picture is not None
    assert np.any(picture != 0)


def first_frames(video: Path, clip: Path, count: int, *, fps: int = 10) -> Path:
    """Write the first frames of a video into a file of their own, lightly compressed."""
    capture = cv2.VideoCapture(str(video))
    size = (int(capture.get(3)), int(capture.get(4)))
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for _ in range(count):
        is_read, frame = capture.read()
        assert is_read
        writer.write(frame)
    writer.release()
    capture.release()
    return clip
