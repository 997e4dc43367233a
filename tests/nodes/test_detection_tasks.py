"""Masks, key points, oriented boxes and classes are found, and told from plain boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.object_detection.box_layout import Layout, Task
from dora_rt.nodes.object_detection.detector import Detector, load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.found_objects import classes_of, masks_of
from numpy.typing import NDArray

from tests.nodes.tiny_onnx import write_outputs

pytest.importorskip("onnxruntime")

Array = NDArray[np.float32]

CELLS = 84  # of an input of 64 x 64
CENTRE = [20.0, 40.0, 20.0, 40.0]
CORNERS = [10.0, 20.0, 30.0, 60.0]
FRAME = np.full((128, 128, 3), 255, np.uint8)  # boxes come out doubled
BOX = [20.0, 40.0, 60.0, 120.0]
AWAY = [50.0, 10.0, 8.0, 8.0]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Give a function that writes a model of these outputs and loads it."""

    def load(
        outputs: Array | dict[str, NDArray[Any]], backend: str = "onnxruntime", **options: Any
    ) -> Detector:
        wishes = {
            name: options.pop(name) for name in ("layout", "task", "labels") if name in options
        }
        named = outputs if isinstance(outputs, dict) else {"output0": outputs}
        path = write_outputs(tmp_path / "m.onnx", named, **options)
        return load_detector(path, backend, **wishes)

    return load


def notes(task: str, names: str, **more: str) -> dict[str, str]:
    """Give the metadata that ultralytics writes."""
    return {"task": task, "names": names, "stride": "32", **more}


def yolov8(classes: int, extra: list[float]) -> Array:
    """Give a box of class 0 with further numbers, as YOLOv8 writes it."""
    raw = np.zeros((1, 4 + classes + len(extra), CELLS), np.float32)
    raw[0, :4] = np.array(AWAY)[:, None]
    raw[0, :4, 11] = CENTRE
    raw[0, 4, 11] = 0.9
    raw[0, 4 + classes :, 11] = extra
    return raw


def ready(*numbers: float) -> Array:
    raw = np.zeros((1, 300, len(numbers)), np.float32)
    raw[0, 0] = numbers
    return raw


# The first prototype is the left half of the input, the second all of it.
PROTOTYPES = np.full((1, 2, 16, 16), -1, np.float32)
PROTOTYPES[0, 0, :, :5] = 1  # pixels 0 to 20 of the input, 0 to 40 of the frame
PROTOTYPES[0, 1] = 1


def assert_left_half(detector: Detector) -> None:
    """Assert that the mask is the left half of the box."""
    found = detector.look(FRAME)

    assert detector.task is Task.SEGMENT
    np.testing.assert_allclose(found.boxes, [[*BOX, 0.9, 0]], rtol=1e-5)
    assert found.masks is not None
    expected = np.zeros((128, 128), np.uint8)
    expected[40:120, 20:40] = 1
    assert found.masks.dtype == np.uint8
    np.testing.assert_array_equal(found.masks, expected)


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv"])
def test_masks_of_yolov8_are_its_prototypes_weighed_and_cut_off(load: Any, backend: str) -> None:
    outputs = {"output0": yolov8(3, [4, 0]), "output1": PROTOTYPES}

    assert_left_half(load(outputs, backend, metadata=notes("segment", "['a', 'b', 'c']")))


def test_masks_are_told_by_the_prototypes_where_the_file_says_nothing(load: Any) -> None:
    detector = load({"output0": yolov8(3, [4, 0]), "output1": PROTOTYPES})

    assert_left_half(detector)
    assert detector.labels == ("0", "1", "2")


def test_masks_of_yolov5_come_behind_its_objectness(load: Any) -> None:
    raw = np.zeros((1, 3 * CELLS, 5 + 2 + 2), np.float32)
    raw[0, :, :4] = AWAY
    raw[0, 11] = [*CENTRE, 1, 0.9, 0, 4, 0]
    raw[0, 12, 4] = 0.01

    assert_left_half(load({"output0": raw, "output1": PROTOTYPES}))


def test_masks_of_end_to_end_networks_come_behind_the_class(load: Any) -> None:
    outputs = {"output0": ready(*CORNERS, 0.9, 0, 4, 0), "output1": PROTOTYPES}

    assert_left_half(load(outputs, metadata=notes("segment", "['cat']")))
    assert_left_half(load(outputs))


def test_mask_coefficients_without_prototypes_are_no_classes(load: Any) -> None:
    detector = load(yolov8(2, [3.5] * 32), metadata={"names": "['a', 'b']"})

    np.testing.assert_allclose(detector.detect(FRAME), [[*BOX, 0.9, 0]], rtol=1e-5)


def test_labels_give_the_number_of_classes_beside_masks(load: Any) -> None:
    outputs = {"output0": yolov8(3, [4, 0]), "output1": PROTOTYPES}

    assert load(outputs, labels=["x", "y", "z"]).labels == ("x", "y", "z")
    with pytest.raises(ModelError, match="got 5 labels, expected 3"):
        load(outputs, labels=list("vwxyz"))


def test_the_most_confident_mask_is_on_top() -> None:
    placed = np.array(
        [[0, 0, 6, 6, 0.9, 0, 1], [4, 4, 10, 10, 0.5, 1, 1]],
        np.float32,
    )

    masks = masks_of(placed, np.ones((1, 5, 5), np.float32), (1, 1), (10, 10), (10, 10))

    assert masks[5, 5] == 1
    assert masks[8, 8] == 2
    assert masks[0, 9] == 0


def test_more_than_255_masks_are_two_bytes_each() -> None:
    placed = np.zeros((300, 7), np.float32)
    placed[:, 2:4] = 2
    placed[:, 0] = placed[:, 2] - 1
    placed[:, 6] = 1

    masks = masks_of(placed, np.ones((1, 4, 4), np.float32), (1, 1), (4, 4), (4, 4))

    assert masks.dtype == np.uint16


POINTS = [12.0, 30.0, 0.75, 28.0, 50.0, 0.25]


def assert_points(detector: Detector, confidences: tuple[float, float] = (0.75, 0.25)) -> None:
    found = detector.look(FRAME)

    assert detector.task is Task.POSE
    np.testing.assert_allclose(found.boxes, [[*BOX, 0.9, 0]], rtol=1e-5)
    assert found.keypoints is not None
    np.testing.assert_allclose(
        found.keypoints, [[[24, 60, confidences[0]], [56, 100, confidences[1]]]], rtol=1e-5
    )


def test_key_points_of_yolov8_have_the_shape_that_the_file_says(load: Any) -> None:
    metadata = notes("pose", "['person']", kpt_shape="[2, 3]")

    assert_points(load(yolov8(1, POINTS), metadata=metadata))


def test_key_points_without_confidence_are_sure(load: Any) -> None:
    metadata = notes("pose", "['person']", kpt_shape="[2, 2]")
    extra = [POINTS[at] for at in (0, 1, 3, 4)]

    assert_points(load(yolov8(1, extra), metadata=metadata), (1, 1))


def test_key_points_of_end_to_end_networks_come_behind_the_class(load: Any) -> None:
    raw = ready(*CORNERS, 0.9, 0, *POINTS)

    assert_points(load(raw, metadata=notes("pose", "['person']", kpt_shape="[2, 3]")))
    assert_points(load(raw))


def test_key_points_are_told_by_their_values_where_the_file_says_nothing(load: Any) -> None:
    assert_points(load(yolov8(1, POINTS)))


def test_key_points_of_a_user_who_says_so_are_read(load: Any) -> None:
    assert_points(load(yolov8(1, POINTS), task=Task.POSE))


def assert_quarter_turn(detector: Detector) -> None:
    """Assert that the box of 20 x 40 is 40 wide and 20 high once it is turned by a quarter."""
    found = detector.look(FRAME)

    assert detector.task is Task.ORIENTED
    assert found.oriented is not None
    turned = [40, 80, 40, 80, np.pi / 2, 0.9, 0]
    np.testing.assert_allclose(found.oriented, [turned], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [[0, 60, 80, 100, 0.9, 0]], atol=1e-4)


def test_oriented_boxes_of_yolov8_end_in_their_angle(load: Any) -> None:
    assert_quarter_turn(load(yolov8(2, [np.pi / 2]), metadata=notes("obb", "['a', 'b']")))


def test_oriented_boxes_of_end_to_end_networks_are_centres(load: Any) -> None:
    raw = ready(*CENTRE, 0.9, 0, np.pi / 2)

    assert_quarter_turn(load(raw, metadata=notes("obb", "['a']")))
    assert_quarter_turn(load(raw))


def test_angle_is_told_from_a_class_by_its_values(load: Any) -> None:
    assert_quarter_turn(load(yolov8(1, [np.pi / 2])))
    assert load(yolov8(1, [0.5])).task is Task.DETECT


def test_oriented_boxes_that_overlap_are_one_object(load: Any) -> None:
    raw = yolov8(1, [np.pi / 4])
    raw[0, :, 12] = [21, 40, 20, 40, 0.5, np.pi / 4]
    raw[0, :, 13] = [20, 40, 20, 40, 0.6, -np.pi / 4]  # across the first

    found = load(raw, metadata=notes("obb", "['a']")).look(FRAME)

    assert found.oriented is not None
    np.testing.assert_allclose(found.oriented[:, 5], [0.9, 0.6], rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1)])
def test_classes_of_a_picture_are_the_best_first(load: Any, shape: tuple[int, ...]) -> None:
    raw = np.array([0.1, 0.6, 0.05, 0.25], np.float32).reshape(shape)

    detector = load(raw, metadata=notes("classify", "['a', 'b', 'c', 'd']"))
    found = detector.look(FRAME)

    assert detector.layout is Layout.CLASSIFY
    assert found.boxes.shape == (0, 6)
    np.testing.assert_allclose(found.classes, [[1, 0.6], [3, 0.25], [0, 0.1], [2, 0.05]], rtol=1e-6)
    assert detector.label(1) == "b"


def test_classes_that_are_logits_become_probabilities() -> None:
    classes = classes_of(np.array([[0, np.log(3), -50]], np.float32))

    np.testing.assert_allclose(classes[:2], [[1, 0.75], [0, 0.25]], rtol=1e-5)


def test_classifier_that_says_nothing_is_refused_and_read_when_told(load: Any) -> None:
    raw = np.array([[0.1, 0.9] + [0] * 8], np.float32)
    with pytest.raises(ModelError, match=r"--layout classify .*--layout classify-imagenet"):
        load(raw)

    assert load(raw, layout=Layout.CLASSIFY_IMAGENET).look(FRAME).classes[0, 0] == 1


def test_classifiers_of_imagenet_get_its_colours_and_the_middle_of_the_picture(load: Any) -> None:
    detector = load(np.zeros((1, 10), np.float32), layout=Layout.CLASSIFY_IMAGENET)
    frame = np.zeros((64, 128, 3), np.uint8)
    frame[:, 32:96] = (0, 0, 255)  # red in the middle

    detector.look(frame)

    planes = detector._letterbox.blob[0, :, 32, 32]
    np.testing.assert_allclose(
        planes, [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5
    )
    assert np.ptp(detector._letterbox.blob[0, 0]) < 1e-5
