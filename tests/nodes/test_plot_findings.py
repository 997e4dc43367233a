"""Masks, key points, oriented boxes and classes are shown on their own picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.class_colours import class_colour
from dora_rt.nodes.plot.screens import HiddenScreen
from dora_rt.nodes.plot.viewer import Viewer, run
from numpy.typing import NDArray

from dora_rt.event import Event, MatchedEvents
from dora_rt.testing import FakeNode
from tests.nodes.node_helpers import picture

MS = 1_000_000
GREY = 100


class Screen(HiddenScreen):
    """Keeps copies of what is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[NDArray[np.uint8]] = []
        self.objects: list[int] = []

    def show(self, image: NDArray[np.uint8], status: Any) -> bool:
        self.shown.append(image.copy())
        self.objects.append(status.objects)
        return True


def image(origin_ns: int) -> Event:
    return Event("image", picture(320, 240, GREY), origin_ns=origin_ns)


def found(name: str, value: NDArray[Any], origin_ns: int, **about: Any) -> Event:
    metadata = json.dumps({"labels": ["cat", "dog"], **about}).encode()
    return Event(name, value, metadata, origin_ns=origin_ns)


def box(origin_ns: int) -> Event:
    return found("bbox", np.array([[100, 80, 220, 180, 0.9, 1]], np.float32), origin_ns)


MASKS = np.zeros((240, 320), np.uint8)
MASKS[100:160, 120:200] = 1


def view(*events: Event) -> Screen:
    screen = Screen()
    wired = [event.id for event in events]
    expects = [name for name in ("masks", "keypoints", "oriented", "classes") if name in wired]
    viewer = Viewer(screen, (), expects_boxes="bbox" in wired, expects=expects)
    run(FakeNode(events), viewer, screen)
    return screen


def tint(kind: int) -> NDArray[np.floating]:
    return 0.55 * GREY + 0.45 * np.array(class_colour(kind))


def test_masks_are_drawn_with_the_boxes_of_their_picture_in_its_colours() -> None:
    first, second = 5 * MS, 40 * MS
    moved = np.roll(MASKS, 60, axis=0)

    screen = view(
        *(image(first), box(first), found("masks", MASKS, first)),
        *(image(second), box(second), found("masks", moved, second)),
    )

    last = screen.shown[-1]
    np.testing.assert_allclose(last[200, 150], tint(1), atol=1)
    assert last[110, 150, 0] == GREY, "the mask of the picture before is not on this one"
    assert screen.objects[-1] == 1


def test_masks_of_another_size_are_told_and_not_drawn(caplog: pytest.LogCaptureFixture) -> None:
    screen = view(image(1), found("masks", MASKS[:120], 1))

    assert (screen.shown[-1][110, 150] == GREY).all()
    assert "masks of a picture of 320 x 120 pixels are not drawn" in caplog.text


def test_oriented_boxes_stand_in_the_place_of_upright_ones() -> None:
    turned = np.array([[160, 130, 100, 20, np.pi / 2, 0.9, 0]], np.float32)

    screen = view(
        *(image(1), box(1), found("oriented", turned, 1)),
        *(image(2), box(2), found("oriented", turned, 2)),
    )

    last = screen.shown[-1]
    np.testing.assert_allclose(last[130, 150], class_colour(0), atol=10)
    assert (last[130, 100] == GREY).all(), "no upright box"


def test_key_points_and_classes_need_no_boxes() -> None:
    points = np.array([[[100, 150, 0.9]]], np.float32)
    classes = np.array([[1, 0.75]], np.float32)

    by_points = view(image(1), found("keypoints", points, 1))
    by_classes = view(image(1), found("classes", classes, 1))

    assert tuple(by_points.shown[-1][150, 100]) == (255, 255, 255)
    assert (by_classes.shown[-1] == class_colour(1)).all(axis=2).any()
    assert by_classes.objects == [1]


def test_what_the_dataflow_has_matched_is_drawn_together() -> None:
    events = {"image": image(7), "bbox": box(7), "masks": found("masks", MASKS, 7)}

    screen = view(image(1), MatchedEvents(events, seq=0, unmatched=0))

    np.testing.assert_allclose(screen.shown[-1][110, 150], tint(1), atol=1)


def test_what_has_another_shape_is_told_once_and_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = np.zeros((2, 5), np.float32)

    screen = view(
        *(image(1), box(1), found("keypoints", odd, 1)),
        *(image(2), box(2), found("keypoints", odd, 2)),
    )

    assert caplog.text.count("are no key points; expected N x K x 3") == 1
    assert tuple(screen.shown[-1][180, 150]) == class_colour(1)


def test_masks_and_key_points_alone_are_counted_as_objects() -> None:
    masks = MASKS.copy()
    masks[200:220, 10:30] = 4
    points = np.full((3, 17, 3), 50, np.float32)

    assert view(found("masks", masks, 5), image(5)).objects == [2]
    assert view(found("masks", np.zeros_like(masks), 5), image(5)).objects == [0]
    assert view(found("keypoints", points, 5), image(5)).objects == [3]
