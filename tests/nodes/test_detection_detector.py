"""The whole way from a picture to its boxes, with both backends, on networks known in advance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.object_detection.box_layout import Layout
from dora_rt.nodes.object_detection.coco import COCO_LABELS
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.errors import FrameError, ModelError
from numpy.typing import NDArray

from tests.nodes.tiny_onnx import write_model

BACKENDS = ["onnxruntime", "opencv"]
CELLS = 84  # of an input of 64 x 64
SHAPES = {
    Layout.YOLOX: (1, CELLS, 5 + 3),
    Layout.YOLOV5: (1, 3 * CELLS, 5 + 3),
    Layout.YOLOV8: (1, 4 + 3, CELLS),
}

# Twice the size of the input, so that the boxes come out doubled.
RED = np.full((128, 128, 3), (0, 0, 255), np.uint8)
BLUE = np.full((128, 128, 3), (255, 0, 0), np.uint8)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return name


def colour_model(path: Path, layout: Layout) -> Path:
    """Write a network with one box, 10, 20 to 30, 60, whose class is the colour of the picture.

    The class scores are the means of the three channels in the order in which they arrive, scaled
    as the family wants them: so that they are right only if the picture was prepared right.
    """
    output = np.zeros(SHAPES[layout], np.float32)
    colours = np.zeros((3, *SHAPES[layout]), np.float32)
    if layout is Layout.YOLOV8:
        output[0, :4, 5] = [20, 40, 20, 40]
        colours[range(3), 0, range(4, 7), 5] = 1
    elif layout is Layout.YOLOV5:
        output[0, 5, :5] = [20, 40, 20, 40, 1]
        colours[range(3), 0, 5, range(5, 8)] = 1
    else:
        # Row 5, column 2 of the first grid, stride 8.
        output[0, 5 * 8 + 2, :5] = [0.5, 0, np.log(20 / 8), np.log(40 / 8), 1]
        colours[range(3), 0, 5 * 8 + 2, range(5, 8)] = 1 / 255
    return write_model(path, output, colours)


def end_to_end_model(path: Path, **options: object) -> Path:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = [10, 20, 30, 60, 0.5, 2]
    output[0, 1] = [10, 20, 30, 60, 0.75, 1]
    output[0, 2] = [10, 20, 30, 60, 0.625, 1]
    return write_model(path, output, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [Layout.YOLOV5, Layout.YOLOV8])
def test_networks_of_rgb_get_red_first_and_scaled_to_one(
    tmp_path: Path, backend: str, layout: Layout
) -> None:
    detector = load_detector(colour_model(tmp_path / "m.onnx", layout), backend)

    assert detector.layout is layout
    assert_boxes(detector.detect(RED), [[20, 40, 60, 120, 1, 0]])
    assert_boxes(detector.detect(BLUE), [[20, 40, 60, 120, 1, 2]])


def test_yolox_gets_blue_first_and_not_scaled(tmp_path: Path, backend: str) -> None:
    detector = load_detector(colour_model(tmp_path / "m.onnx", Layout.YOLOX), backend)

    assert detector.layout is Layout.YOLOX
    assert_boxes(detector.detect(BLUE), [[20, 40, 60, 120, 1, 0]])
    assert_boxes(detector.detect(RED), [[20, 40, 60, 120, 1, 2]])


def test_end_to_end_boxes_are_sorted_and_not_suppressed(tmp_path: Path, backend: str) -> None:
    detector = load_detector(end_to_end_model(tmp_path / "m.onnx"), backend)

    boxes = detector.detect(RED)

    place = [20, 40, 60, 120]
    assert_boxes(boxes, [[*place, 0.75, 1], [*place, 0.625, 1], [*place, 0.5, 2]])
    assert boxes.dtype == np.float32
    assert boxes.flags.c_contiguous


def test_file_with_open_dimensions_takes_the_input_size_asked_for(
    tmp_path: Path, backend: str
) -> None:
    path = end_to_end_model(tmp_path / "m.onnx", input_shape=("n", 3, "h", "w"))

    detector = load_detector(path, backend, input_size=96)

    assert detector.input_size == (96, 96)
    assert_boxes(detector.detect(np.zeros((96, 96, 3), np.uint8))[:1], [[10, 20, 30, 60, 0.75, 1]])


def test_input_need_not_be_square(tmp_path: Path, backend: str) -> None:
    path = end_to_end_model(tmp_path / "m.onnx", input_shape=(1, 3, 64, 96))

    detector = load_detector(path, backend)

    assert detector.input_size == (64, 96)
    assert_boxes(detector.detect(np.zeros((32, 48), np.uint8))[:1], [[5, 10, 15, 30, 0.75, 1]])


def test_boxes_are_read_from_the_first_of_two_outputs(tmp_path: Path, backend: str) -> None:
    path = end_to_end_model(tmp_path / "m.onnx", has_second_output=True)

    boxes = load_detector(path, backend).detect(RED)

    assert_boxes(boxes[:1], [[20, 40, 60, 120, 0.75, 1]])


def test_half_precision_model_gives_float32_boxes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = end_to_end_model(tmp_path / "m.onnx", dtype="float16")

    boxes = load_detector(path, "onnxruntime").detect(RED)

    assert boxes.dtype == np.float32
    assert_boxes(boxes[:1], [[20, 40, 60, 120, 0.75, 1]])


def test_confidence_limits_what_is_seen(tmp_path: Path, backend: str) -> None:
    path = end_to_end_model(tmp_path / "m.onnx")

    assert len(load_detector(path, backend, confidence=0.76).detect(RED)) == 0
    assert len(load_detector(path, backend, confidence=0.75).detect(RED)) == 1


def test_frame_that_is_no_picture_is_refused_and_the_next_is_seen(
    tmp_path: Path, backend: str
) -> None:
    detector = load_detector(end_to_end_model(tmp_path / "m.onnx"), backend)

    with pytest.raises(FrameError, match="expected a picture"):
        detector.detect(np.zeros((4, 4, 2), np.uint8))

    assert len(detector.detect(RED)) == 3


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("{0: 'cube', 1: 'ball', 2: \"cat's eye\"}", ("cube", "ball", "cat's eye")),
        ("['cube', 'ball', 'ring']", ("cube", "ball", "ring")),
        ("cube, ball", ("0", "1", "2")),
        ("{0: 'cube', 1: 'ball', 2: 'ring', 3: 'one too many'}", ("0", "1", "2")),
    ],
)
def test_labels_come_from_the_metadata(
    tmp_path: Path, names: str, expected: tuple[str, ...]
) -> None:
    output = np.zeros(SHAPES[Layout.YOLOV8], np.float32)
    path = write_model(tmp_path / "m.onnx", output, metadata={"names": names})

    assert load_detector(path, "opencv").labels == expected


def test_labels_of_the_argument_win(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        np.zeros(SHAPES[Layout.YOLOV8], np.float32),
        metadata={"names": "['a', 'b', 'c']"},
    )

    assert load_detector(path, "opencv", labels=["x", "y", "z"]).labels == ("x", "y", "z")


def test_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", np.zeros(SHAPES[Layout.YOLOV8], np.float32))

    with pytest.raises(ModelError, match="got 2 labels, expected 3"):
        load_detector(path, "opencv", labels=["x", "y"])


def test_model_of_80_unnamed_classes_has_the_names_of_coco(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", np.zeros((1, 84, 85), np.float32))

    assert load_detector(path, "opencv").labels == COCO_LABELS


def test_coco_names_are_those_of_the_published_list(shared_data: Path) -> None:
    published = (shared_data / "coco_classes.txt").read_text().split("\n")

    assert list(COCO_LABELS) == [name for name in published if name]


def test_class_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    detector = load_detector(end_to_end_model(tmp_path / "m.onnx"), "opencv", labels=["a", "b"])

    assert [detector.label(number) for number in (1, 2, -1)] == ["b", "2", "-1"]


def test_unsupported_output_is_refused_with_the_file_and_the_layouts(
    tmp_path: Path, backend: str
) -> None:
    path = write_model(tmp_path / "odd.onnx", np.zeros((1, 3, 100), np.float32))

    with pytest.raises(ModelError, match=r"odd\.onnx: .*\[1, 3, 100\].*YOLOv8"):
        load_detector(path, backend)


@pytest.mark.parametrize("input_shape", [(1, 4, 64, 64), (1, 64, 64, 5), (1, 3, 64)])
def test_unsupported_input_is_refused_with_its_shape(
    tmp_path: Path, input_shape: tuple[int, ...]
) -> None:
    path = end_to_end_model(tmp_path / "m.onnx", input_shape=input_shape)

    with pytest.raises(ModelError) as caught:
        load_detector(path)

    assert str(list(input_shape)) in str(caught.value)


def test_model_with_an_unknown_operator_is_refused(tmp_path: Path, backend: str) -> None:
    path = end_to_end_model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"MatMud"))

    with pytest.raises(ModelError, match=r"m\.onnx: .*(onnxruntime|OpenCV)"):
        load_detector(path, backend)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backend": "torch"}, "no backend 'torch'"),
        ({"device": "npu"}, "no device 'npu'"),
        ({"threads": 0}, "got 0 threads"),
        ({"confidence": 1.5}, "confidence of 1.5"),
        ({"iou": -1}, "iou of -1"),
        ({"input_size": 100}, "input size of 100"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    path = end_to_end_model(tmp_path / "m.onnx")

    with pytest.raises(ModelError, match=said):
        load_detector(path, **wrong)  # type: ignore[arg-type]


def assert_boxes(boxes: NDArray[np.float32], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(boxes, np.array(expected), rtol=1e-4)
