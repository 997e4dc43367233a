from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.evaluation import box_iou, mean_average_precision
from dora_rt.nodes.object_detection.models import SCENE_MODEL_PATH
from dora_rt.nodes.object_detection.onnx_file import read_onnx_facts
from dora_rt.nodes.webcam.scene import SCENE_LABELS, Scene
from numpy.typing import NDArray

pytestmark = pytest.mark.timeout(300)

# The model was trained on seeds below a million: nobody has seen these.
UNSEEN_SEEDS = range(1_000_000, 1_000_025)
IS_SOAK = os.environ.get("SOAK") == "1"
FRAMES_PER_SEED = 8 if IS_SOAK else 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the detector says and what is true, picture by picture."""

    predictions: list[NDArray[np.float32]]
    truths: list[NDArray[np.float32]]


def unseen_frames(
    seeds: range, width: int = 640, height: int = 480
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    frame = np.zeros((height, width, 3), np.uint8)
    for seed in seeds:
        drawing = Scene(width, height, seed)
        for index in range(0, 97 * 8, 97 * 8 // FRAMES_PER_SEED):
            truth = drawing.render(index, frame)
            yield frame, truth


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    # Precision is measured over all recalls: the unsure boxes belong to it.
    detector = load_detector(SCENE_MODEL_PATH, confidence=0.02)
    found = Outcome([], [])
    for frame, truth in unseen_frames(UNSEEN_SEEDS):
        found.predictions.append(detector.detect(frame))
        found.truths.append(truth)
    return found


@pytest.mark.slow
def test_model_finds_the_toys_of_unseen_scenes(outcome: Outcome) -> None:
    assert len(outcome.truths) == 25 * FRAMES_PER_SEED
    assert sum(len(truth) for truth in outcome.truths) > 5 * len(outcome.truths)

    assert mean_average_precision(outcome.predictions, outcome.truths) >= 0.95


@pytest.mark.slow
def test_boxes_fit_tightly(outcome: Outcome) -> None:
    assert mean_average_precision(outcome.predictions, outcome.truths, 0.75) >= 0.90


@pytest.mark.slow
def test_what_the_node_shows_is_nearly_all_right(outcome: Outcome) -> None:
    # 0.3 is the node's own confidence: this is what somebody sees who starts the demo.
    shown = [boxes[boxes[:, 4] >= 0.3] for boxes in outcome.predictions]

    right = sum(
        int(np.any((box_iou(boxes, truth) >= 0.5) & (boxes[:, None, 5] == truth[:, 5]), 1).sum())
        for boxes, truth in zip(shown, outcome.truths, strict=True)
    )

    assert right / sum(map(len, shown)) > 0.93
    assert right / sum(map(len, outcome.truths)) > 0.93


@pytest.mark.slow
def test_model_finds_the_toys_of_a_wide_picture() -> None:
    detector = load_detector(SCENE_MODEL_PATH, confidence=0.02)

    pairs = [
        (detector.detect(frame), truth)
        for frame, truth in unseen_frames(range(1_000_100, 1_000_103), 1280, 720)
    ]

    predictions, truths = zip(*pairs, strict=True)
    assert mean_average_precision(predictions, truths) >= 0.9


def test_onnxruntime_and_opencv_find_the_same_boxes() -> None:
    pytest.importorskip("onnxruntime")
    onnxruntime = load_detector(SCENE_MODEL_PATH, "onnxruntime")
    opencv = load_detector(SCENE_MODEL_PATH, "opencv")
    compared = 0

    for frame, _ in unseen_frames(range(1_000_200, 1_000_200 + 16 // FRAMES_PER_SEED)):
        expected = onnxruntime.detect(frame)
        np.testing.assert_allclose(opencv.detect(frame), expected, atol=0.01)
        compared += len(expected)

    assert compared > 60


def test_grey_picture_holds_no_toys() -> None:
    detector = load_detector(SCENE_MODEL_PATH)

    assert len(detector.detect(np.full((480, 640, 3), 128, np.uint8))) == 0


def test_file_names_the_classes_of_the_scene() -> None:
    facts = read_onnx_facts(SCENE_MODEL_PATH)

    assert ast.literal_eval(facts.metadata["names"]) == dict(enumerate(SCENE_LABELS))
    assert load_detector(SCENE_MODEL_PATH).labels == SCENE_LABELS


def test_file_is_small_enough_to_be_part_of_the_package() -> None:
    assert SCENE_MODEL_PATH.stat().st_size < 1_000_000
