"""Programs from dora's node hub run unmodified: PyPI's wheels, beside native nodes and alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.dora.hub import install_programs
from tests.dora.recording import notes, start_noting
from tests.harness.flow import Flow

pytestmark = pytest.mark.timeout(300)

DATA = Path(__file__).parents[2].parent / "shared/data"
VIDEO = DATA / "vtest.avi"
TIMES = 100 if os.environ.get("SOAK") == "1" else 3

# The sender ends as soon as it has sent.
CHAIN = """
    nodes:
      - id: pyarrow-sender
        path: pyarrow-sender
        outputs: [data]
        env: {DATA: "[1, 2, 3, 4, 5]"}
      - id: dora-echo
        path: dora-echo
        inputs: {data: pyarrow-sender/data}
        outputs: [data]
      - id: pyarrow-assert
        path: pyarrow-assert
        inputs: {data: dora-echo/data}
        env: {DATA: "[1, 2, 3, 4, 5]"}
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return install_programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def video() -> Path:
    if not VIDEO.exists():
        pytest.skip(f"the folder with real videos is not here: {DATA}")
    return VIDEO


@pytest.mark.slow
def test_sender_that_ends_at_once_is_heard_each_time(flow: Flow, programs: Mapping[str, str]):
    flow.write("flow.yml", CHAIN)

    for number in range(TIMES):
        done = flow.run(env=dict(programs))

        assert done.exit_code == 0, (number, done.out + done.err)
        assert done.edge("pyarrow-sender/data", "dora-echo/data").delivered == 1
        assert done.edge("dora-echo/data", "pyarrow-assert/data").delivered == 1


@pytest.mark.parametrize("sent", ["hello", "['a', None]", "[{'a': 1, 'b': [0.5]}]"])
def test_assertion_holds_for_every_kind_of_array(
    flow: Flow, programs: Mapping[str, str], sent: str
):
    flow.write("flow.yml", CHAIN.replace('"[1, 2, 3, 4, 5]"', f'"{sent}"'))

    done = flow.run(env=dict(programs))

    assert done.exit_code == 0, done.out + done.err
    assert done.edge("dora-echo/data", "pyarrow-assert/data").delivered == 1


def test_assertion_fails_when_something_else_arrives(flow: Flow, programs: Mapping[str, str]):
    flow.write("flow.yml", CHAIN.replace('"[1, 2, 3, 4, 5]"', '"[1, 2]"', 1))

    done = flow.run(env=dict(programs))

    assert done.exit_code == 1
    assert done.ending("pyarrow-assert") == "failed: exit status 1"


def frames(path: Path, count: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = [capture.read()[1] for _ in range(count)]
    capture.release()
    return found


@pytest.mark.parametrize("encoding", ["bgr8", "jpeg"])
def test_video_goes_from_capture_to_plot_and_to_native_nodes(
    flow: Flow, programs: Mapping[str, str], video: Path, encoding: str
):
    done = start_noting(
        flow,
        f"""
        nodes:
          - id: camera
            path: opencv-video-capture
            inputs: {{tick: dora/timer/millis/20}}
            outputs: [image]
            env: {{CAPTURE_PATH: "{video}", ENCODING: {encoding}}}
          - id: plot
            path: opencv-plot
            inputs: {{image: camera/image}}
          - id: check
            path: check.py
            on_exit: stop_all
            inputs: {{image: {{source: camera/image, queue_policy: block}}}}
        """,
        check="""
        import numpy as np
        from dora_rt import Node
        pictures = []
        for event, _ in zip(Node(), range(10)):
            pictures.append(event.value)
            metadata = event.metadata
        np.savez("pictures.npz", *pictures)
        note("metadata", {key: metadata[key] for key in
                          ("encoding", "width", "height", "primitive")})
        """,
        env={**programs, "CI": "true"},
    )

    assert done.exit_code == 0, done.out + done.err
    height, width, _ = frames(video, 1)[0].shape
    assert notes(flow, "check")["metadata"] == {
        "encoding": encoding,
        "width": width,
        "height": height,
        "primitive": "image",
    }
    assert done.edge("camera/image", "plot/image").delivered >= 8
    with np.load(flow.folder / "pictures.npz") as pictures:
        received = list(pictures.values())
    for picture, frame in zip(received, frames(video, 10), strict=True):
        if encoding == "bgr8":
            np.testing.assert_array_equal(picture, frame)
        else:
            decoded = cv2.imdecode(picture, cv2.IMREAD_COLOR)
            assert np.abs(decoded.astype(int) - frame).mean() < 3


def test_native_camera_feeds_the_plot_and_a_captured_video_the_native_plot(
    flow: Flow, programs: Mapping[str, str], video: Path
):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: native
            module: dora_rt.nodes.webcam
            args: --source {video} --fps 50
            outputs: [image]
          - id: plot
            path: opencv-plot
            inputs: {{image: {{source: native/image, queue_policy: block}}}}
          - id: capture
            path: opencv-video-capture
            inputs: {{tick: dora/timer/millis/20}}
            outputs: [image]
            env: {{CAPTURE_PATH: "{video}", ENCODING: rgb8}}
          - id: native-plot
            module: dora_rt.nodes.plot
            args: --output file --save picture.png
            inputs: {{image: capture/image}}
        """,
    )

    done = flow.run("--stop-after", "1s", env={**programs, "CI": "true"})

    assert done.exit_code == 0, done.out + done.err
    plotted = done.edge("native/image", "plot/image")
    assert plotted.delivered == plotted.sent > 10
    assert done.edge("capture/image", "native-plot/image").delivered > 10
    picture = cv2.imread(str(flow.folder / "picture.png"))
    nearest = min(np.abs(picture.astype(int) - frame).mean() for frame in frames(video, 120))
    assert nearest < 1, "the colours are right, although they came as RGB"


def test_cameras_are_selected_split_and_stopped_by_programs_of_others(
    flow: Flow, programs: Mapping[str, str]
):
    camera = "path: dora-openarm-dummy-camera, outputs: [image], inputs: {tick: dora/timer/hz/30}"
    done = start_noting(
        flow,
        f"""
        nodes:
          - {{id: front, {camera}, env: {{ENCODING: rgb8, IMAGE_WIDTH: 64, IMAGE_HEIGHT: 48}}}}
          - {{id: back, {camera}, env: {{ENCODING: jpeg, IMAGE_WIDTH: 80, IMAGE_HEIGHT: 60}}}}
          - id: selector
            path: dora-openarm-selector
            args: --sources back,front
            inputs: {{front_image: front/image, back_image: back/image}}
            outputs: [image, selected]
          - id: splitter
            path: dora-opencv-image-splitter
            inputs: {{image: selector/image}}
            outputs: [image_0, image_1]
          - id: quitter
            path: dora-openarm-quitter
            inputs: {{left: splitter/image_0, command: check/command}}
            outputs: [left]
            on_exit: stop_all
          - id: check
            path: check.py
            inputs: {{left: quitter/left, selected: selector/selected}}
            outputs: [command]
        """,
        check="""
        import pyarrow as pa
        from dora_rt import Node
        from dora_rt.picture import picture_of
        node = Node()
        count, selected = 0, None
        for event in node:
            if event.id == "selected":
                selected = event.value.to_pylist()
                continue
            count += 1
            if count == 5:
                picture = picture_of(event.value, event.metadata)
                note("seen", [selected, picture.shape, event.metadata["selected_source"]])
                node.send_output("command", pa.array(["quit"]))
        """,
        env=programs,
    )

    assert done.exit_code == 0, done.out + done.err
    assert notes(flow, "check")["seen"] == [["back"], [60, 40, 3], "back"]
    assert done.ending("quitter") == "finished"
    assert done.edge("front/image", "selector/front_image").delivered > 0
