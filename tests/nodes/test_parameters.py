"""The ready nodes act at once on a parameter that changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dora_rt.nodes import object_detection, transform, webcam
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.loop import run as run_detection
from dora_rt.nodes.transform.loop import run as run_transform
from dora_rt.nodes.transform.steps import Steps
from dora_rt.nodes.webcam.camera import Camera
from dora_rt.nodes.webcam.capture import CameraFormat
from dora_rt.nodes.webcam.frame import Frame
from dora_rt.nodes.webcam.network import NetworkSource, SnapshotCapture
from dora_rt.nodes.webcam.pacing import Pacer
from dora_rt.nodes.webcam.played_video import PlayedVideo
from dora_rt.nodes.webcam.recordings import SceneSource
from dora_rt.nodes.webcam.resizing import ResizedSource
from dora_rt.nodes.webcam.scene import SceneOptions
from dora_rt.nodes.webcam.sending import Encoding, FrameSender
from dora_rt.nodes.webcam.sending import run as run_webcam

from dora_rt.descriptor import Host, parse_descriptor
from dora_rt.descriptor.check.ready_parameters import READY_PARAMETERS
from dora_rt.event import Event, ParameterChanged
from dora_rt.testing import FakeNode, make_event
from tests.harness.waiting import eventually
from tests.nodes.node_helpers import FakeCapture, FakeTime, picture
from tests.nodes.tiny_onnx import write_model

NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
OPTIONS = {
    "webcam": webcam.parse_options([], {}),
    "object_detection": object_detection.parse_options([], {}),
    "transform": transform.parse_options([], {}),
}


@pytest.mark.parametrize("module", READY_PARAMETERS)
def test_parameters_are_options_of_the_node_with_the_same_value(module: str):
    for parameter in READY_PARAMETERS[module]:
        assert getattr(OPTIONS[module], parameter.name) == parameter.value


def detector_of(tmp_path: Path, *confidences: float) -> Any:
    """Return a detector that finds two boxes of these confidences that overlap by a half."""
    output = np.zeros((1, 300, 6), np.float32)
    for row, confidence in enumerate(confidences):
        output[0, row] = [10, 20, 30 + 20 * row, 40, confidence, 1]
    path = write_model(tmp_path / "two.onnx", output, np.zeros((3, *output.shape), np.float32))
    return load_detector(path, "opencv", labels=["cube", "ball"])


def test_detector_looks_with_the_confidence_of_the_moment(tmp_path: Path):
    detector = detector_of(tmp_path, 0.9, 0.4)
    image = Event("image", NOISE, b"")
    changed = ParameterChanged("confidence", 0.5, 0.3)
    node = FakeNode([image, changed, image], parameters={"confidence": 0.3, "iou": 0.9})

    run_detection(node, lambda _: detector)

    assert [len(sent.value) for sent in node.sent] == [2, 1]
    assert detector.iou == 0.9


def test_detector_of_a_flow_without_parameters_keeps_its_options(tmp_path: Path):
    detector = detector_of(tmp_path, 0.9, 0.4)
    detector.confidence = 0.6
    node = FakeNode([Event("image", NOISE, b"")])

    run_detection(node, lambda _: detector)

    assert [len(sent.value) for sent in node.sent] == [1]


def test_quality_of_jpeg_pictures_changes_from_one_to_the_next():
    low = ParameterChanged("jpeg_quality", 5, 90)
    image = make_event("image", NOISE)
    node = FakeNode([image, low, image], parameters={"jpeg_quality": 90})

    run_transform(node, Steps(), "jpeg", 90)

    first, second = (len(sent.value) for sent in node.sent)
    assert second < first / 2


class Source:
    """Gives a few pictures, and notes at which rate it goes on."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.rates: list[float | None] = []

    @property
    def is_finished(self) -> bool:
        return not self.left

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame]:
        self.left -= 1
        yield Frame(0, 1, NOISE.shape, lambda out: np.copyto(out, NOISE))

    def set_fps(self, fps: float | None) -> None:
        self.rates.append(fps)

    def close(self) -> None:
        pass


def test_camera_changes_rate_and_quality_with_the_next_picture():
    tick = make_event("tick")
    changes = [
        ParameterChanged("fps", 5.0, 30.0),
        ParameterChanged("jpeg_quality", 5, 90),
        ParameterChanged("fps", None, 5.0, is_deleted=True),
    ]
    node = FakeNode(
        [tick, *changes[:2], tick, changes[2], tick],
        parameters={"jpeg_quality": 90, "fps": 30.0},
    )
    source = Source(9)

    run_webcam(node, source, FrameSender(node, Encoding.JPEG), 30.0)

    sizes = [len(sent.value) for sent in node.sent]
    assert source.rates == [5.0, 30.0]
    assert sizes[1] < sizes[0] / 2
    assert len(sizes) == 3


def test_camera_without_inputs_follows_its_parameter():
    node = FakeNode(parameters={"fps": 12.0})
    source = Source(2)

    run_webcam(node, source, FrameSender(node, Encoding.RAW), None)

    assert source.rates == [12.0]


def due_times(pacer: Pacer, time: FakeTime, count: int) -> list[int]:
    found = []
    for _ in range(count):
        assert pacer.wait_due(10, newest=False) is not None
        found.append(time.clock())
    return found


def test_pacer_at_another_rate_goes_on_from_the_last_frame_without_a_burst_or_a_gap():
    time = FakeTime()
    pacer = Pacer(10, time.clock, time.sleep)
    before = due_times(pacer, time, 3)

    pacer.set_fps(50)
    after = due_times(pacer, time, 3)

    steps = np.diff([*before, *after]) / 1e6
    assert steps.tolist() == [100, 100, 20, 20, 20]


def test_scene_follows_a_rate_and_goes_back_to_its_own():
    time = FakeTime()
    scene = SceneSource(SceneOptions(fps=10), clock=time.clock, sleep=time.sleep)
    source = ResizedSource(scene, 64, 48)
    times = []
    for rate in (None, 100, None):
        source.set_fps(rate)
        for _ in range(2):
            with source.frame(10, newest=False) as frame:
                assert frame is not None
                times.append(time.clock())

    assert (np.diff(times) / 1e6).round().tolist() == [100, 10, 10, 100, 100]


def test_video_follows_a_rate(tmp_path: Path):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(9):
        writer.write(NOISE)
    writer.release()
    time = FakeTime()
    video = PlayedVideo(path, clock=time.clock, sleep=time.sleep)
    times = []
    for rate in (None, 50.0, None):
        if rate or times:
            video.set_fps(rate)
        for _ in range(3):
            with video.frame(10, newest=False) as frame:
                assert frame is not None
                times.append(time.clock())
    video.close()

    steps = (np.diff(times) / 1e6).round().tolist()
    # The frame behind each change comes at once.
    assert steps == [100, 100, 0, 20, 20, 0, 100, 100]


class RatedCapture(FakeCapture):
    """A camera that takes a rate, or refuses it."""

    def __init__(self, count: int, *, accepts: bool = True) -> None:
        super().__init__([picture(64, 48)] * count)
        self.rates: list[float] = []
        self._accepts = accepts

    def set(self, setting: int, value: float) -> bool:
        if setting == cv2.CAP_PROP_FPS:
            self.rates.append(value)
        return self._accepts


def test_device_is_asked_for_the_rate_and_again_when_it_is_back():
    captures = [RatedCapture(3), RatedCapture(3)]
    openings = iter(captures)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    camera = Camera("fake", lambda: next(openings), CameraFormat(fps=30), wait=wait)
    camera.set_fps(10)
    with pytest.raises(StopIteration):
        camera.grab_until_closed()

    assert [capture.rates for capture in captures] == [[10], [10]]


def test_device_that_does_not_change_its_rate_is_told_and_goes_on(caplog: Any):
    captures = iter([RatedCapture(3, accepts=False)])
    camera = Camera("fake", lambda: next(captures), CameraFormat(), wait=lambda _: False)
    camera.set_fps(10)
    with pytest.raises(StopIteration):
        camera.grab_until_closed()

    assert "camera fake: it does not change its rate to 10 fps" in caplog.messages


def test_snapshots_are_fetched_at_the_new_rate():
    time = FakeTime()
    content = cv2.imencode(".png", NOISE)[1].tobytes()
    capture = SnapshotCapture("it", content, lambda: content, 1, clock=time.clock, sleep=time.sleep)
    times = []
    for rate in (1, 10):
        assert capture.set(cv2.CAP_PROP_FPS, rate)
        for _ in range(3):
            assert capture.grab()
            times.append(time.clock())

    assert (np.diff(times) / 1e6).tolist() == [1000, 1000, 100, 100, 100]


def test_video_behind_a_url_follows_a_rate_that_was_set_before_it_answered():
    content = cv2.imencode(".png", NOISE)[1].tobytes()
    source = NetworkSource("http://127.0.0.1/a.png", CameraFormat(), fetch=lambda _: content)
    source.set_fps(7)
    found = []

    def has_found() -> bool:
        with source.frame(0.1, newest=False) as frame:
            found.append(frame)
        return frame is not None

    eventually(has_found)
    source.close()
    assert source._source._source._pacer._fps == 7


def first_values(text: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    descriptor = parse_descriptor(f"nodes: [{{id: a, {text}}}]", "f.yml", Host(environ=environ))
    return {one.name: one.value for one in descriptor.nodes[0].parameters or ()}


DETECTION = "module: dora_rt.nodes.object_detection, inputs: {image: dora/timer/secs/1}"


@pytest.mark.parametrize(
    ("more", "environ", "confidence"),
    [
        ("", {}, 0.3),
        ("args: --confidence 0.6", {}, 0.6),
        ("args: [--conf=0.6]", {}, 0.6),
        ("args: --confidence 0.6 --confidence 0.7, env: {CONFIDENCE: 0.5}", {}, 0.7),
        ("env: {CONFIDENCE: 0.5}", {"DORA_RT_OBJECT_DETECTION_CONFIDENCE": "0.4"}, 0.5),
        ("", {"DORA_RT_OBJECT_DETECTION_CONFIDENCE": "0.4"}, 0.4),
        ("env: {CONFIDENCE: ''}", {"DORA_RT_OBJECT_DETECTION_CONFIDENCE": "0.4"}, 0.3),
        ("args: --confidence much", {}, None),
        ("args: --confidence 0.6, parameters: {confidence: 1}", {}, 1.0),
    ],
)
def test_first_value_is_that_of_the_option_unless_the_file_gives_one(
    more: str, environ: dict[str, str], confidence: float | None
):
    assert first_values(f"{DETECTION}, {more}", environ)["confidence"] == confidence


def test_value_of_an_option_is_what_the_node_itself_reads():
    for args in (["--confidence", "0.6"], ["--conf=0.6"], ["--confidence", "1", "--conf", ".25"]):
        read = object_detection.parse_options(args, {}).confidence
        assert first_values(f"{DETECTION}, args: {args}")["confidence"] == read


def test_mistakes_in_the_parameters_of_a_ready_node_are_told():
    def told(parameters: str) -> str:
        with pytest.raises(Exception, match="parameter") as caught:
            first_values(f"{DETECTION}, parameters: {parameters}")
        return str(caught.value)

    assert "did you mean 'confidence'?" in told("{confidense: 0.5}")
    assert "expected a number from 0 to 1, got 2" in told("{confidence: 2}")
    assert "expected a number from 0 to 1, got 5" in told("{confidence: {value: 1, max: 5}}")


def test_limits_and_help_of_the_file_are_those_that_hold():
    text = f"{DETECTION}, parameters: {{iou: {{value: 0.5, min: 0.2, help: mine}}}}"
    (node,) = parse_descriptor(f"nodes: [{{id: a, {text}}}]", "f.yml").nodes

    _, iou = node.parameters or ()
    assert (iou.value, iou.minimum, iou.maximum, iou.help) == (0.5, 0.2, 1, "mine")
    assert next(itertools.islice(node.parameters or (), 1)).name == "confidence"
