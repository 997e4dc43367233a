"""What models find beyond boxes becomes what the page draws over the picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dora_rt.dashboard.drawings import drawings_on
from dora_rt.dashboard.picture_codec import Encoded, Kind, kind_of
from dora_rt.detections import Detections, put_together, read_found
from dora_rt.event import Event

PICTURE = Encoded(b"", "image/jpeg", 64, 48)
ABOUT = {"labels": ["cat", "dog"], "width": 64, "height": 48}


def found(name: str, value: Any, **about: Any) -> Detections:
    return read_found(name, value, {**ABOUT, **about})


BOXES = found("bbox", np.array([[2, 3, 20, 30, 0.9, 1]], np.float32))


def masks(height: int = 48) -> Detections:
    value = np.zeros((height, 64), np.uint8)
    value[10:20, 5:15] = 1
    return found("masks", value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("det/masks", np.zeros((48, 64), np.uint8), Kind.FOUND),
        ("det/masks", np.zeros((0, 0), np.uint8), Kind.FOUND),
        ("cam/depth", np.zeros((48, 64), np.uint8), Kind.PICTURE),
        ("det/masks", np.zeros((48, 64, 3), np.uint8), Kind.OTHER),
        ("det/keypoints", np.zeros((1, 17, 3), np.float32), Kind.FOUND),
        ("det/oriented", np.zeros((1, 7), np.float32), Kind.FOUND),
        ("det/classes", np.zeros((5, 2), np.float32), Kind.FOUND),
        ("det/classes", b"cat", Kind.OTHER),
    ],
)
def test_findings_are_known_by_the_name_of_their_output_and_their_shape(
    name: str, value: Any, kind: Kind
) -> None:
    assert kind_of(Event(name, value)) is kind


def test_masks_are_outlines_in_the_colour_of_their_box() -> None:
    drawing = drawings_on(PICTURE, put_together([BOXES, masks()]))

    assert drawing is not None
    (outline,) = drawing["outlines"]
    assert outline["class"] == 1
    assert set(zip(outline["corners"][::2], outline["corners"][1::2], strict=True)) == {
        (5, 10),
        (14, 10),
        (14, 19),
        (5, 19),
    }
    assert [box["label"] for box in drawing["boxes"]] == ["dog"]


def test_masks_of_another_size_are_not_drawn() -> None:
    assert drawings_on(PICTURE, masks(40)) is None


def test_key_points_that_are_seen_are_joined() -> None:
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 11], points[0, 13] = [5, 6, 0.9], [5, 16.25, 0.8]

    drawing = drawings_on(PICTURE, put_together([BOXES, found("keypoints", points)]))

    assert drawing is not None
    assert drawing["points"] == [{"class": 1, "corners": [5, 6, 5, 16.2]}]
    assert drawing["bones"] == [{"class": 1, "corners": [5, 6, 5, 16.2]}]


def test_oriented_boxes_stand_in_the_place_of_upright_ones() -> None:
    turned = np.array([[20, 30, 8, 4, np.pi / 2, 0.5, 1]], np.float32)

    drawing = drawings_on(PICTURE, put_together([BOXES, found("oriented", turned)]))

    assert drawing is not None
    assert drawing["boxes"] == []
    (box,) = drawing["turned"]
    assert (box["label"], box["confidence"]) == ("dog", 0.5)
    assert box["corners"] == [22, 26, 22, 34, 18, 34, 18, 26]


def test_classes_of_the_picture_have_their_names() -> None:
    drawing = drawings_on(PICTURE, found("classes", np.array([[1, 0.75], [7, 0.2]], np.float32)))

    assert drawing is not None
    assert [one["label"] for one in drawing["classes"]] == ["dog", "class 7"]


def test_much_fits_into_what_a_browser_takes() -> None:
    random = np.random.default_rng(1)
    crowd = random.integers(0, 250, (720, 1280)).astype(np.uint8)
    people = random.uniform(0, 700, (300, 17, 3)).astype(np.float32)
    about = {"labels": ["x" * 500] * 300}
    boxes = random.uniform(0, 1, (300, 6)).astype(np.float32)
    boxes[:, 2:4] += 700
    parts = [
        read_found("masks", crowd, about),
        read_found("keypoints", people, about),
        read_found("bbox", boxes, about),
    ]

    drawing = drawings_on(Encoded(b"", "image/jpeg", 1280, 720), put_together(parts))

    assert len(json.dumps(drawing, separators=(",", ":"))) < 200_000
