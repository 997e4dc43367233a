from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from dora_rt.nodes.webcam.frame import SourceError
from dora_rt.nodes.webcam.pacing import Pacer
from dora_rt.nodes.webcam.picture_files import Pictures
from dora_rt.nodes.webcam.played_video import PlayedVideo
from dora_rt.nodes.webcam.recordings import SceneSource
from dora_rt.nodes.webcam.scene import Scene, SceneOptions

from dora_rt.picture_size import read_size
from tests.nodes.node_helpers import FakeTime, picture


@pytest.fixture
def video(tmp_path):
    """Five frames of 64x48 at 10 fps, frame n filled with 40 * n."""
    path = tmp_path / "five.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for n in range(5):
        writer.write(picture(64, 48, 40 * n))
    writer.release()
    return path


def take(source, *, newest=False, limit=100):
    """Give number, brightness and second of all frames, at most `limit`."""
    taken = []
    while not source.is_finished and len(taken) < limit:
        with source.frame(1000.0, newest=newest) as frame:
            if frame is not None:
                slot = np.empty(frame.shape, np.uint8)
                frame.fill(slot)
                taken.append((frame.number, round(float(slot.mean()))))
    return taken


def near(taken):
    """Round the brightness to what was written, since JPEG is not exact."""
    return [(number, round(value / 40) * 40) for number, value in taken]


def test_pacer_gives_each_frame_at_its_own_time_without_drift():
    time = FakeTime()
    pacer = Pacer(3.0, time.clock, time.sleep)
    started_ns = time.now_ns

    seconds = []
    for _ in range(301):
        pacer.wait_due(10.0, newest=False)
        seconds.append((time.now_ns - started_ns) / 1e9)
        time.now_ns += 200_000_000

    assert seconds[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-6)
    assert seconds[300] == pytest.approx(100.0, abs=1e-6)


def test_pacer_without_newest_gives_late_frames_one_by_one():
    time = FakeTime()
    pacer = Pacer(10.0, time.clock, time.sleep)

    first = pacer.wait_due(1.0, newest=False)
    time.now_ns += 350_000_000

    assert [first, *(pacer.wait_due(1.0, newest=False) for _ in range(3))] == [0, 1, 2, 3]
    assert time.slept == []


def test_pacer_with_newest_skips_what_is_out_of_date():
    time = FakeTime()
    pacer = Pacer(10.0, time.clock, time.sleep)
    pacer.wait_due(1.0, newest=True)
    time.now_ns += 350_000_000

    assert pacer.wait_due(1.0, newest=True) == 3
    assert pacer.wait_due(1.0, newest=True) == 4
    assert time.slept == [0.05]


def test_pacer_gives_nothing_when_the_frame_is_due_after_the_timeout():
    time = FakeTime()
    pacer = Pacer(0.5, time.clock, time.sleep)
    pacer.wait_due(0.1, newest=False)

    numbers = [pacer.wait_due(0.5, newest=False) for _ in range(4)]

    assert numbers == [None, None, None, 1]
    assert time.slept == [0.5, 0.5, 0.5, 0.5]


def test_pacer_at_rate_zero_never_sleeps():
    time = FakeTime()
    pacer = Pacer(0.0, time.clock, time.sleep)

    assert [pacer.wait_due(1.0, newest=True) for _ in range(3)] == [0, 1, 2]
    assert time.slept == []


def test_video_plays_all_frames_at_its_own_rate_and_ends(video):
    time = FakeTime()
    source = PlayedVideo(video, clock=time.clock, sleep=time.sleep)

    taken = take(source)

    assert near(taken) == [(n, 40 * n) for n in range(5)]
    assert time.slept == [0.1] * 4
    source.close()


def test_video_plays_at_the_rate_that_is_asked_for(video):
    time = FakeTime()
    source = PlayedVideo(video, 4.0, clock=time.clock, sleep=time.sleep)

    take(source)

    assert time.slept == [0.25] * 4


def test_video_with_loop_begins_again(video):
    time = FakeTime()
    source = PlayedVideo(video, 0, loop=True, clock=time.clock, sleep=time.sleep)

    taken = take(source, limit=12)

    assert near(taken) == [(n, 40 * (n % 5)) for n in range(12)]
    assert not source.is_finished


def test_video_that_is_asked_rarely_shows_what_is_due(video):
    time = FakeTime()
    source = PlayedVideo(video, clock=time.clock, sleep=time.sleep)
    with source.frame(1.0, newest=True):
        pass
    time.now_ns += 300_000_000

    assert near(take(source, newest=True)) == [(3, 120), (4, 160)]


def test_frame_that_is_not_due_yet_is_none(video):
    time = FakeTime()
    source = PlayedVideo(video, clock=time.clock, sleep=time.sleep)
    with source.frame(0.01, newest=False):
        pass

    with source.frame(0.01, newest=False) as frame:
        assert frame is None

    assert not source.is_finished


def test_file_that_is_no_video_is_named_with_a_way_out(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")

    with pytest.raises(SourceError) as raised:
        PlayedVideo(path)

    assert str(raised.value) == (
        f"--source '{path}': the file is there, but OpenCV cannot read it as a video; "
        f"try 'ffprobe {path}', or convert it to MP4 (H.264) or AVI (MJPG)"
    )


def test_pictures_come_in_order_and_none_is_skipped(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        cv2.imwrite(str(path), picture(20 + n, 10, 10 * n))
    time = FakeTime()
    source = Pictures(paths, 2.0, clock=time.clock, sleep=time.sleep)
    with source.frame(1.0, newest=True) as first:
        assert first.shape == (10, 20, 3)
        assert first.metadata == {"file": "0.png"}
    time.now_ns += 60_000_000_000

    assert take(source, newest=True) == [(1, 10), (2, 20), (3, 30)]


def test_single_picture_with_loop_is_given_again_and_again(tmp_path):
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), picture(20, 10, 77))
    time = FakeTime()
    source = Pictures([path], loop=True, clock=time.clock, sleep=time.sleep)

    assert take(source, limit=3) == [(0, 77), (1, 77), (2, 77)]
    assert time.slept == [0.1, 0.1]


def test_broken_picture_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    source = Pictures([path])

    with pytest.raises(SourceError, match=f"'{path}' cannot be read as a picture"):
        take(source)


@pytest.mark.parametrize("loop", [False, True])
def test_unreadable_picture_costs_that_picture_and_is_told_once(tmp_path, loop, caplog):
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n in (0, 2, 3):
        cv2.imwrite(str(paths[n]), picture(20, 10, 10 * n))
    paths[1].touch()
    time = FakeTime()
    source = Pictures(paths, 2.0, loop=loop, clock=time.clock, sleep=time.sleep)

    taken = take(source, limit=5)

    assert taken == ([(0, 0), (2, 20), (3, 30), (4, 0), (6, 20)] if loop else taken)
    assert taken[:3] == [(0, 0), (2, 20), (3, 30)]
    assert time.slept[:2] == [0.5, 0.5]
    assert caplog.messages == [
        f"--source: '{paths[1]}' cannot be read as a picture; repair or remove it; it is left out"
    ]


def test_pictures_of_which_none_can_be_read_are_an_error(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.touch()

    with pytest.raises(SourceError, match=r"b\.png' cannot be read as a picture"):
        take(Pictures(paths, loop=True))


def test_scene_gives_its_pixels_and_its_truth_and_ends_after_its_frames():
    time = FakeTime()
    options = SceneOptions(seed=3, width=160, height=120, objects=2, frames=4, fps=20)
    source = SceneSource(options, clock=time.clock, sleep=time.sleep)
    expected, slot = picture(160, 120), picture(160, 120)
    Scene(160, 120, 3, 2).render(0, expected)

    with source.frame(1.0, newest=False) as frame:
        frame.fill(slot)
        metadata = frame.metadata
    rest = take(source)

    assert np.array_equal(slot, expected)
    assert metadata["scene_seed"] == 3
    assert len(metadata["truth"]) <= 2
    assert [number for number, _ in rest] == [1, 2, 3]
    assert source.is_finished
    assert time.slept == [0.05] * 4


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm"])
def test_size_of_a_picture_is_read_without_decoding_it(tmp_path, suffix):
    path = tmp_path / f"one.{suffix}"
    cv2.imwrite(str(path), picture(20, 10, 77))

    height, width = cv2.imread(str(path)).shape[:2]

    assert read_size(path) == (width, height)
    path.write_bytes(path.read_bytes()[:14])
    assert read_size(path) in (None, (width, height))


def test_lossless_webp_has_a_size(tmp_path):
    path = tmp_path / "one.webp"
    cv2.imwrite(str(path), picture(20, 10, 77), [cv2.IMWRITE_WEBP_QUALITY, 101])

    assert path.read_bytes()[12:16] == b"VP8L"
    assert read_size(path) == cv2.imread(str(path)).shape[1::-1]


def test_picture_that_is_small_as_a_file_and_huge_in_memory_is_refused_undecoded(tmp_path):
    path = tmp_path / "bomb.png"
    head = struct.pack(">IIBBBBB", 14000, 14000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )

    with pytest.raises(SourceError, match="has 14000 x 14000 pixels, more than 134 million"):
        take(Pictures([path]))


def test_fifo_among_the_pictures_is_named_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)

    with pytest.raises(SourceError, match=f"'{path}' cannot be read as a picture"):
        take(Pictures([path]))
