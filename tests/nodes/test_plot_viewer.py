from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from dora_rt.nodes.plot.received import InputError, decode, read_detections
from dora_rt.nodes.plot.saving import open_saver
from dora_rt.nodes.plot.screens import HiddenScreen
from dora_rt.nodes.plot.statistics import Statistics
from dora_rt.nodes.plot.viewer import Viewer, run

from dora_rt.event import Event, MatchedEvents
from dora_rt.testing import FakeNode
from tests.nodes.node_helpers import FakeTime, picture

MS = 1_000_000


def image_event(origin_ns=0, value=100, shape=(240, 320), **options) -> Event:
    pixels = picture(shape[1], shape[0], value)
    pixels.flags.writeable = False
    return Event("image", pixels, origin_ns=origin_ns, **options)


def boxes_event(origin_ns=0, rows=((100, 80, 220, 180, 0.9, 0),), labels=("ball",)) -> Event:
    metadata = json.dumps({"labels": list(labels)}).encode()
    boxes = np.array(rows, np.float32).reshape(-1, 6)
    return Event("bbox", boxes, metadata, origin_ns=origin_ns)


class FakeScreen(HiddenScreen):
    """Keeps copies of what is shown; the user ends after `patience` pictures."""

    def __init__(self, patience=10**9) -> None:
        super().__init__()
        self.shown = []
        self.statuses = []
        self._patience = patience

    def show(self, image, status):
        self.shown.append(image.copy())
        self.statuses.append(status)
        return len(self.shown) < self._patience


def view(events, screen=None, savers=(), **options):
    """Run the whole loop over events; give screen and viewer."""
    screen = screen or FakeScreen()
    node = FakeNode(events)
    viewer = Viewer(screen, savers, expects_boxes="bbox" in node.input_ids(), **options)
    run(node, viewer, screen)
    return screen, viewer, node


def test_pictures_without_boxes_are_shown_as_they_come():
    screen, viewer, node = view([image_event(value=value) for value in (50, 150)])

    assert [int(image[0, 40, 0]) for image in screen.shown] == [50, 150]
    assert viewer.statistics.frames == 2
    assert not node.dataflow_stopped


def test_boxes_are_drawn_on_a_copy_of_their_picture():
    received = image_event(5 * MS)

    screen, _, _ = view([received, boxes_event(5 * MS)])

    (shown,) = screen.shown
    assert tuple(shown[180, 150]) == (75, 200, 60)
    assert (received.value == 100).all()


def test_boxes_that_the_dataflow_has_matched_are_drawn_on_their_picture():
    events = {"image": image_event(5 * MS, value=60), "bbox": boxes_event(5 * MS)}

    screen, viewer, _ = view([image_event(1 * MS), MatchedEvents(events, seq=0, unmatched=0)])

    shown = screen.shown[-1]
    assert tuple(shown[180, 150]) == (75, 200, 60)
    assert int(shown[0, 40, 0]) == 60
    assert viewer.statistics.frames == len(screen.shown)


def test_status_counts_rate_latency_objects_and_drops():
    time = FakeTime()
    screen = FakeScreen()
    viewer = Viewer(screen, (), expects_boxes=True, clock=time.clock)
    for n in range(10):
        origin_ns = time.now_ns
        viewer.take(image_event(origin_ns, dropped=n % 2))
        time.now_ns += 30 * MS
        viewer.take(boxes_event(origin_ns, rows=[(1, 2, 3, 4, 0.5, 0)] * 2))
        time.now_ns += 70 * MS

    status = screen.statuses[-1]
    assert (status.frames, status.objects, status.drops) == (10, 2, 5)
    assert status.fps == pytest.approx(10.0)
    assert status.latency_ms == pytest.approx(30.0)
    assert (status.width, status.height) == (320, 240)


def test_user_who_ends_at_the_screen_ends_the_dataflow():
    screen, _, node = view([image_event()] * 5, FakeScreen(patience=2))

    assert len(screen.shown) == 2
    assert node.dataflow_stopped


def test_user_can_end_while_no_pictures_come():
    class SilentNode(FakeNode):
        def next(self, timeout=None):
            raise TimeoutError

    class ClosedScreen(HiddenScreen):
        def attend(self):
            return False

    node, screen = SilentNode(), ClosedScreen()
    run(node, Viewer(screen, (), expects_boxes=False), screen)

    assert node.dataflow_stopped


def test_flow_that_ends_before_any_boxes_shows_its_last_picture():
    screen, _, _ = view([image_event(1, 50), image_event(2, 150), boxes_event(-1)][:2])
    node_with_boxes = FakeNode(
        [image_event(1, 50), image_event(2, 150)], input_ids=("image", "bbox")
    )
    waiting = FakeScreen()
    viewer = Viewer(waiting, (), expects_boxes=True)
    run(node_with_boxes, viewer, waiting)

    assert len(screen.shown) == 2
    assert [int(image[0, 40, 0]) for image in waiting.shown] == [150]


def test_wrong_input_is_told_once_and_does_not_end_the_loop(caplog):
    broken = Event("image", b"no picture")

    screen, _, _ = view([broken, broken, image_event()])

    assert len(screen.shown) == 1
    assert caplog.messages == [
        "input 'image' carries 10 bytes that are no JPEG or PNG file; "
        "expected one, or H x W x 3 uint8 (BGR)"
    ]


def test_picture_whose_metadata_were_overwritten_is_told_and_does_not_end_the_loop(caplog):
    broken = Event("image", np.zeros((4, 4, 3), np.uint8), b"{")

    screen, _, _ = view([broken, image_event()])

    assert len(screen.shown) == 1
    assert caplog.messages[0].startswith("the 1 bytes of metadata are no JSON")


def test_unknown_input_is_named(caplog):
    view([Event("imgae", b"x")])

    assert caplog.messages == ["input 'imgae' is not shown; plot has the inputs 'image' and 'bbox'"]


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_encoded_pictures_are_decoded(suffix, as_array):
    encoded = cv2.imencode(suffix, picture(64, 48, 120))[1]

    image = decode(Event("image", encoded.ravel() if as_array else encoded.tobytes()))

    assert image.shape == (48, 64, 3)
    assert (image == 120).all()


def test_grey_and_rgb_pictures_become_bgr():
    grey = decode(Event("image", np.full((4, 5), 7, np.uint8)))
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    bgr = decode(Event("image", red, b'{"encoding": "rgb8"}'))

    assert grey.shape == (4, 5, 3)
    assert tuple(bgr[0, 0]) == (0, 0, 255)


def test_float_picture_is_refused():
    with pytest.raises(InputError, match=r"carries float32 \(4, 5, 3\); expected H x W x 3 uint8"):
        decode(Event("image", np.zeros((4, 5, 3), np.float32)))


@pytest.mark.parametrize("form", ["array", "bytes", "bytes as array"])
def test_boxes_come_as_array_or_bytes(form):
    rows = np.array([[1, 2, 3, 4, 0.5, 6], [7, 8, 9, 10, 0.25, 0]], np.float32)
    value = {
        "array": rows,
        "bytes": rows.tobytes(),
        "bytes as array": np.frombuffer(rows.tobytes(), np.uint8),
    }[form]

    detections = read_detections(Event("bbox", value, b'{"labels": ["ball"]}', origin_ns=9))

    assert np.array_equal(detections.boxes, rows)
    assert (detections.labels, detections.origin_ns) == (("ball",), 9)


def test_no_boxes_are_no_boxes():
    assert read_detections(Event("bbox", b"")).boxes.shape == (0, 6)
    assert read_detections(Event("bbox", np.zeros((0, 6), np.float32))).boxes.shape == (0, 6)


def test_boxes_of_five_columns_are_refused():
    with pytest.raises(InputError, match=r"input 'bbox' carries float32 \(2, 5\); expected N x 6"):
        read_detections(Event("bbox", np.zeros((2, 5), np.float32)))


def test_summary_tells_what_was_found_and_how_late():
    time = FakeTime()
    statistics = Statistics(time.clock)
    rows = [(0, 0, 9, 9, 0.9, 0), (0, 0, 9, 9, 0.9, 1), (0, 0, 9, 9, 0.9, 0)]
    detections = read_detections(boxes_event(rows=rows, labels=("ball", "crate")))
    for _ in range(300):
        time.now_ns += 100 * MS
        statistics.add_view(time.now_ns - 20 * MS, detections, (48, 64, 3))
    statistics.add_drops(4)

    first, latency, found = statistics.summary()

    assert first == "shown: 300 pictures, mean 10.0 fps, 4 dropped on the way"
    assert latency.startswith("latency camera to picture: p50 ")
    assert found == "found: ball 600, crate 300 in 300 pictures, 3.0 per picture"


def test_latency_percentiles_are_within_a_histogram_bucket():
    time = FakeTime()
    statistics = Statistics(time.clock)
    for n in range(100):
        latency_ms = 100 if n >= 97 else 20
        statistics.add_view(time.now_ns - latency_ms * MS, None, (48, 64, 3))

    words = statistics.summary()[1].replace(",", "").split()

    assert float(words[words.index("p50") + 1]) == pytest.approx(20, rel=0.08)
    assert float(words[words.index("p99") + 1]) == pytest.approx(100, rel=0.08)


def test_summary_of_nothing():
    assert Statistics().summary() == ["shown: no picture"]


def test_last_picture_is_saved_with_its_boxes_in_folders_that_are_made(tmp_path):
    path = tmp_path / "out" / "deep" / "last.png"
    saver = open_saver(path)

    view([image_event(1), image_event(2), boxes_event(1), boxes_event(2)], savers=[saver])

    assert not path.exists(), "written at the end only"
    assert saver.close() == path
    saved = cv2.imread(str(path))
    assert tuple(saved[180, 150]) == (75, 200, 60)
    assert [one.name for one in path.parent.iterdir()] == ["last.png"]
