"""Every picture is answered by its boxes, and what is no picture by none."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dora_rt.nodes.object_detection.detector import Detector, load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.loop import run

from dora_rt.errors import NodeClosedError
from dora_rt.event import Event
from dora_rt.testing import FakeNode
from tests.nodes.tiny_onnx import write_model, write_outputs
from tests.pictures.no_pictures import NO_PICTURES

RED = np.full((48, 64, 3), (0, 0, 255), np.uint8)


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Give a detector that sees a ball in the red of a picture, and nothing without red."""
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = [10, 20, 30, 40, 0, 1]
    colours = np.zeros((3, *output.shape), np.float32)
    colours[0, 0, 0, 4] = 1
    path = write_model(tmp_path / "red.onnx", output, colours)
    return load_detector(path, "opencv", labels=["cube", "ball"])


def image(value: Any, **metadata: object) -> Event:
    return Event("image", value, json.dumps(metadata).encode())


def give(detector: Detector) -> Callable[[bool], Detector]:
    return lambda is_scene: detector


def test_picture_is_answered_by_its_boxes(detector: Detector) -> None:
    node = FakeNode([image(RED)])
    clock = itertools.count(5_000_000, 7_250_000)

    run(node, give(detector), lambda: next(clock))

    (sent,) = node.sent
    assert sent.output_id == "bbox"
    assert sent.value.dtype == np.float32
    # Red 255/255 in 48 of 64 rows, and grey 114/255 in the 16 rows of padding.
    np.testing.assert_allclose(
        sent.value, [[10, 20, 30, 40, (48 + 16 * 114 / 255) / 64, 1]], rtol=1e-4
    )
    assert sent.metadata == {
        "labels": ["cube", "ball"],
        "width": 64,
        "height": 48,
        "model": "red.onnx",
        "detect_ms": 7.25,
        "seq": 0,
    }
    assert sent.captured_ns is None  # it is an answer, so the origin is that of the picture


def test_picture_without_objects_is_answered_by_no_boxes(detector: Detector) -> None:
    node = FakeNode([image(np.zeros((64, 64, 3), np.uint8))])

    run(node, give(detector))

    assert node.sent[0].value.shape == (0, 6)
    assert node.sent[0].metadata["width"] == 64


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
@pytest.mark.parametrize("as_array", [False, True])
def test_encoded_picture_is_decoded(detector: Detector, encoding: str, *, as_array: bool) -> None:
    _, file = cv2.imencode(f".{encoding}", RED)
    value = file.reshape(-1) if as_array else file.tobytes()
    node = FakeNode([image(value, encoding=encoding), image(RED)])

    run(node, give(detector))

    np.testing.assert_allclose(node.sent[0].value, node.sent[1].value, atol=0.01)
    assert node.sent[0].metadata["height"] == 48


def test_grey_picture_is_seen(detector: Detector) -> None:
    node = FakeNode([image(np.full((64, 64), 255, np.uint8))])

    run(node, give(detector))

    np.testing.assert_allclose(node.sent[0].value[:, 4], [1.0], rtol=1e-5)


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_answered_by_no_boxes(
    detector: Detector, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    node = FakeNode([image(NO_PICTURES[name], encoding="jpeg")] * 2 + [image(RED)])

    tally = run(node, give(detector))

    assert node.sent[0].value.shape == (0, 6)
    assert node.sent[0].metadata == {
        "labels": [],
        "width": 0,
        "height": 0,
        "model": "",
        "detect_ms": 0.0,
        "seq": 0,
    }
    assert [len(sent.value) for sent in node.sent] == [0, 0, 1]
    assert (tally.frames, tally.unusable) == (1, 2)
    (warning,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith("input 'image': ")
    assert warning.endswith("; answered with no boxes, and not said again")


def test_picture_whose_metadata_were_overwritten_is_answered_by_no_boxes(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode([Event("image", RED, b"{"), image(RED)])

    tally = run(node, give(detector))

    assert [len(sent.value) for sent in node.sent] == [0, 1]
    assert (tally.frames, tally.unusable) == (1, 1)
    assert "the 1 bytes of metadata are no JSON" in caplog.text


def test_what_is_no_picture_is_told_once_and_counted(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = FakeNode([image(RED), *[image(b"nonsense")] * 5])

    run(node, give(detector))

    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert caplog.messages[-1].endswith("5 inputs were no picture")
    assert len(node.sent) == 6


def test_model_is_chosen_once_at_the_first_picture(detector: Detector) -> None:
    asked: list[bool] = []

    def open_detector(is_scene: bool) -> Detector:
        asked.append(is_scene)
        return detector

    run(FakeNode([Event("tick", b""), image(b"nonsense")]), open_detector)
    assert asked == []
    run(FakeNode([image(RED), image(RED, scene="dora_rt")]), open_detector)
    assert asked == [False]
    run(FakeNode([image(RED, scene="dora_rt"), image(RED)]), open_detector)
    assert asked == [False, True]


def test_other_inputs_are_not_answered(detector: Detector) -> None:
    node = FakeNode([Event("tick", b""), Event("other", RED)])

    run(node, give(detector))

    assert node.sent == []


def test_end_is_told_with_times_and_labels(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    times_ns = iter([0, 2_000_000, 10_000_000, 14_000_000])

    run(FakeNode([image(RED), image(RED)]), give(detector), lambda: next(times_ns))

    said = caplog.messages[-1]
    assert said.startswith("2 frames; detect mean 3.0 ms, p50 2.")
    assert said.endswith("; seen: 2 ball")


def test_end_without_pictures_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    tally = run(FakeNode(), lambda is_scene: pytest.fail("no picture, no model"))

    assert tally.frames == 0
    assert caplog.messages == ["0 frames"]


def test_stop_while_an_answer_is_sent_is_no_error(detector: Detector) -> None:
    class StoppedNode(FakeNode):
        def send_output(self, *arguments: Any, **options: Any) -> None:
            raise NodeClosedError("stopped")

    tally = run(StoppedNode([image(RED)]), give(detector))

    assert tally.frames == 1


def test_model_that_cannot_be_had_ends_the_loop() -> None:
    def open_detector(is_scene: bool) -> Detector:
        raise ModelError("no model")

    with pytest.raises(ModelError, match="no model"):
        run(FakeNode([image(RED)]), open_detector)


def segments(path: Path) -> Detector:
    """Give a detector that finds one masked object in any picture."""
    boxes = np.zeros((1, 300, 7), np.float32)
    boxes[0, 0] = [10, 20, 30, 40, 0.9, 0, 1]
    outputs = {"output0": boxes, "output1": np.ones((1, 1, 16, 16), np.float32)}
    metadata = {"task": "segment", "names": "['cat']"}
    return load_detector(write_outputs(path / "m.onnx", outputs, metadata=metadata), "opencv")


def test_masks_are_sent_where_the_file_has_an_output_for_them(tmp_path: Path) -> None:
    node = FakeNode([image(RED)], output_ids=("bbox", "masks"))

    run(node, give(segments(tmp_path)))

    assert [sent.output_id for sent in node.sent] == ["bbox", "masks"]
    boxes, masks = node.sent
    assert masks.value.shape == RED.shape[:2]
    assert set(np.unique(masks.value)) == {0, 1}
    assert masks.metadata == boxes.metadata
    assert masks.metadata["labels"] == ["cat"]


def test_what_is_no_picture_is_answered_at_every_output(tmp_path: Path) -> None:
    node = FakeNode([image(b"nonsense")], output_ids=("bbox", "masks", "keypoints"))

    run(node, give(segments(tmp_path)))

    assert {sent.output_id: sent.value.shape for sent in node.sent} == {
        "bbox": (0, 6),
        "masks": (0, 0),
        "keypoints": (0, 0, 3),
    }


def test_more_than_the_file_has_outputs_for_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode([image(RED)], output_ids=("bbox", "keypoints"))

    run(node, give(segments(tmp_path)))

    assert [sent.output_id for sent in node.sent] == ["bbox"]
    assert "add 'masks' to the outputs of this node" in caplog.text
    assert "nothing comes at the output 'keypoints'" in caplog.text


def test_class_of_the_whole_picture_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    metadata = {"task": "classify", "names": "['cat', 'dog']"}
    outputs = {"output0": np.array([[0.25, 0.75]], np.float32)}
    path = write_outputs(tmp_path / "m.onnx", outputs, metadata=metadata)
    node = FakeNode([image(RED)], output_ids=("classes",))

    run(node, give(load_detector(path, "opencv")))

    np.testing.assert_allclose(node.sent[0].value, [[1, 0.75], [0, 0.25]])
    assert caplog.messages[-1].endswith("seen: 1 dog")
