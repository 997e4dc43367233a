from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pytest

from dora_rt.dashboard.app import read_tail
from dora_rt.dashboard.picture_codec import Kind, as_numpy, boxes_on, encode, kind_of
from dora_rt.dashboard.picture_feed import pictures_of
from dora_rt.detections import read_detections
from dora_rt.event import Event
from dora_rt.node_config import QueuePolicy
from dora_rt.run_status import EdgeStatus
from tests.nodes.node_helpers import photo_on_its_side
from tests.pictures.no_pictures import NO_PICTURES

JPEG = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()


def event_of(value: Any, metadata: bytes = b"", name: str = "camera/image") -> Event:
    return Event(name, value, metadata, seq=0, dropped=0, sent_ns=1, origin_ns=1, copied=True)


@pytest.mark.parametrize(
    ("value", "metadata", "kind"),
    [
        (np.zeros((20, 30, 3), np.uint8), b"", Kind.PICTURE),
        (np.zeros((20, 30), np.uint8), b"", Kind.PICTURE),
        (np.zeros(1800, np.uint8), b'{"encoding":"rgb8","width":30,"height":20}', Kind.PICTURE),
        (JPEG, b"", Kind.PICTURE),
        (np.frombuffer(JPEG, np.uint8), b"", Kind.PICTURE),
        (np.zeros((20, 30, 3)), b"", Kind.OTHER),
        (np.zeros((3, 3), np.uint8), b"", Kind.OTHER),
        (b"", b"", Kind.OTHER),
        (np.array([[1, 1, 5, 5, 0.5, 0]], np.float32), b"", Kind.BOXES),
        (np.zeros((0, 6), np.float32), b"", Kind.BOXES),
        (np.array([[5, 1, 1, 5, 0.5, 0]], np.float32), b"", Kind.OTHER),
        (np.zeros(7), b"", Kind.OTHER),
    ],
)
def test_samples_are_known_by_what_they_are(value: Any, metadata: bytes, kind: Kind):
    assert kind_of(event_of(value, metadata)) is kind


def test_picture_of_a_node_of_dora_is_known_by_its_metadata():
    metadata = b'{"encoding":"bgr8","width":30,"height":20}'

    value = as_numpy(pyarrow.array(np.zeros(1800, np.uint8)))

    assert kind_of(event_of(value, metadata)) is Kind.PICTURE
    encoded = encode(event_of(value, metadata))
    assert (encoded.width, encoded.height) == (30, 20)


@pytest.mark.parametrize("value", [["text"], [{"a": 1}], [[1, 2], [3]], [None], []])
def test_arrays_of_arrow_that_are_no_pictures_are_something_else(value: list[Any]):
    assert kind_of(event_of(as_numpy(pyarrow.array(value)))) is Kind.OTHER


def test_numbers_without_a_dimension_are_something_else():
    assert kind_of(event_of(np.array(3.0))) is Kind.OTHER
    assert kind_of(event_of(np.array(3, np.uint8))) is Kind.OTHER


def test_boxes_in_bytes_are_known_by_the_name_of_the_output():
    value = np.array([[1, 1, 5, 5, 0.5, 0]], np.float32).tobytes()

    assert kind_of(event_of(value, name="detector/bbox")) is Kind.BOXES
    assert kind_of(event_of(value, name="arm/joints")) is Kind.OTHER


def test_jpeg_goes_on_as_it_is():
    encoded = encode(event_of(JPEG))

    assert (encoded.content, encoded.media_type) == (JPEG, "image/jpeg")


def test_colours_arrive_as_they_were_sent():
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 255

    encoded = encode(event_of(red, b'{"encoding":"rgb8"}'))

    blue, green, red_again = cv2.imdecode(
        np.frombuffer(encoded.content, np.uint8), cv2.IMREAD_COLOR
    )[10, 15]
    assert red_again > 240 and blue < 15 and green < 15


def test_large_picture_is_made_smaller_and_tells_its_real_size():
    encoded = encode(event_of(np.zeros((100, 4000, 3), np.uint8)))

    assert (encoded.width, encoded.height) == (4000, 100)
    shrunk = cv2.imdecode(np.frombuffer(encoded.content, np.uint8), cv2.IMREAD_COLOR)
    assert shrunk is not None and shrunk.shape == (32, 1280, 3)


def test_boxes_without_a_label_are_numbered_and_the_surest_come_first():
    value = np.array([[1, 1, 5, 5, 0.5, 7], [0, 0, 9, 9, 0.9, 0]], np.float32)

    picture = encode(event_of(np.zeros((20, 30, 3), np.uint8)))
    boxes = boxes_on(picture, read_detections(value, {"labels": ["cat"]}))

    assert boxes is not None
    assert [(box["label"], box["confidence"]) for box in boxes] == [("cat", 0.9), ("class 7", 0.5)]


def test_boxes_of_a_picture_of_another_size_are_not_on_this_one():
    value = np.array([[1, 1, 5, 5, 0.5, 7]], np.float32)
    picture = encode(event_of(np.zeros((20, 30, 3), np.uint8)))
    file = encode(event_of(JPEG))
    photo = encode(event_of(photo_on_its_side(30, 20)))

    for of, size, is_on in (
        (picture, (30, 20), True),
        (picture, (20, 30), False),
        (picture, (60, 40), False),
        (file, (30, 20), True),
        (file, (20, 30), False),
        # A browser turns it, as its head says, and so does a detector; or it does not.
        (photo, (30, 20), True),
        (photo, (20, 30), True),
        (photo, (60, 40), False),
    ):
        found = read_detections(value, {"width": size[0], "height": size[1]})
        assert (boxes_on(of, found) is not None) is is_on


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_none_here_either(name: str):
    # A file goes to the browser as it is: only its head is read here.
    is_broken_file = name == "PNG without its pixels"

    assert (kind_of(event_of(NO_PICTURES[name])) is Kind.PICTURE) is is_broken_file


def test_boxes_belong_to_the_next_pictures_upstream():
    """A detector looks at a part of the picture; a tracker reads nothing but its boxes."""
    wires = {
        "crop/image": "camera/image",
        "detector/image": "crop/image",
        "tracker/bbox": "detector/bbox",
        "plot/image": "camera/image",
        "plot/bbox": "tracker/bbox",
    }
    edges = [
        EdgeStatus(source, target, 1, QueuePolicy.LATEST, False, None)
        for target, source in wires.items()
    ]
    pictures = ["camera/image", "crop/image", "other/image"]

    assert pictures_of("detector/bbox", pictures, edges) == {"crop/image"}
    assert pictures_of("tracker/bbox", pictures, edges) == {"crop/image"}
    assert pictures_of("other/bbox", pictures, edges) == {"other/image"}
    assert pictures_of("alone/bbox", pictures, edges) == set(pictures)


def test_log_is_read_in_whole_lines_from_where_it_was(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\nthr")

    text, offset = read_tail(log, 0)
    log.write_text("one\ntwo\nthree\n")

    assert text == "one\ntwo\n"
    assert read_tail(log, offset) == ("three\n", 14)


def test_log_that_was_begun_anew_is_read_from_its_start(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_text("new\n")

    assert read_tail(log, 1000) == ("new\n", 4)


def test_long_log_begins_with_a_whole_line(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))

    text, offset = read_tail(log, 0)

    assert offset == log.stat().st_size
    assert len(text) < 65_536
    assert text.startswith("line 1") and text.endswith("line 19999\n")


def test_log_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "secret").write_text("x\n")
    (tmp_path / "a.log").symlink_to("secret")

    with pytest.raises(OSError):
        read_tail(tmp_path / "a.log", 0)
