"""One place says what masks, key points, oriented boxes and classes are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dora_rt.detections import (
    NoBoxesError,
    classes_of,
    corners_of,
    finding_of,
    keypoints_of,
    masks_of,
    oriented_of,
    outlines_of,
)


def test_outputs_are_told_by_the_end_of_their_name() -> None:
    names = ("detector/masks", "node/op/keypoints", "oriented", "classes", "detector/bbox", "mask")

    assert [finding_of(name) for name in names] == [
        "masks",
        "keypoints",
        "oriented",
        "classes",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (masks_of, np.zeros((4, 4), np.float32)),
        (masks_of, np.zeros((4, 4, 3), np.uint8)),
        (masks_of, b"1234"),
        (keypoints_of, np.zeros((2, 17, 4), np.float32)),
        (keypoints_of, np.zeros((2, 51), np.float32)),
        (oriented_of, np.zeros((7, 6), np.float32)),
        (oriented_of, np.zeros((2, 7), np.uint8)),
        (classes_of, np.zeros((2, 3), np.float32)),
        (classes_of, {"a": 1}),
    ],
)
def test_other_shapes_are_refused_with_the_right_one(read: Any, value: Any) -> None:
    with pytest.raises(NoBoxesError, match=r"; expected \w x "):
        read(value)


def test_tables_may_come_flat() -> None:
    assert oriented_of(np.zeros(14, np.float64)).shape == (2, 7)
    assert classes_of(np.zeros(4, np.float32)).shape == (2, 2)


def test_what_is_no_number_is_left_out_or_not_seen() -> None:
    row = [1, 2, 3, 4, 0.5, 0.9, 0]

    assert len(oriented_of(np.array([row, [*row[:6], np.inf]], np.float32))) == 1
    assert len(classes_of(np.array([[1, np.nan], [0, 0.5]], np.float32))) == 1
    points = keypoints_of(np.array([[[1, np.nan, 0.9], [3, 4, 0.8]]], np.float32))
    assert points[0, 0].tolist() == [0, 0, 0]
    assert points[0, 1, 2] == np.float32(0.8)


def test_key_points_of_two_numbers_are_sure() -> None:
    assert keypoints_of(np.zeros((1, 5, 2), np.float32))[0, :, 2].tolist() == [1] * 5


def test_corners_go_round_the_box_from_where_its_angle_points() -> None:
    turned = np.array([[10, 20, 8, 4, np.pi / 2, 0.9, 0]], np.float32)

    corners = corners_of(turned)[0]

    np.testing.assert_allclose(corners, [[12, 16], [12, 24], [8, 24], [8, 16]], atol=1e-5)


def test_each_part_of_a_mask_has_its_outline() -> None:
    masks = np.zeros((40, 60), np.uint8)
    masks[5:15, 10:20] = 3
    masks[25:35, 10:20] = 3
    masks[5:30, 40:50] = 1

    outlines = outlines_of(masks)

    assert sorted(number for number, _ in outlines) == [0, 2, 2]
    corners = {tuple(point) for number, points in outlines if number == 0 for point in points}
    assert corners == {(40, 5), (40, 29), (49, 29), (49, 5)}
    assert outlines_of(np.zeros((0, 0), np.uint8)) == []
