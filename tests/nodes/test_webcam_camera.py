from __future__ import annotations

import itertools
import logging
import threading
import time

import cv2
import numpy as np
import pytest
from dora_rt.nodes.webcam.camera import FAILURE_PAUSE_S, Camera, backoff_delays
from dora_rt.nodes.webcam.capture import CameraFormat, CameraUnavailableError, ask_for_format
from dora_rt.nodes.webcam.frame import FrameLostError, SizeChangedError, SourceError

from tests.harness.waiting import PATIENCE_S, eventually
from tests.nodes.node_helpers import FakeCapture, picture


class Openings:
    """Opens the prepared captures one after the other; an error is raised; then it is away."""

    def __init__(self, *prepared: FakeCapture | Exception) -> None:
        self._prepared = iter(prepared)

    def __call__(self) -> FakeCapture:
        capture = next(self._prepared, CameraUnavailableError("it is away"))
        if isinstance(capture, Exception):
            raise capture
        return capture


class Waits:
    """Notes how long the camera waits, and closes it after so many delays between openings."""

    def __init__(self, closing_after: int) -> None:
        self.delays: list[float] = []
        self.pauses = 0
        self._closing_after = closing_after

    def __call__(self, seconds: float) -> bool:
        if seconds == FAILURE_PAUSE_S:
            self.pauses += 1
            return False
        self.delays.append(seconds)
        return len(self.delays) >= self._closing_after


def make_camera(openings: Openings, waits: Waits | None = None, **options) -> Camera:
    return Camera("fake", openings, CameraFormat(), wait=waits, **options)


def test_delays_between_openings_double_from_half_a_second_to_eight():
    assert list(itertools.islice(backoff_delays(), 7)) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_camera_that_is_away_is_tried_again_with_growing_delays():
    waits = Waits(closing_after=7)
    camera = make_camera(Openings(), waits)

    camera.grab_until_closed()

    assert waits.delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_camera_that_is_away_is_logged_once(caplog):
    caplog.set_level(logging.INFO)

    make_camera(Openings(), Waits(closing_after=5)).grab_until_closed()

    assert caplog.messages == [
        "camera fake: cannot be opened: it is away; trying again until it is there, "
        "every 0.5 to 8 s"
    ]


def test_unplugged_camera_is_released_and_delays_begin_anew_after_it_came_back(caplog):
    caplog.set_level(logging.INFO)
    first = FakeCapture([picture(64, 48)] * 3)
    second = FakeCapture([picture(64, 48)])
    away = CameraUnavailableError("it is away")
    waits = Waits(closing_after=4)

    make_camera(Openings(first, away, away, second), waits).grab_until_closed()

    assert first.is_released and second.is_released
    assert waits.delays == [0.5, 1.0, 2.0, 0.5]
    assert caplog.messages == [
        "camera fake: asked nothing particular, got 64x48 at 30 fps MJPG",
        "camera fake: lost after 10 failed reads; trying again until it is there, every 0.5 to 8 s",
        "camera fake: asked nothing particular, got 64x48 at 30 fps MJPG",
        "camera fake: lost after 10 failed reads; trying again until it is there, every 0.5 to 8 s",
    ]


def test_failing_reads_are_separated_by_pauses():
    capture = FakeCapture([])
    waits = Waits(closing_after=1)

    make_camera(Openings(capture), waits).grab_until_closed()

    assert capture.grabs == 10
    assert waits.pauses == 9


def test_single_failed_reads_do_not_lose_the_camera():
    capture = FakeCapture([picture(64, 48), None] * 50)

    make_camera(Openings(capture), Waits(closing_after=1)).grab_until_closed()

    assert capture.grabs == 100 + 9


def test_read_that_fails_after_a_long_silence_loses_the_camera_at_once(caplog):
    now_ns = [0]

    def be_silent() -> None:
        now_ns[0] += 10_000_000_000

    capture = FakeCapture([], on_grab=be_silent)
    waits = Waits(closing_after=1)

    make_camera(Openings(capture), waits, clock=lambda: now_ns[0]).grab_until_closed()

    assert capture.grabs == 1
    assert caplog.messages[0].startswith("camera fake: gave no frame for 10.0 s; trying again")


def test_opencv_error_while_grabbing_is_a_failed_read():
    capture = FakeCapture([cv2.error("select() timeout")] * 10)
    waits = Waits(closing_after=1)

    make_camera(Openings(capture), waits).grab_until_closed()

    assert capture.grabs == 10
    assert capture.is_released


def test_newest_frame_wins_and_stands_still_while_it_is_lent():
    capture = FakeCapture(picture(64, 48, n % 251) for n in itertools.count())
    camera = make_camera(Openings(capture))
    slot = picture(64, 48)
    camera.start()
    try:
        with camera.frame(5.0, newest=True) as first:
            pass
        eventually(lambda: capture.grabs > first.number + 20)
        with camera.frame(5.0, newest=True) as frame:
            frame.fill(slot)
            grabs_while_lent = capture.grabs
            frame.fill(slot)

            assert frame.number > first.number + 19
            assert frame.number == grabs_while_lent - 1 == capture.grabs - 1
            assert (slot == frame.number % 251).all()
    finally:
        camera.close()


def test_no_frame_is_given_twice():
    capture = FakeCapture(picture(64, 48) for _ in itertools.count())
    camera = make_camera(Openings(capture))
    numbers = []
    camera.start()
    try:
        for _ in range(50):
            with camera.frame(5.0, newest=True) as frame:
                numbers.append(frame.number)
    finally:
        camera.close()

    assert numbers == sorted(set(numbers))


def test_camera_without_frame_gives_none_after_the_timeout():
    camera = make_camera(Openings(), Waits(closing_after=1))
    camera.start()

    with camera.frame(0.01, newest=True) as frame:
        assert frame is None

    camera.close()


def test_blocking_read_does_not_keep_the_camera_from_closing():
    is_inside, may_go_on = threading.Event(), threading.Event()

    def block() -> None:
        is_inside.set()
        may_go_on.wait(100)

    camera = make_camera(Openings(FakeCapture([], on_grab=block)))
    camera.start()
    assert is_inside.wait(PATIENCE_S)
    started = time.monotonic()

    camera.close()

    assert time.monotonic() - started < PATIENCE_S
    may_go_on.set()


def test_camera_that_can_never_be_opened_says_so_to_its_reader():
    camera = make_camera(Openings(SourceError("this OpenCV has no GStreamer")))
    camera.start()

    with pytest.raises(SourceError, match="no GStreamer"), camera.frame(5.0, newest=True):
        pass


def test_size_change_gives_the_new_pixels_and_announces_the_new_shape():
    capture = FakeCapture((picture(32, 24, 7) for _ in itertools.count()), width=64, height=48)
    camera = make_camera(Openings(capture))
    camera.start()
    try:
        with camera.frame(5.0, newest=True) as frame, pytest.raises(SizeChangedError) as raised:
            frame.fill(np.empty(frame.shape, np.uint8))
        with camera.frame(5.0, newest=True) as next_frame:
            slot = np.empty(next_frame.shape, np.uint8)
            next_frame.fill(slot)
    finally:
        camera.close()

    assert frame.shape == (48, 64, 3)
    assert raised.value.image.shape == (24, 32, 3)
    assert slot.shape == (24, 32, 3)
    assert (slot == 7).all()


def test_frames_that_cannot_be_decoded_lose_the_camera():
    capture = FakeCapture("broken" for _ in itertools.count())
    camera = make_camera(Openings(capture), Waits(closing_after=1))
    camera.start()

    for _ in range(10):
        with camera.frame(5.0, newest=True) as frame, pytest.raises(FrameLostError):
            frame.fill(picture(64, 48))

    eventually(lambda: capture.is_released)


@pytest.mark.parametrize(("is_light", "is_told"), [(False, True), (True, False)])
def test_camera_that_gives_only_black_pictures_is_told_once(is_light, is_told, caplog):
    values = (9 if is_light else 0 for _ in itertools.count())
    camera = make_camera(Openings(FakeCapture(picture(64, 48, value) for value in values)))
    camera.start()
    try:
        for _ in range(120):
            with camera.frame(5.0, newest=True) as frame:
                slot = picture(64, 48)
                frame.fill(slot)
    finally:
        camera.close()

    told = [text for text in caplog.messages if "all its pictures are black" in text]
    assert len(told) == is_told


def test_grey_camera_gives_three_channels():
    grey = np.full((48, 64), 90, np.uint8)
    camera = make_camera(Openings(FakeCapture(grey for _ in itertools.count())))
    slot = picture(64, 48)
    camera.start()
    try:
        with camera.frame(5.0, newest=True) as frame:
            frame.fill(slot)
    finally:
        camera.close()

    assert (slot == 90).all()


@pytest.mark.parametrize(
    ("stamp_ms", "captured_ns"),
    [(999_980.0, 999_980_000_000), (40.0, 10**12), (0.0, 10**12), (2e6, 10**12)],
)
def test_capture_time_is_the_drivers_where_that_is_credible(stamp_ms, captured_ns):
    capture = FakeCapture(picture(64, 48) for _ in itertools.count())
    capture.properties[cv2.CAP_PROP_POS_MSEC] = stamp_ms
    camera = make_camera(Openings(capture), clock=lambda: 10**12)
    camera.start()
    try:
        with camera.frame(5.0, newest=True) as frame:
            assert frame.captured_ns == captured_ns
    finally:
        camera.close()


def test_codec_is_asked_for_before_size_and_rate():
    capture = FakeCapture([])

    ask_for_format(capture, CameraFormat(1280, 720, 30.0, "MJPG"))

    assert capture.asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30.0),
    ]


def test_wanted_format_reads_like_what_the_camera_gives():
    assert str(CameraFormat(1280, 720, 30.0, "MJPG")) == "1280x720 at 30 fps MJPG"
    assert str(CameraFormat(width=1280)) == "1280xany"
    assert str(CameraFormat(fps=2.0)) == "2 fps"
    assert str(CameraFormat(fourcc="MJPG")) == "MJPG"
    assert str(CameraFormat()) == "nothing particular"
