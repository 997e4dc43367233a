from __future__ import annotations

import json

import cv2
import numpy as np
import pyarrow
import pytest
from dora_rt.nodes.plot.saving import open_saver
from dora_rt.nodes.plot.screens import HiddenScreen
from dora_rt.nodes.plot.statistics import Statistics
from dora_rt.nodes.plot.viewer import Viewer, run

from dora_rt.detections import read_detections
from dora_rt.event import Event, MatchedEvents
from dora_rt.testing import FakeNode, make_event
from tests.nodes.node_helpers import FakeTime, picture
from tests.pictures.no_pictures import NO_PICTURES

MS = 1_000_000
NO_BOXES = {
    **{
        f"{rows} x {columns}": np.zeros((rows, columns), np.float32)
        for rows, columns in ((3, 4), (6, 4), (6, 5), (6, 7), (12, 7), (1, 4))
    },
    "complex": np.ones((1, 6), complex),
    "bools": np.ones((1, 6), bool),
    "text": b"hello",
    "strings": pyarrow.array(list("abcdef")),
    "six structs": pyarrow.array([{"x": float(number)} for number in range(6)]),
    "dora's dict": pyarrow.array([{"bbox": [1.0, 2, 3, 4], "conf": [0.5], "labels": ["a"]}]),
    "nulls": pyarrow.array([1.0, None, 3, 4, 5, 6]),
    "lists": pyarrow.array([[1.0, 2, 3, 4, 5, 6]]),
}


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

    screen, viewer, _ = view([broken, broken, image_event()])

    assert len(screen.shown) == 1
    assert caplog.messages == [
        "input 'image': 10 bytes that begin with b'no pictu' are no picture; expected uint8 of "
        "H x W x 3 (BGR), H x W or H x W x 4, or the bytes of a JPEG or PNG file; left out, and "
        "not said again"
    ]
    assert viewer.summary()[-1] == "left out: 2 samples of input 'image'"


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_costs_that_sample_only(name, caplog):
    value = NO_PICTURES[name]
    if not isinstance(value, (bytes, np.ndarray, pyarrow.Array)):
        pytest.skip("no sender can send it")
    odd = make_event("image", value, {"encoding": "bgr8"}, origin_ns=1)
    found = make_event("bbox", np.zeros((0, 6), np.float32), origin_ns=1)

    screen, _, _ = view([odd, found, odd, image_event(2), boxes_event(2)])

    assert len(screen.shown) == 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("input 'image': ")


@pytest.mark.parametrize("name", NO_BOXES)
def test_what_are_no_boxes_costs_that_sample_only(name, caplog):
    odd = make_event("bbox", NO_BOXES[name], {"labels": ["a"]}, origin_ns=1)

    screen, viewer, _ = view([image_event(1), odd, image_event(2), boxes_event(2)])

    assert len(screen.shown) == 1
    assert viewer.summary()[-1] == "left out: 1 sample of input 'bbox'"
    assert [message[:14] for message in caplog.messages] == ["input 'bbox': "]


def test_boxes_are_drawn_on_no_picture_but_their_own_and_the_picture_says_so():
    time = FakeTime()
    screen = FakeScreen()
    viewer = Viewer(screen, (), expects_boxes=True, clock=time.clock)
    plain = FakeScreen()
    other = Viewer(plain, (), expects_boxes=False, clock=time.clock)
    for _ in range(60):
        time.now_ns += 33 * MS
        for one in (viewer, other):
            one.take(image_event(time.now_ns))
        # Of pictures that never came here.
        viewer.take(boxes_event(time.now_ns - 5 * MS))

    assert len(screen.shown) > 40
    for with_hint, without in zip(screen.shown, plain.shown[-len(screen.shown) :], strict=True):
        assert (with_hint[:200] == without[:200]).all()
    assert (screen.shown[-1][200:] != plain.shown[-1][200:]).any(), "the hint"
    assert screen.statuses[-1].without_boxes == len(screen.shown)
    assert "without boxes: " in "\n".join(viewer.summary())


def test_boxes_that_have_the_time_of_no_picture_are_told_with_the_way_out(caplog):
    view([event for n in range(20) for event in (image_event(n * 10), boxes_event(n * 10 - 5))])

    (message,) = caplog.messages
    assert "no boxes have the time of a picture" in message
    assert "captured_ns=event.origin_ns" in message


def test_boxes_of_a_picture_of_another_size_are_not_drawn(caplog):
    """The detector reads a smaller picture than the one that is wired to plot."""
    metadata = {"labels": ["ball"], "width": 160, "height": 120}
    boxes = np.array([[100, 80, 150, 110, 0.9, 0]], np.float32)

    screen, _, _ = view([image_event(5), make_event("bbox", boxes, metadata, origin_ns=5)])

    assert (screen.shown[0][:200] == 100).all()
    assert screen.statuses[0].without_boxes == 1
    assert "boxes of a picture of 160 x 120 pixels are not drawn on one of 320 x 240" in str(
        caplog.messages
    )


def test_boxes_that_sync_lets_differ_from_their_picture_say_by_how_much():
    drawn = {}
    for later_ms in (0, 12):
        events = {"image": image_event(5 * MS), "bbox": boxes_event((5 + later_ms) * MS)}
        screen, _, _ = view([MatchedEvents(events, seq=0, unmatched=0)])
        drawn[later_ms] = screen.shown[0]

    assert (drawn[0][:200] == drawn[12][:200]).all()
    assert (drawn[0][200:] != drawn[12][200:]).any(), "the hint"


def test_pictures_without_a_partner_are_no_drops():
    events = {"image": image_event(5 * MS), "bbox": boxes_event(5 * MS)}

    _, viewer, _ = view([MatchedEvents(events, seq=0, unmatched=7)])

    first, *others = viewer.summary()
    assert "dropped" not in first
    assert "not shown: 7 samples without a partner of the same time" in others


def test_picture_whose_metadata_were_overwritten_is_told_and_does_not_end_the_loop(caplog):
    broken = Event("image", np.zeros((4, 4, 3), np.uint8), b"{")

    screen, _, _ = view([broken, image_event()])

    assert len(screen.shown) == 1
    assert caplog.messages[0].startswith("input 'image': the 1 bytes of metadata are no JSON")


def test_unknown_input_is_named(caplog):
    view([Event("imgae", b"x")])

    assert caplog.messages == [
        "input 'imgae' is not shown; plot has the inputs 'image', 'bbox', 'masks', 'keypoints', "
        "'oriented', 'classes'"
    ]


def test_summary_tells_what_was_found_and_how_late():
    time = FakeTime()
    statistics = Statistics(time.clock)
    rows = [(0, 0, 9, 9, 0.9, 0), (0, 0, 9, 9, 0.9, 1), (0, 0, 9, 9, 0.9, 0)]
    found = boxes_event(rows=rows, labels=("ball", "crate"))
    detections = read_detections(found.value, found.metadata)
    for _ in range(300):
        time.now_ns += 100 * MS
        statistics.add_view(time.now_ns, time.now_ns - 20 * MS, detections, (48, 64, 3))
    statistics.add_drops(4)

    first, latency, found = statistics.summary()

    assert first == "shown: 300 pictures, mean 10.0 fps, 4 dropped on the way"
    assert latency.startswith("latency camera to picture: p50 ")
    assert found == "found: ball 600, crate 300 in 300 pictures, 3.0 per picture"


def test_latencies_are_those_of_pictures_with_boxes_wherever_they_are_shown():
    """A slow detector: pictures without boxes are younger, and a kind of their own."""
    time = FakeTime()
    screen = FakeScreen()
    viewer = Viewer(screen, (), expects_boxes=True, clock=time.clock)
    origins = [time.now_ns + number * 40 * MS for number in range(100)]
    for number, origin_ns in enumerate(origins):
        time.now_ns = origin_ns + 3 * MS
        viewer.take(image_event(origin_ns))
        if number >= 25 and number % 5 == 0:
            time.now_ns = origin_ns + 10 * MS
            viewer.take(boxes_event(origins[number - 5]))

    # Until the first boxes came, pictures were shown without them.
    assert {round(status.latency_ms) for status in screen.statuses} == {3, 210}
    assert screen.statuses[-1].latency_ms == pytest.approx(210)
    assert screen.statuses[-1].latency_p50_ms == pytest.approx(210)
    lines = [line for line in viewer.summary() if line.startswith("latency")]
    assert [line.split(":")[0] for line in lines] == [
        "latency camera to picture, with boxes",
        "latency camera to picture, without boxes",
    ]
    p50 = float(lines[0].split("p50 ")[1].split()[0])
    assert p50 == pytest.approx(210, rel=0.08)


def test_latency_percentiles_are_within_a_histogram_bucket():
    time = FakeTime()
    statistics = Statistics(time.clock)
    for n in range(100):
        latency_ms = 100 if n >= 97 else 20
        statistics.add_view(time.now_ns, time.now_ns - latency_ms * MS, None, (48, 64, 3))

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
