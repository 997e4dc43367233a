from __future__ import annotations

import itertools

import numpy as np
import pytest
from dora_rt.nodes.class_colours import class_colour
from dora_rt.nodes.plot.drawing import (
    draw_boxes,
    draw_classes,
    draw_keypoints,
    draw_masks,
    draw_oriented,
    draw_status,
    text_colour,
    text_style,
)

from dora_rt.detections import label_of
from tests.nodes.node_helpers import picture

GREY = 100


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 6)


def changed(canvas):
    return (canvas != GREY).any(axis=2)


def test_no_boxes_change_nothing():
    canvas = picture(320, 240, GREY)

    draw_boxes(canvas, boxes(), ["ball"])

    assert not changed(canvas).any()


def test_box_changes_its_border_and_its_label_only():
    canvas = picture(320, 240, GREY)

    draw_boxes(canvas, boxes([100, 80, 220, 180, 0.9, 0]), ["ball"])

    mask = changed(canvas)
    assert mask[80, 100:221].all() and mask[180, 100:221].all()
    assert mask[80:181, 100].all() and mask[80:181, 220].all()
    assert not mask[84:177, 104:217].any(), "the inside is left alone"
    assert not mask[183:].any() and not mask[:50].any()
    assert not mask[:, :97].any() and not mask[:, 224:].any()


def test_border_has_the_colour_of_its_class():
    canvas = picture(320, 240, GREY)

    draw_boxes(canvas, boxes([100, 80, 220, 180, 0.9, 3]), [])

    assert tuple(canvas[180, 150]) == class_colour(3)


def test_label_stands_above_its_box():
    canvas = picture(320, 240, GREY)

    draw_boxes(canvas, boxes([100, 80, 220, 180, 0.9, 0]), ["ball"])

    assert changed(canvas)[70, 104]


@pytest.mark.parametrize("corner", [(0, 0), (300, 0), (300, 200), (0, 200)])
def test_label_stays_inside_the_picture(corner):
    x, y = corner
    canvas = picture(320, 240, GREY)

    draw_boxes(canvas, boxes([x, y, x + 19, y + 30, 0.5, 1]), ["", "crate"])

    colour = np.array(class_colour(1))
    tab_pixels = (canvas == colour).all(axis=2).sum()
    assert tab_pixels > 400, "a tab cut off by the edge would have fewer"


def test_box_far_outside_or_not_a_number_is_no_error():
    canvas = picture(320, 240, GREY)
    rows = [[np.nan, 0, 9, 9, 0.5, 0], [-1e30, -1e30, 1e30, 1e30, 0.5, 0], [9, 9, 1, 1, 0.1, 0]]

    draw_boxes(canvas, boxes(*rows), ["ball"])

    assert changed(canvas)[0, :].all()


def test_surest_box_lies_on_top():
    canvas = picture(320, 240, GREY)
    row = [100, 80, 220, 180]

    draw_boxes(canvas, boxes([*row, 0.9, 1], [*row, 0.2, 0]), [])

    assert tuple(canvas[180, 150]) == class_colour(1)


def test_status_changes_the_lower_left_only():
    canvas = picture(320, 240, GREY)

    draw_status(canvas, "30.0 fps")

    mask = changed(canvas)
    assert mask[239, 0]
    assert not mask[:210].any()
    assert not mask[:, 160:].any()


def test_status_on_a_tiny_picture_is_no_error():
    draw_status(picture(16, 8, GREY), "30.0 fps   12 ms   3 objects")


def test_text_grows_with_the_picture():
    scales = [text_style((side, side * 2, 3)).scale for side in (240, 480, 1080, 2160)]

    assert scales == sorted(scales)
    assert scales[0] < scales[-1] / 4


def test_first_forty_classes_have_distinct_colours():
    colours = [np.array(class_colour(n), int) for n in range(40)]

    distances = [np.abs(a - b).sum() for a, b in itertools.combinations(colours, 2)]

    assert min(distances) > 30


def test_colour_of_a_class_is_the_same_in_every_run():
    assert class_colour(0) == (75, 200, 60)
    assert class_colour(79) == (191, 96, 186)


def test_text_is_black_on_bright_and_white_on_dark():
    assert text_colour((255, 255, 255)) == (16, 16, 16)
    assert text_colour((120, 20, 20)) == (255, 255, 255)


def test_class_without_a_label_is_named_by_its_number():
    assert label_of(1, ["ball", "crate"]) == "crate"
    assert label_of(7, ["ball"]) == "class 7"
    assert label_of(-1, ["ball"]) == "class -1"


def test_mask_tints_what_it_covers_in_the_colour_of_its_box():
    canvas = picture(320, 240, GREY)
    masks = np.zeros((240, 320), np.uint8)
    masks[100:120, 200:240] = 2

    draw_masks(canvas, masks, boxes([0, 0, 5, 5, 0.9, 1], [200, 100, 240, 120, 0.8, 3]))

    assert (changed(canvas) == (masks > 0)).all()
    mixed = 0.55 * GREY + 0.45 * np.array(class_colour(3))
    np.testing.assert_allclose(canvas[110, 220], mixed, atol=1)


def test_masks_without_boxes_have_colours_of_their_own():
    canvas = picture(320, 240, GREY)
    masks = np.zeros((240, 320), np.uint16)
    masks[:120], masks[120:] = 1, 300

    draw_masks(canvas, masks, None)

    assert tuple(canvas[0, 0]) != tuple(canvas[200, 0])


def test_no_masks_change_nothing():
    canvas = picture(320, 240, GREY)

    draw_masks(canvas, np.zeros((240, 320), np.uint8), boxes())
    draw_masks(canvas, np.zeros((0, 0), np.uint8), None)

    assert not changed(canvas).any()


def test_key_points_are_drawn_where_they_are_seen():
    canvas = picture(320, 240, GREY)
    points = np.array([[[100, 50, 0.9], [200, 150, 0.1]]], np.float32)

    draw_keypoints(canvas, points, boxes([90, 40, 210, 160, 0.9, 2]))

    assert changed(canvas)[50, 100]
    assert not changed(canvas)[140:160, 190:210].any()


def test_key_points_of_a_person_are_joined():
    canvas = picture(320, 240, GREY)
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 11], points[0, 13] = [100, 50, 0.9], [100, 150, 0.9]  # hip and knee

    draw_keypoints(canvas, points, None)

    assert changed(canvas)[60:140, 100].all()


def test_oriented_box_is_drawn_along_its_angle():
    canvas = picture(320, 240, GREY)
    turned = np.array([[160, 120, 100, 20, np.pi / 2, 0.9, 3]], np.float32)

    draw_oriented(canvas, turned, ["a", "b", "c", "d"])

    assert changed(canvas)[75:165, 150].all() and changed(canvas)[75:165, 170].all()
    assert not changed(canvas)[115:125, 176:].any()


def test_classes_of_a_picture_stand_below_each_other():
    canvas = picture(320, 240, GREY)

    draw_classes(canvas, np.array([[0, 0.75], [1, 0.25]], np.float32), ["cat", "dog"])

    rows = np.flatnonzero(changed(canvas).any(axis=1))
    assert rows.min() < 15 and 30 < rows.max() < 100
    assert (canvas == class_colour(0)).all(axis=2).any()
    assert (canvas == class_colour(1)).all(axis=2).any()


def test_findings_far_outside_or_empty_are_no_error():
    canvas = picture(320, 240, GREY)

    draw_keypoints(canvas, np.full((1, 17, 3), 3e38, np.float32), None)
    draw_keypoints(canvas, np.zeros((0, 0, 3), np.float32), boxes())
    draw_oriented(canvas, np.array([[3e38, -3e38, 1e30, 4, 1, 0.5, 0]], np.float32), [])
    draw_oriented(canvas, np.zeros((0, 7), np.float32), [])
    draw_classes(canvas, np.zeros((0, 2), np.float32), [])
