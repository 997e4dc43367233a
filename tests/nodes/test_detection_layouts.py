"""Each layout of boxes is read rightly, and so is, or is refused, what only has its shape.

The table in docs/own-model.md names the tests of this file and of test_detection_tasks.py.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.object_detection.box_layout import (
    STRIDES_P6,
    Layout,
    count_cells,
)
from dora_rt.nodes.object_detection.detector import Detector, load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from numpy.typing import NDArray

from tests.nodes.tiny_onnx import write_outputs

pytest.importorskip("onnxruntime")

Array = NDArray[np.float32]

CELLS = 84  # of an input of 64 x 64, in grids of 8 x 8, 4 x 4 and 2 x 2
CELL = 5 * 8 + 2  # row 5, column 2 of the first grid: pixels 16 to 24, 40 to 48
# One box on the input: centre 20, 40, size 20 x 40.
CENTRE = [20.0, 40.0, 20.0, 40.0]
CORNERS = [10.0, 20.0, 30.0, 60.0]
# Twice the size of the input, so that boxes come out doubled.
FRAME = np.full((128, 128, 3), 255, np.uint8)
BOX = [20.0, 40.0, 60.0, 120.0]
AWAY = [50.0, 10.0, 8.0, 8.0]  # the centre and size of a box that nobody is sure of


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Give a function that writes a model of these outputs and loads it."""

    def load(outputs: Array | dict[str, NDArray[Any]], **options: Any) -> Detector:
        wishes = {
            name: options.pop(name)
            for name in ("layout", "task", "labels", "input_size")
            if name in options
        }
        named = outputs if isinstance(outputs, dict) else {"output0": outputs}
        path = write_outputs(tmp_path / "m.onnx", named, **options)
        return load_detector(path, "onnxruntime", **wishes)

    return load


def yolox(classes: int = 3) -> Array:
    """Give offsets and logarithms, as YOLOX writes them; the box is of class 1."""
    raw = np.zeros((1, CELLS, 5 + classes), np.float32)
    raw[0, CELL, :5] = [0.5, 0, np.log(20 / 8), np.log(40 / 8), 0.8]
    raw[0, CELL, 6] = 0.9
    return raw


def rows(count: int, classes: int, *, objectness: float | None = None) -> Array:
    """Give boxes in pixels, one a row; the box is of class 1."""
    first = 4 if objectness is None else 5
    raw = np.zeros((1, count, first + classes), np.float32)
    raw[0, :, :4] = AWAY
    raw[0, 11, :4] = CENTRE
    raw[0, 11, first + 1] = 0.9
    if objectness is not None:
        raw[0, 11, 4] = objectness
    return raw


def yolov6(classes: int = 3) -> Array:
    raw = rows(CELLS, classes, objectness=1)
    raw[0, :, 4] = 1
    return raw


def yolov8(classes: int = 3) -> Array:
    return rows(CELLS, classes).transpose(0, 2, 1).copy()


def ready(*boxes: list[float], count: int = 300) -> Array:
    """Give rows of an end-to-end network; those that are not used are 0."""
    raw = np.zeros((1, count, len(boxes[0])), np.float32)
    raw[0, : len(boxes)] = boxes
    return raw


def fractions(raw: Array, boxes: slice = slice(4)) -> Array:
    """Turn pixels of the input into fractions of it, in the columns of boxes."""
    scaled = raw.copy()
    scaled[:, :, boxes] /= 64
    return scaled


def rtdetr(classes: int = 2) -> Array:
    """Give fractions, and a score for each class."""
    raw = np.zeros((1, 300, 4 + classes), np.float32)
    raw[0, 0, :6] = [20 / 64, 40 / 64, 20 / 64, 40 / 64, 0.02, 0.9]
    return raw


def assert_box(detector: Detector, layout: Layout, confidence: float = 0.9, kind: int = 1) -> None:
    """Assert that the one box is found, and how it is read."""
    boxes = detector.detect(FRAME)

    assert detector.layout is layout
    np.testing.assert_allclose(boxes, [[*BOX, confidence, kind]], rtol=1e-4)


def test_cells_of_all_strides_are_counted() -> None:
    assert count_cells(416, 416) == 3549
    assert count_cells(64, 64) == CELLS
    assert count_cells(1280, 1280, STRIDES_P6) == 34000


def test_yolox_offsets_are_counted_from_their_cell_in_its_stride(load: Any) -> None:
    assert_box(load(yolox()), Layout.YOLOX, 0.8 * 0.9)


def test_yolox_that_is_decoded_is_told_from_one_that_is_not(load: Any) -> None:
    assert_box(load(rows(CELLS, 3, objectness=0.8)), Layout.YOLOX_DECODED, 0.8 * 0.9)


def test_yolox_decoded_to_fractions_is_told_by_its_grid(load: Any) -> None:
    raw = fractions(rows(CELLS, 3, objectness=0.8))
    y, x = np.mgrid[0:8, 0:8]
    raw[0, :64, :2] = np.stack((x, y), 2).reshape(-1, 2) / 8
    raw[0, 11, :2] = [20 / 64, 40 / 64]

    detector = load(raw)

    assert_box(detector, Layout.YOLOX_DECODED, 0.8 * 0.9)
    assert detector.reading.are_fractions


def test_yolov5_boxes_are_centres_and_sizes_with_objectness(load: Any) -> None:
    assert_box(load(rows(3 * CELLS, 3, objectness=0.8)), Layout.YOLOV5, 0.8 * 0.9)


def test_yolov5_of_one_class_is_not_end_to_end(load: Any) -> None:
    raw = rows(3 * CELLS, 2, objectness=0.8)[:, :, [0, 1, 2, 3, 4, 6]]

    assert_box(load(raw), Layout.YOLOV5, 0.8 * 0.9, kind=0)


def test_yolov5_p6_has_one_grid_more(load: Any) -> None:
    count = 3 * count_cells(128, 128, STRIDES_P6)
    raw = rows(count, 3, objectness=0.8)
    raw[0, 11, :4] = [2 * side for side in CENTRE]

    assert_box(load(raw, input_shape=(1, 3, 128, 128)), Layout.YOLOV5, 0.8 * 0.9)


def test_yolov5_in_fractions_is_read_as_such(load: Any) -> None:
    detector = load(fractions(rows(3 * CELLS, 3, objectness=0.8)))

    assert_box(detector, Layout.YOLOV5, 0.8 * 0.9)
    assert detector.reading.are_fractions


def test_yolov6_is_told_by_its_objectness_of_one(load: Any) -> None:
    assert_box(load(yolov6()), Layout.YOLOV6)


def test_yolov7_with_its_grid_is_as_yolov5(load: Any) -> None:
    raw = {"output": rows(3 * CELLS, 3, objectness=0.8)}

    assert_box(load(raw), Layout.YOLOV5, 0.8 * 0.9)


def test_yolov7_end_to_end_rows_begin_with_the_picture(load: Any) -> None:
    raw = np.array([[0, *CORNERS, 1, 0.9]], np.float32)

    assert_box(load({"output": raw}), Layout.YOLOV7_END_TO_END)


def test_rows_of_seven_that_are_no_yolov7_are_refused(load: Any) -> None:
    raw = np.array([[*CORNERS, 0.9, 1, 320]], np.float32)

    with pytest.raises(ModelError, match=r"YOLOv7 end-to-end, its confidences .*--layout"):
        load(raw)


def test_yolov8_boxes_are_columns_without_objectness(load: Any) -> None:
    assert_box(load(yolov8()), Layout.YOLOV8)


def test_raw_heads_beside_the_boxes_are_no_masks(load: Any) -> None:
    heads = {f"head{size}": np.zeros((1, 64 + 3, size, size), np.float32) for size in (8, 4, 2)}

    assert_box(load({"output0": yolov8(), **heads}), Layout.YOLOV8)


def test_raw_heads_of_yolov5_beside_its_boxes_are_not_looked_at(load: Any) -> None:
    heads = {f"head{size}": np.zeros((1, 3, size, size, 8), np.float32) for size in (8, 4, 2)}
    boxes = rows(3 * CELLS, 3, objectness=0.8)

    assert_box(load({"output": boxes, **heads}), Layout.YOLOV5, 0.8 * 0.9)


def test_yolov8_turned_round_is_told_by_the_names(load: Any) -> None:
    raw = yolov8().transpose(0, 2, 1).copy()

    detector = load(raw, metadata={"names": "['a', 'b', 'c']"})

    assert_box(detector, Layout.YOLOV8)
    assert detector.reading.is_transposed


def test_yolov8_turned_round_with_the_classes_of_coco_is_told_by_their_number(load: Any) -> None:
    assert_box(load(rows(CELLS, 80)), Layout.YOLOV8)


def test_yolov8_in_fractions_is_read_as_such(load: Any) -> None:
    raw = fractions(rows(CELLS, 3)).transpose(0, 2, 1).copy()

    assert_box(load(raw), Layout.YOLOV8)


def test_yolov8_without_its_sigmoid_is_refused(load: Any) -> None:
    raw = yolov8()
    raw[0, 4:] = -7.5

    with pytest.raises(ModelError, match=r"confidences would go from -7\.5 .*--layout"):
        load(raw, metadata={"names": "['a', 'b', 'c']"})


def test_yolov9_with_its_auxiliary_head_is_read_from_the_main_one(load: Any) -> None:
    auxiliary = yolov8()
    auxiliary[0, :4, 11] = AWAY

    assert_box(load({"output0": auxiliary, "output1": yolov8()}), Layout.YOLOV8)


def test_yolo11_is_as_yolov8(load: Any) -> None:
    notes = {"description": "Ultralytics YOLO11n model", "names": "['a', 'b', 'c']"}

    assert_box(load(yolov8(), metadata=notes), Layout.YOLOV8)


def test_yolov10_and_yolo26_rows_are_boxes_already(load: Any) -> None:
    detector = load(ready([*CORNERS, 0.9, 17]))

    assert_box(detector, Layout.END_TO_END, kind=17)
    assert not detector.layout.needs_suppression


def test_end_to_end_with_the_class_before_the_confidence_is_told_by_its_values(load: Any) -> None:
    assert_box(load(ready([*CORNERS, 1, 0.9])), Layout.END_TO_END_CLASS_FIRST)


def test_end_to_end_with_centres_is_told_by_corners_the_wrong_way_round(load: Any) -> None:
    others = [[50, 20, 8, 8, 0.2, 0], [60, 60, 4, 4, 0.1, 2]]

    raw = ready([60, 40, 20, 20, 0.9, 1], *others)

    detector = load(raw)

    assert detector.layout is Layout.END_TO_END_CENTRES
    np.testing.assert_allclose(detector.detect(FRAME), [[100, 60, 128, 100, 0.9, 1]], rtol=1e-5)


def test_end_to_end_in_fractions_is_read_as_such(load: Any) -> None:
    raw = fractions(ready([*CORNERS, 0.9, 1]))

    assert_box(load(raw), Layout.END_TO_END)


def test_rtdetr_of_two_classes_is_told_from_end_to_end_by_its_values(load: Any) -> None:
    assert_box(load(rtdetr()), Layout.RTDETR)


def test_rtdetr_is_told_by_the_description_before_the_shape(load: Any) -> None:
    notes = {"description": "Ultralytics rtdetr-l model", "names": "['cat', 'dog']"}

    detector = load(np.zeros((1, 300, 6), np.float32), metadata=notes)

    assert detector.layout is Layout.RTDETR
    assert detector.labels == ("cat", "dog")


def test_rtdetr_pictures_are_stretched_and_so_are_its_boxes(load: Any) -> None:
    boxes = load(rtdetr()).detect(np.zeros((100, 400, 3), np.uint8))

    np.testing.assert_allclose(
        boxes, [[10 / 64 * 400, 20 / 64 * 100, 30 / 64 * 400, 60 / 64 * 100, 0.9, 1]], rtol=1e-5
    )


def test_rtdetr_whose_boxes_are_pixels_is_refused(load: Any) -> None:
    raw = rtdetr(5)
    raw[0, :, :4] *= 64

    with pytest.raises(ModelError, match="RT-DETR, its boxes would lie up to 40 pictures away"):
        load(raw)


def triple(scale: float = 1, *, is_flat: bool = False) -> dict[str, NDArray[Any]]:
    """Give the labels, boxes and scores of D-FINE, RT-DETR and others."""
    labels = np.zeros((1, 300), np.int64)
    labels[0, 0] = 1
    scores = np.zeros((1, 300), np.float32)
    scores[0, 0] = 0.9
    boxes = scale * ready(CORNERS)
    named = {"labels": labels, "boxes": boxes.astype(np.float32), "scores": scores}
    return {name: array[0] for name, array in named.items()} if is_flat else named


def test_dfine_gives_labels_boxes_and_scores(load: Any) -> None:
    detector = load(triple(), has_sizes=True)

    assert_box(detector, Layout.DFINE)
    assert detector._facts.size_input_dtype == np.int64


def test_dfine_in_fractions_is_read_as_such(load: Any) -> None:
    assert_box(load(triple(1 / 64)), Layout.DFINE)


def test_torchvisions_boxes_of_the_same_names_are_refused_by_name(load: Any) -> None:
    with pytest.raises(ModelError, match="torchvision's Faster R-CNN"):
        load(triple(is_flat=True))


def logits() -> dict[str, Array]:
    raw = rtdetr(3)
    scores = np.full((1, 300, 3), -9, np.float32)
    scores[0, 0, 1] = np.log(0.9 / 0.1)
    return {"logits": scores, "pred_boxes": raw[:, :, :4].copy()}


def test_rtdetr_of_hugging_face_needs_a_word_and_is_read_with_it(load: Any) -> None:
    with pytest.raises(ModelError, match="--layout rtdetr-logits"):
        load(logits())

    assert_box(load(logits(), layout=Layout.RTDETR_LOGITS), Layout.RTDETR_LOGITS)


UNSUPPORTED = {
    "NanoDet-Plus": ({"output": (1, 85, 3 + 32)}, "NanoDet"),
    "NanoDet-m": ({"output": (1, 84, 3 + 32)}, "NanoDet"),
    "NanoDet heads": (
        {"cls_pred_stride_8": (1, 64, 3), "dis_pred_stride_8": (1, 64, 32)}, "NanoDet"
    ),
    "EfficientNMS": (
        {"num_dets": (1, 1), "det_boxes": (1, 9, 4), "det_scores": (1, 9), "det_classes": (1, 9)},
        "EfficientNMS plugin",
    ),
    "SSD": ({"detection_boxes": (1, 9, 4), "num_detections": (1,)}, "SSD, EfficientDet"),
    "YOLOv4": ({"boxes": (1, 84, 1, 4), "confs": (1, 84, 3)}, "YOLOv4"),
    "RTMDet": ({"dets": (1, 100, 5), "labels": (1, 100)}, "RTMDet"),
    "CenterNet": ({"hm": (1, 3, 16, 16), "wh": (1, 2, 16, 16)}, "CenterNet"),
    "YOLO-NAS": ({"a": (1, 84, 4), "b": (1, 84, 3)}, "YOLO-NAS"),
    "DAMO-YOLO": ({"a": (1, 84, 80), "b": (1, 84, 4)}, "DAMO-YOLO"),
    "YOLOv5 heads": ({"a": (1, 3, 8, 8, 85), "b": (1, 3, 4, 4, 85)}, "heads of YOLOv5"),
    "YOLOv8 heads": ({"a": (1, 144, 8, 8), "b": (1, 144, 4, 4), "c": (1, 144, 2, 2)}, "raw heads"),
    "semantic segmentation": ({"a": (1, 21, 64, 64)}, "semantic segmentation"),
    "classifier": ({"a": (1, 1000)}, "--layout classify"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_layouts_are_refused_by_name(load: Any, name: str) -> None:
    shapes, said = UNSUPPORTED[name]
    random = np.random.default_rng(1)
    # Scores from 0 to 1, and distances that are anything: nothing that could be a supported one.
    outputs = {
        output: random.uniform(-5 if shape[-1] > 32 else 0, 1, shape).astype(np.float32)
        for output, shape in shapes.items()
    }

    with pytest.raises(ModelError, match=said):
        load(outputs)


def test_unknown_layout_is_refused_with_a_list_of_the_known_ones(load: Any) -> None:
    with pytest.raises(ModelError) as caught:
        load(np.zeros((1, 4, 84), np.float32))

    assert "output0 [1, 4, 84]" in str(caught.value)
    for known in ("[1, 84, 5+C]", "[1, 252, 5+C]", "[1, 4+C, N]", "[1, N, 6]", "[1, N, 4+C]"):
        assert known in str(caught.value)


def test_reading_that_the_first_picture_disproves_is_given_up_and_said(
    load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # Black, as at the warm-up, nothing is found; white is a box of RT-DETR.
    detector = load(np.zeros((1, 300, 6), np.float32), gains={"output0": rtdetr()})
    assert detector.layout is Layout.END_TO_END

    assert_box(detector, Layout.RTDETR)
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "the numbers of its classes would be such as 0.9" in warning.getMessage()
    assert "read as RT-DETR from now on; --layout rtdetr" in warning.getMessage()


def test_picture_that_no_reading_fits_is_an_error_with_the_way_out(load: Any) -> None:
    gain = yolov8()
    gain[0, 4:] = 7.5
    notes = {"names": "['a', 'b', 'c']", "task": "detect"}
    detector = load(np.zeros((1, 7, CELLS), np.float32), gains={"output0": gain}, metadata=notes)
    assert len(detector.detect(np.zeros((64, 64, 3), np.uint8))) == 0

    with pytest.raises(ModelError, match=r"m\.onnx: .*confidences would go .*--layout"):
        detector.detect(FRAME)


def test_layout_that_is_asked_for_is_taken_whatever_the_count_of_boxes(load: Any) -> None:
    raw = rows(100, 3, objectness=0.8)

    assert_box(load(raw, layout=Layout.YOLOV5), Layout.YOLOV5, 0.8 * 0.9)


def test_layout_that_the_shape_cannot_have_is_refused_with_those_that_fit(load: Any) -> None:
    with pytest.raises(ModelError, match=r"do not fit --layout dfine; those that fit: .*yolov8"):
        load(yolov8(), layout=Layout.DFINE)


def test_layout_that_the_values_disprove_is_refused(load: Any) -> None:
    with pytest.raises(ModelError, match=r"read as YOLOX, .*leave --layout away"):
        load(rows(CELLS, 3, objectness=0.8), layout=Layout.YOLOX)


def test_outputs_that_are_no_numbers_are_refused(load: Any) -> None:
    with pytest.raises(ModelError, match="none of its confidences is a number"):
        load(np.full((1, 7, CELLS), np.nan, np.float32))


def test_labels_give_the_number_of_classes(load: Any) -> None:
    # 7 numbers behind the box: 6 classes with objectness, or 7 without.
    raw = rows(CELLS, 6, objectness=0.8)

    assert_box(load(raw, labels=list("abcdef")), Layout.YOLOX_DECODED, 0.8 * 0.9)
    assert load(raw, labels=list("abcdefg")).layout is Layout.YOLOV8


def test_labels_of_another_number_than_all_readings_are_refused(load: Any) -> None:
    with pytest.raises(ModelError, match="got 2 labels, expected 3"):
        load(yolov8(), labels=["a", "b"])


def test_names_that_are_too_few_or_too_many_are_told(
    load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    load(yolov8(), metadata={"names": "['a', 'b', 'c', 'd']"})
    assert "has the names of 4 classes, but its output has 3" in caplog.text

    detector = load(ready([*CORNERS, 0.9, 17]), labels=["a", "b"])
    detector.detect(FRAME)
    detector.detect(FRAME)
    assert caplog.text.count("found the class 17, but there are the names of only 2 classes") == 1


def test_task_of_an_unsupported_kind_is_refused_by_name(load: Any) -> None:
    with pytest.raises(ModelError, match="for the task 'depth', which is not supported"):
        load(yolov8(), metadata={"task": "depth"})


@pytest.mark.parametrize("shape", [(4, 3, 64, 64), (1, 64, 64, 3), (1, 1, 64, 64)])
def test_batches_grey_pictures_and_channels_at_the_end_are_fed(
    load: Any, shape: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    raw = np.repeat(yolov8(), shape[0], axis=0)
    raw[1:] = 0

    detector = load(raw, input_shape=shape)

    assert_box(detector, Layout.YOLOV8)
    assert ("export it for one (batch=1)" in caplog.text) == (shape[0] == 4)


def test_size_that_the_file_leaves_open_is_that_of_its_notes(load: Any) -> None:
    open_shape = ("batch", 3, "height", "width")
    notes = {"imgsz": "[64, 96]", "stride": "32"}

    assert load(yolov8(), input_shape=open_shape, metadata=notes).input_size == (64, 96)
    assert load(yolov8(), input_shape=open_shape).input_size == (640, 640)
    with pytest.raises(ModelError, match="input size of 96, expected a multiple of 64"):
        load(yolov8(), input_shape=open_shape, metadata={"stride": "64"}, input_size=96)


@pytest.mark.parametrize("name", ["labels", "scores"])
def test_labels_boxes_and_scores_of_different_numbers_are_refused(load: Any, name: str) -> None:
    outputs = triple()
    outputs[name] = outputs[name][:, :-1]

    with pytest.raises(ModelError, match="different numbers of labels, boxes and scores"):
        load(outputs)


def test_numbers_that_are_none_are_no_warnings_of_numpy(load: Any, recwarn: Any) -> None:
    pose = np.full((1, 20, 57), np.nan, np.float32)
    pose[0, :, :6] = [1, 1, 50, 50, 0.9, 0]

    found = load(pose, metadata={"task": "pose", "kpt_shape": "[17, 3]"}).look(
        np.zeros((64, 64, 3), np.uint8)
    )

    assert found.keypoints is not None
    assert not found.keypoints.any()
    assert not recwarn.list


def test_classes_whose_scores_are_no_numbers_are_none(load: Any) -> None:
    scores = np.full((1, 5), np.nan, np.float32)

    found = load(scores, metadata={"task": "classify"}).look(np.zeros((64, 64, 3), np.uint8))

    assert found.classes is not None
    assert found.classes.shape == (0, 2)
