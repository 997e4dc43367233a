"""What each family of networks writes is told apart and turned into the right boxes."""

from __future__ import annotations

import numpy as np
import pytest
from dora_rt.nodes.object_detection.box_layout import Decoder, Layout, count_cells, find_layout
from dora_rt.nodes.object_detection.errors import ModelError
from numpy.typing import NDArray

# One box on an input of 128 (high) x 192 (wide): centre 100, 60, size 40 x 20.
HEIGHT, WIDTH = 128, 192
CORNERS = [80.0, 50.0, 120.0, 70.0]
CELLS = 16 * 24 + 8 * 12 + 4 * 6


def decode(raw: NDArray[np.floating], confidence: float = 0.3, **named: int) -> NDArray[np.float32]:
    return Decoder.create(raw.shape, HEIGHT, WIDTH, **named).candidates(raw, confidence)


def yolox_output() -> NDArray[np.float32]:
    raw = np.zeros((1, CELLS, 5 + 3), np.float32)
    # The cell of stride 16 in row 3, column 6 holds the centre: (6 + 0.25) * 16 = 100.
    cell = 16 * 24 + 3 * 12 + 6
    raw[0, cell] = [0.25, 0.75, np.log(40 / 16), np.log(20 / 16), 0.8, 0.1, 0.9, 0.2]
    return raw


def test_cells_of_all_strides_are_counted() -> None:
    assert count_cells(416, 416) == 3549
    assert count_cells(HEIGHT, WIDTH) == CELLS


@pytest.mark.parametrize(
    ("output_shape", "size", "layout"),
    [
        ((1, 3549, 85), 416, Layout.YOLOX),
        ((1, 3549, 6), 416, Layout.YOLOX),
        ((1, 25200, 85), 640, Layout.YOLOV5),
        ((1, 25200, 6), 640, Layout.YOLOV5),
        ((1, 84, 8400), 640, Layout.YOLOV8),
        ((1, 5, 8400), 640, Layout.YOLOV8),
        ((1, 14, 500), 320, Layout.YOLOV8),
        ((1, 300, 6), 640, Layout.END_TO_END),
    ],
)
def test_layout_is_told_from_the_output_shape(
    output_shape: tuple[int, ...], size: int, layout: Layout
) -> None:
    assert find_layout(output_shape, size, size) is layout


@pytest.mark.parametrize(
    "output_shape", [(1, 1000), (1, 7, 7, 30), (2, 84, 8400), (1, 4, 8400), (1, 999, 85), ()]
)
def test_unknown_layout_is_refused_with_a_list_of_the_known_ones(
    output_shape: tuple[int, ...],
) -> None:
    with pytest.raises(ModelError) as caught:
        find_layout(output_shape, 640, 640)

    assert str(list(output_shape)) in str(caught.value)
    for known in ("[1, 8400, 5+C]", "[1, 25200, 5+C]", "[1, 4+C, N]", "[1, N, 6]"):
        assert known in str(caught.value)


def test_yolox_offsets_are_counted_from_their_cell_in_its_stride() -> None:
    boxes = decode(yolox_output())

    np.testing.assert_allclose(boxes, [[*CORNERS, 0.8 * 0.9, 1]], rtol=1e-5)


def test_yolox_score_is_objectness_times_class() -> None:
    assert len(decode(yolox_output(), 0.71)) == 1
    assert len(decode(yolox_output(), 0.73)) == 0


def test_yolov5_boxes_are_centres_and_sizes_with_objectness() -> None:
    raw = np.zeros((1, 3 * CELLS, 5 + 2), np.float32)
    raw[0, 17] = [100, 60, 40, 20, 0.5, 0.2, 0.9]
    raw[0, 18] = [10, 10, 5, 5, 0.5, 0.5, 0.5]

    boxes = decode(raw)

    np.testing.assert_allclose(boxes, [[*CORNERS, 0.45, 1]], rtol=1e-6)


def test_yolov8_boxes_are_columns_without_objectness() -> None:
    raw = np.zeros((1, 4 + 3, CELLS), np.float32)
    raw[0, :, 11] = [100, 60, 40, 20, 0.1, 0.2, 0.6]

    boxes = decode(raw)

    np.testing.assert_allclose(boxes, [[*CORNERS, 0.6, 2]], rtol=1e-6)


def test_end_to_end_rows_are_boxes_already() -> None:
    raw = np.zeros((1, 300, 6), np.float32)
    raw[0, 0] = [*CORNERS, 0.9, 17]

    boxes = decode(raw)

    np.testing.assert_allclose(boxes, [[*CORNERS, 0.9, 17]], rtol=1e-6)


def test_mask_coefficients_behind_the_named_classes_are_no_classes() -> None:
    raw = np.zeros((1, 4 + 2 + 32, CELLS), np.float32)
    raw[0, :6, 11] = [100, 60, 40, 20, 0.1, 0.6]
    raw[0, 20, 11] = 3.5

    boxes = decode(raw, named_classes=2)

    np.testing.assert_allclose(boxes, [[*CORNERS, 0.6, 1]], rtol=1e-6)


def test_half_precision_outputs_become_float32() -> None:
    boxes = decode(yolox_output().astype(np.float16))

    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, [[*CORNERS, 0.72, 1]], rtol=2e-3)


@pytest.mark.parametrize("shape", [(1, CELLS, 8), (1, 3 * CELLS, 8), (1, 8, CELLS), (1, 300, 6)])
def test_output_without_objects_gives_no_rows_of_six(shape: tuple[int, ...]) -> None:
    assert decode(np.zeros(shape, np.float32)).shape == (0, 6)
