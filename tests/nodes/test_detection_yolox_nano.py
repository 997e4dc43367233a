"""A real network sees in real pictures what it is known to see there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dora_rt.nodes.object_detection.detector import Detector, load_detector

PICTURES = ["astronaut", "coffee", "chelsea", "camera", "motorcycle_left"]


@pytest.fixture(scope="module", params=["onnxruntime", "opencv"])
def detector(request: pytest.FixtureRequest, shared_data: Path) -> Detector:
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return load_detector(shared_data / "yolox_nano.onnx", request.param)


@pytest.mark.parametrize("name", PICTURES)
def test_known_pictures_have_the_known_boxes(
    detector: Detector, shared_data: Path, name: str
) -> None:
    skimage = pytest.importorskip("skimage")
    expected = json.loads((shared_data / "yolox_nano_expected.json").read_text())
    boxes_expected = expected["images"][f"skimage:{name}.png"]["dets"]
    path = Path(skimage.__file__).parent / "data" / f"{name}.png"

    # Read as it is: camera.png is grey, H x W.
    boxes = detector.detect(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))

    labels = [detector.label(int(number)) for number in boxes[:, 5]]
    assert labels == [label for label, *_ in boxes_expected]
    np.testing.assert_allclose(boxes[:, 4], [score for _, score, *_ in boxes_expected], atol=0.001)
    corners_expected = np.array([corners for _, _, *corners in boxes_expected])
    # The reference clips to the last pixel's number (299 of 300 rows), we to the frame's edge.
    assert np.abs(boxes[:, :4] - corners_expected).max() <= 1.0


def test_people_walk_through_the_whole_video(detector: Detector, shared_data: Path) -> None:
    video = cv2.VideoCapture(str(shared_data / "vtest.avi"))
    counts = []

    number = 0
    while video.grab():
        if number % 40 == 0:
            is_read, frame = video.retrieve()
            assert is_read
            boxes = detector.detect(frame)
            counts.append(int((boxes[:, 5] == 0).sum()))
        number += 1

    assert len(counts) == 20
    assert min(counts) >= 1
    # 6.7 a frame at confidence 0.35 over all frames.
    assert 5 <= np.mean(counts) <= 10


def test_both_backends_see_the_same(shared_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    video = cv2.VideoCapture(str(shared_data / "vtest.avi"))
    _, frame = video.read()
    model = shared_data / "yolox_nano.onnx"

    boxes = [load_detector(model, backend).detect(frame) for backend in ("onnxruntime", "opencv")]

    assert len(boxes[0]) >= 4
    np.testing.assert_allclose(boxes[0][:, :4], boxes[1][:, :4], atol=0.05)
    np.testing.assert_allclose(boxes[0][:, 4:], boxes[1][:, 4:], atol=0.0005)
