"""Overlapping boxes become one, and all boxes lie in the frame."""

from __future__ import annotations

import numpy as np
from dora_rt.nodes.object_detection.boxes import MAX_CANDIDATES, onto_frame, suppress
from numpy.typing import NDArray


def boxes_of(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_best_of_overlapping_boxes_of_a_class_is_kept() -> None:
    kept = suppress(boxes_of([0, 0, 10, 10, 0.6, 1], [1, 0, 11, 10, 0.9, 1]), iou=0.45)

    np.testing.assert_array_equal(kept, boxes_of([1, 0, 11, 10, 0.9, 1]))


def test_boxes_that_overlap_by_less_than_the_limit_are_both_kept() -> None:
    # They have 5 x 10 of 15 x 10 in common: a third.
    pair = boxes_of([5, 0, 15, 10, 0.9, 1], [0, 0, 10, 10, 0.6, 1])

    np.testing.assert_array_equal(suppress(pair, iou=0.34), pair)
    np.testing.assert_array_equal(suppress(pair, iou=0.32), pair[:1])


def test_classes_do_not_suppress_each_other() -> None:
    pair = boxes_of([0, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.6, 2])

    np.testing.assert_array_equal(suppress(pair, iou=0.45), pair)


def test_classes_stay_apart_where_coordinates_are_negative() -> None:
    # Moved by OpenCV's offset of 11 for one class, the second would lie exactly on the first.
    pair = boxes_of([0, 0, 10, 10, 0.9, 0], [-11, -11, -1, -1, 0.6, 1])

    assert len(suppress(pair, iou=0.45)) == 2


def test_result_is_sorted_by_confidence() -> None:
    boxes = boxes_of([0, 0, 5, 5, 0.4, 0], [20, 0, 25, 5, 0.8, 3], [40, 0, 45, 5, 0.6, 1])

    assert suppress(boxes, iou=0.45)[:, 4].tolist() == np.float32([0.8, 0.6, 0.4]).tolist()


def test_rows_that_are_no_numbers_are_left_out() -> None:
    good = [0, 0, 10, 10, 0.6, 1]
    boxes = boxes_of([np.nan, 0, 1, 1, 0.9, 1], good, [0, 0, np.inf, 1, 0.9, 1])

    np.testing.assert_array_equal(suppress(boxes, iou=0.45), boxes_of(good))


def test_absurdly_large_box_does_not_disturb_the_others() -> None:
    boxes = boxes_of([0, 0, 3e38, 1, 0.9, 1], [0, 0, 10, 10, 0.6, 1], [20, 0, 30, 10, 0.5, 1])

    np.testing.assert_array_equal(suppress(boxes, iou=0.45), boxes)


def test_of_a_flood_of_candidates_the_best_are_looked_at() -> None:
    count = MAX_CANDIDATES + 2000
    boxes = np.zeros((count, 6), np.float32)
    boxes[:, 0] = np.arange(count) * 10
    boxes[:, 2] = boxes[:, 0] + 5
    boxes[:, 3] = 5
    boxes[:, 4] = np.random.default_rng(0).permutation(count) / count + 0.01

    kept = suppress(boxes, iou=0.45)

    np.testing.assert_array_equal(kept[:, 4], np.sort(boxes[:, 4])[::-1][:MAX_CANDIDATES])


def test_no_candidates_are_no_boxes() -> None:
    assert suppress(boxes_of(), iou=0.45).shape == (0, 6)


def test_boxes_are_scaled_to_the_frame_and_clipped_to_it() -> None:
    placed = onto_frame(
        boxes_of([-5, 10, 50, 70, 0.9, 1]), (0.5, 0.5), frame_height=100, frame_width=200
    )

    np.testing.assert_array_equal(placed, boxes_of([0, 20, 100, 100, 0.9, 1]))


def test_boxes_in_the_padding_are_left_out() -> None:
    padding = boxes_of([10, 60, 20, 70, 0.9, 1])

    assert onto_frame(padding, (0.5, 0.5), frame_height=100, frame_width=200).shape == (0, 6)
