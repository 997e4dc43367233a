from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from dora_rt.nodes.webcam.frame import SourceError
from dora_rt.nodes.webcam.interlacing import InterlaceWatch
from dora_rt.nodes.webcam.pacing import Timeline
from dora_rt.nodes.webcam.played_video import PlayedVideo
from dora_rt.nodes.webcam.resizing import ResizedSource

from tests.nodes.node_helpers import FakeCapture, FakeTime, picture


class TimedCapture(FakeCapture):
    """A file whose frames have positions: by number, milliseconds, or None for a failed grab."""

    def __init__(self, positions, *, fps=30.0, count=None) -> None:
        super().__init__(
            None if position is None else picture(64, 48, 1 + n % 250)
            for n, position in enumerate(positions)
        )
        self._positions = iter(positions)
        self.properties[cv2.CAP_PROP_FPS] = fps
        self.properties[cv2.CAP_PROP_FRAME_COUNT] = -1.0 if count is None else float(count)

    def grab(self) -> bool:
        position = next(self._positions, None)
        was_grabbed = super().grab()
        if position is not None:
            self.properties[cv2.CAP_PROP_POS_MSEC] = position
        return was_grabbed


def steady(count, *, begin=0.0, fps=30.0):
    return [begin + n * 1000 / fps for n in range(count)]


def play(positions, fps=None, *, limit=10_000, newest=False, later_ns=0, **options):
    """Play it; give the seconds at which its frames were given, and their brightness."""
    time = FakeTime()
    began_ns = time.now_ns
    rounds = options.pop("rounds", 1)
    rate = options.pop("rate", 30.0)
    left = iter([TimedCapture(positions, fps=rate, **options) for _ in range(rounds)])
    video = PlayedVideo(
        "drive.mp4",
        fps,
        loop=rounds > 1,
        open_capture=lambda: next(left),
        clock=time.clock,
        sleep=time.sleep,
    )
    seconds, values = [], []
    while not video.is_finished and len(seconds) < limit:
        with video.frame(1000.0, newest=newest) as frame:
            if frame is not None:
                slot = np.empty(frame.shape, np.uint8)
                frame.fill(slot)
                seconds.append((time.now_ns - began_ns) / 1e9)
                values.append(int(slot[0, 0, 0]))
        time.now_ns += later_ns
    return seconds, values


def test_frames_come_at_their_own_times_and_not_at_the_average_rate():
    positions = [0, 33, 67, 100, 600, 1100, 6100]

    seconds, _ = play(positions, fps=None, count=7)

    assert seconds == pytest.approx([0, 0.033, 0.067, 0.1, 0.6, 1.1, 6.1])


def test_times_begin_with_the_first_frame():
    assert play([5000, 5100, 5200])[0] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize(
    "positions",
    [
        [0] * 5,
        [float("nan")] * 5,
        [0, 100, 100, 100, 100],
        [0, 100, 0, 0, 0],
        [0, 100, 200, 9e9, 9e9],
    ],
)
def test_rate_of_the_file_holds_where_the_times_do_not_grow_or_cannot_be(positions):
    seconds, _ = play(positions, rate=10.0)

    assert seconds == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-6)


def test_last_frames_without_times_go_on_as_those_before_unless_there_was_a_pause():
    assert play([0, 33, 533, 1033, 1533, 0, 0])[0][-2:] == pytest.approx([2.033, 2.533])
    assert play([0, 33, 67, 5067, 0])[0][-1] == pytest.approx(5.067 + 1 / 30, abs=1e-6)


def test_rate_that_is_asked_for_wins_over_the_times():
    assert play([0, 33, 600, 6100], 10.0)[0] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_next_round_begins_one_frame_after_the_last_one_and_has_its_own_times():
    seconds, _ = play([0, 500, 600], rounds=2, limit=6)

    step = 1 / 30
    assert seconds == pytest.approx([0, 0.5, 0.6, 0.6 + step, 1.1 + step, 1.2 + step], abs=1e-6)


def test_reader_that_is_late_gets_the_newest_due_frame_also_before_a_pause():
    # Frame 3 at 0.1 s is the newest one until 3 s.
    positions = [0, 33, 67, 100, 3000]

    seconds, values = play(positions, newest=True, later_ns=500_000_000)

    assert values == [1, 4, 5]
    assert seconds == pytest.approx([0, 0.5, 3.0])


def test_damaged_place_is_passed_over_and_counted(caplog):
    positions = [*steady(114), None, *steady(150, begin=5000)]

    seconds, _ = play(positions, count=300)

    assert len(seconds) == 264
    assert seconds[114] == pytest.approx(5.0)
    assert caplog.messages == [
        "video drive.mp4: 264 of 300 frames read, 1 damaged place passed over"
    ]


def test_tries_behind_damage_are_bounded():
    capture = TimedCapture([*steady(100), *[None] * 1000, *steady(10)], count=300)
    video = PlayedVideo("drive.mp4", 0, open_capture=lambda: capture)

    while not video.is_finished:
        with video.frame(0.1, newest=False):
            pass

    assert capture.grabs == 100 + 1 + 100


def test_cut_file_says_how_much_of_it_is_there(caplog):
    play(steady(131), count=300)

    assert caplog.messages == [
        "video drive.mp4: ended after 131 of 300 frames (4.3 of 10.0 s): the file is cut off or "
        "damaged"
    ]


def test_cut_file_in_a_loop_is_told_once(caplog):
    play(steady(131), count=300, rounds=3, limit=131 * 3)

    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("positions", "count"),
    [
        (steady(300), 300),
        (steady(300), 302),  # a length that is rounded up
        (steady(300), None),
        # Some containers know their length only: 31.6 s at 30 fps, of 60 frames.
        ([*steady(30), *(1000 + 1000 * n for n in range(31))], 948),
    ],
)
def test_whole_file_ends_without_a_word(positions, count, caplog):
    play(positions, count=count)

    assert caplog.messages == []


def test_real_file_of_which_half_is_missing_is_told(tmp_path, caplog):
    path = tmp_path / "half.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for n in range(60):
        writer.write(picture(64, 48, 4 * n))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    video = PlayedVideo(path, 0)

    frames = 0
    while not video.is_finished:
        with video.frame(0.1, newest=False) as frame:
            frames += frame is not None

    assert 10 < frames < 40
    assert f"ended after {frames} of 60 frames" in caplog.text


def test_mp4_without_its_index_is_named_as_such(tmp_path):
    path = tmp_path / "cut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (64, 48))
    for n in range(30):
        writer.write(picture(64, 48, 4 * n))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])

    with pytest.raises(SourceError, match=r"this MP4 has no index \(moov\): its recording was not"):
        PlayedVideo(path)


def test_empty_file_is_named_as_such(tmp_path):
    (tmp_path / "a.mp4").touch()

    with pytest.raises(SourceError, match=r"a\.mp4': the file is empty"):
        PlayedVideo(tmp_path / "a.mp4")


def test_start_says_rate_length_and_pace(caplog):
    caplog.set_level(logging.INFO)

    PlayedVideo("a.mp4", open_capture=lambda: TimedCapture([], fps=29.8333, count=895))
    PlayedVideo("b.mp4", 15, loop=True, open_capture=lambda: TimedCapture([], count=None))

    assert caplog.messages == [
        "video a.mp4: 64x48, 29.83 fps, 30.0 s by its header, played at its own pace",
        "video b.mp4: 64x48, 30 fps, played at 15 fps, in a loop",
    ]


def test_long_pause_is_announced_and_kept(caplog):
    caplog.set_level(logging.INFO)

    seconds, _ = play([0, 33, 45_033], count=1350)

    assert seconds[2] == pytest.approx(45.033)
    assert "video drive.mp4: no picture for 45 s, as recorded" in caplog.messages


def test_times_that_begin_anew_in_the_file_go_on():
    timeline = Timeline(10.0, 100.0)

    offsets = []
    for position_ms in (5000, 5100, 5200, 40, 140, 640):
        timeline.add(position_ms)
        offsets.append(timeline.offset_ns / 1e6)

    assert offsets == [0, 100, 200, 300, 400, 900]


def moving_bars(count, *, interlaced):
    """A bar that moves 6 pixels each field."""
    images = []
    for n in range(count):
        image = picture(320, 240, 40)
        for field in (0, 1):
            left = 20 + 12 * n + (6 * field if interlaced else 0)
            image[field::2, left % 280 : left % 280 + 30] = 200
        images.append(image)
    return images


@pytest.mark.parametrize("interlaced", [True, False])
def test_interlaced_pictures_are_noticed_once_and_others_never(interlaced):
    watch = InterlaceWatch()

    noticed = [watch.look(image) for image in moving_bars(40, interlaced=interlaced)]

    assert noticed.count(True) == interlaced


def test_real_videos_are_not_taken_for_interlaced(shared_data):
    for name in ("vtest.avi", "bottle-detection.mp4"):
        capture = cv2.VideoCapture(str(shared_data / name))
        watch = InterlaceWatch()
        for _ in range(150):
            assert not watch.look(capture.read()[1]), name


def test_interlaced_video_is_told(caplog):
    capture = FakeCapture(moving_bars(40, interlaced=True), width=320, height=240)
    video = PlayedVideo("tape.avi", 0, open_capture=lambda: capture)

    while not video.is_finished:
        with video.frame(1.0, newest=False) as frame:
            if frame is not None:
                frame.fill(np.empty(frame.shape, np.uint8))

    assert [one for one in caplog.messages if "it is interlaced" in one] == [
        "video tape.avi: it is interlaced, moving edges look like combs; models see better if you "
        "deinterlace it first: ffmpeg -i IN -vf yadif OUT.mp4"
    ]


class UnconvertedCapture(FakeCapture):
    """What OpenCV 5.0 makes of interlaced frames: black ones, and nothing in the raw ones."""

    def __init__(self, raw_value) -> None:
        super().__init__([picture(64, 48)] * 5)
        self._raw_value = raw_value

    def retrieve(self, image=None):
        if (cv2.CAP_PROP_CONVERT_RGB, 0) in self.asked:
            return True, np.full((48, 64), self._raw_value, np.uint8)
        return super().retrieve(image)


@pytest.mark.parametrize(("raw_value", "is_told"), [(0, True), (16, False)])
def test_black_pictures_that_are_none_are_told(raw_value, is_told, caplog):
    def open_capture():
        capture = UnconvertedCapture(raw_value)
        capture.properties[cv2.CAP_PROP_FOURCC] = cv2.VideoWriter.fourcc(*"h264")
        return capture

    video = PlayedVideo("tape.ts", 0, open_capture=open_capture)
    while not video.is_finished:
        with video.frame(1.0, newest=False) as frame:
            if frame is not None:
                frame.fill(picture(64, 48))

    assert ("gives only black pictures of it" in caplog.text) is is_told


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (32, 12, (12, 32, 3)),
        (32, None, (24, 32, 3)),
        (None, 96, (96, 128, 3)),
        (64, 48, (48, 64, 3)),
    ],
)
def test_recording_is_resized_to_what_was_asked_for(width, height, shape):
    capture = TimedCapture(steady(2))
    source = ResizedSource(PlayedVideo("a.mp4", 0, open_capture=lambda: capture), width, height)

    with source.frame(1.0, newest=False) as frame:
        slot = np.zeros(frame.shape, np.uint8)
        frame.fill(slot)

    assert slot.shape == shape
    assert (slot == 1).all()
