"""One place says what boxes are: the shape decides, and not the size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow
import pytest

from dora_rt.detections import NoBoxesError, boxes_of, labels_of, read_detections

ROWS = np.array([[1, 2, 3, 4, 0.5, 6], [7, 8, 9, 10, 0.25, 0]], np.float32)


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        ROWS.astype(np.float64),
        ROWS.astype(np.float16),
        ROWS.reshape(-1),
        ROWS.tobytes(),
        bytearray(ROWS.tobytes()),
        np.frombuffer(ROWS.tobytes(), np.uint8),
    ],
)
def test_boxes_come_as_a_table_flat_or_as_bytes(value: Any):
    boxes = boxes_of(value)

    assert boxes.dtype == np.float32
    assert (boxes == ROWS).all()


@pytest.mark.parametrize("value", [b"", np.zeros((0, 6)), np.zeros(0), np.zeros(0, np.float32)])
def test_no_boxes_are_no_boxes(value: Any):
    assert boxes_of(value).shape == (0, 6)


def test_whole_numbers_are_numbers():
    assert boxes_of(np.arange(12).reshape(2, 6)).tolist() == [list(range(6)), list(range(6, 12))]
    assert boxes_of(np.ones((4, 6), np.uint8)).shape == (4, 6)


def test_boxes_are_a_copy():
    assert not np.shares_memory(boxes_of(ROWS), ROWS)


@pytest.mark.parametrize(
    "row", [(np.nan, 0, 1, 1, 0.5, 0), (1e300, 0, 1, 1, 0.5, 0), (0, 0, 1, 1, 0.5, 1e30)]
)
def test_what_cannot_be_drawn_is_left_out(row: tuple[float, ...]):
    assert boxes_of(np.array([row, (0, 0, 1, 1, 0.5, 3)])).tolist() == [[0, 0, 1, 1, 0.5, 3]]


@pytest.mark.parametrize(
    "value",
    [
        *(np.zeros((rows, 4), np.float32) for rows in (0, 1, 3, 6)),
        *(np.zeros((rows, 5), np.float32) for rows in (1, 5, 6)),
        *(np.zeros((rows, 7), np.float32) for rows in (1, 6, 12)),
        np.zeros((6, 1), np.float32),
        np.zeros((1, 2, 6), np.float32),
        np.zeros(7),
        np.array(1.0),
        np.ones((1, 6), complex),
        np.ones((1, 6), bool),
        b"hello",
        "six nu",
        None,
        pyarrow.array(list("abcdef")),
        pyarrow.array([{"x": float(number)} for number in range(6)]),
        pyarrow.array([{"bbox": [1.0, 2, 3, 4], "conf": [0.5], "labels": ["a"]}]),
        pyarrow.array([1.0, None, 3, 4, 5, 6]),
        pyarrow.array([[1.0, 2, 3, 4, 5, 6]]),
    ],
)
def test_everything_else_is_one_error(value: Any):
    with pytest.raises(NoBoxesError, match="expected N x 6 float32: x1, y1, x2, y2"):
        boxes_of(value)


def test_names_of_classes_are_texts():
    assert labels_of({"labels": ["ball", 3]}) == ("ball", "3")
    assert labels_of({"labels": "ball"}) == ()
    assert labels_of({}) == ()


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("\ud83d", "\\ud83d"),
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred\x07", "red\\x07"),
        ("\0", "\\x00"),
        ("Käse 🧀", "Käse 🧀"),
        ("a" * 300, "a" * 197 + "..."),
        (3, "3"),
    ],
)
def test_names_of_classes_are_one_line_that_can_be_drawn(label, shown):
    # OpenCV 5 ends the process at half a character of UTF-16, protobuf refuses it.
    found = read_detections(np.array([[5, 5, 20, 20, 0.9, 0]]), {"labels": [label]})

    assert found.labels == (shown,)
