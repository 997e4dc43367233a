from __future__ import annotations

import numpy as np
import pytest
from dora_rt.nodes.object_detection.evaluation import (
    average_precision,
    box_iou,
    mean_average_precision,
)
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

NOTHING: Boxes = np.zeros((0, 6), np.float32)


def rows(*boxes: tuple[float, ...]) -> Boxes:
    return np.array(boxes, np.float32).reshape(-1, 6)


def square(x: float, score: float = 1.0, kind: int = 0) -> tuple[float, ...]:
    """Give a 10 x 10 box at a place along the top edge."""
    return (x, 0, x + 10, 10, score, kind)


def test_overlap_of_boxes_is_common_area_over_joint_area() -> None:
    first = rows((0, 0, 10, 10, 1, 0))
    second = rows((0, 0, 10, 10, 1, 0), (5, 0, 15, 10, 1, 0), (5, 5, 15, 15, 1, 0), square(10))

    assert box_iou(first, second)[0].tolist() == pytest.approx([1, 50 / 150, 25 / 175, 0])


def test_box_without_area_overlaps_nothing() -> None:
    assert box_iou(rows((5, 5, 5, 5, 1, 0)), rows((5, 5, 5, 5, 1, 0)))[0, 0] == 0


def test_all_found_and_nothing_else_is_one() -> None:
    truths = [rows(square(0), square(20)), rows(square(40, kind=1))]
    predictions = [rows(square(20, 0.4), square(0, 0.9)), rows(square(40, 0.6, kind=1))]

    assert mean_average_precision(predictions, truths) == 1.0


def test_nothing_found_is_zero() -> None:
    assert mean_average_precision([NOTHING], [rows(square(0))]) == 0.0


def test_hits_and_misses_in_turn_give_the_hand_computed_area() -> None:
    # By score: hit, miss, miss, hit, hit; 4 are there.
    # Precision 1, 1/2, 1/3, 2/4, 3/5 at recall 1/4, 1/4, 1/4, 2/4, 3/4.
    # Best precision from there on: 1 up to 1/4, 3/5 up to 3/4, nothing after that.
    truths = [rows(square(0), square(20)), rows(square(40), square(60))]
    predictions = [
        rows(square(0, 0.9), square(100, 0.8), square(20, 0.6)),
        rows(square(120, 0.7), square(40, 0.5)),
    ]

    area = average_precision(predictions, truths)

    assert area == pytest.approx(0.25 * 1 + 0.5 * 3 / 5)


def test_false_box_that_comes_first_lowers_everything_behind_it() -> None:
    truths = [rows(square(0))]
    predictions = [rows(square(0, 0.5), square(50, 0.9))]

    assert average_precision(predictions, truths) == pytest.approx(0.5)


def test_false_box_that_comes_last_costs_nothing() -> None:
    truths = [rows(square(0))]
    predictions = [rows(square(0, 0.9), square(50, 0.5))]

    assert average_precision(predictions, truths) == 1.0


def test_box_that_is_found_twice_counts_once_and_the_surer_one() -> None:
    # The second of the same toy is a miss between two hits: 1/2 * 1 + 1/2 * 2/3.
    truths = [rows(square(0), square(50))]
    predictions = [rows(square(1, 0.8), square(0, 0.9), square(50, 0.7))]

    assert average_precision(predictions, truths) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_overlap_decides_what_is_found() -> None:
    truths = [rows(square(0))]
    # 10 x 10 moved by 2: 80 in common of 120.
    predictions = [rows(square(2, 0.9))]

    assert mean_average_precision(predictions, truths, 0.66) == 1.0
    assert mean_average_precision(predictions, truths, 0.67) == 0.0


def test_right_place_with_the_wrong_class_is_not_found() -> None:
    truths = [rows(square(0, kind=0), square(50, kind=1))]
    predictions = [rows(square(0, 0.9, kind=1), square(50, 0.8, kind=1))]

    # Class 0: nothing. Class 1: a miss, then a hit.
    assert mean_average_precision(predictions, truths) == pytest.approx((0 + 0.5) / 2)


def test_box_of_another_picture_is_not_found() -> None:
    assert mean_average_precision([NOTHING, rows(square(0))], [rows(square(0)), NOTHING]) == 0.0


def test_class_that_is_nowhere_in_the_truth_is_left_out() -> None:
    predictions = [rows(square(0, 0.9), square(50, 0.9, kind=7))]

    assert mean_average_precision(predictions, [rows(square(0))]) == 1.0


def test_different_numbers_of_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="1 pictures with predictions, 2 with truths"):
        mean_average_precision([NOTHING], [NOTHING, NOTHING])


def test_truth_without_any_box_is_refused() -> None:
    with pytest.raises(ValueError, match="no true box in any picture"):
        mean_average_precision([NOTHING], [NOTHING])
