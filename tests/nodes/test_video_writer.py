from __future__ import annotations

import errno
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from dora_rt.nodes.video_output import DiskFullError, VideoFileError, open_video_file
from dora_rt.nodes.video_output.mp4_file import Mp4File
from dora_rt.nodes.video_output.steady_video import SteadyVideo
from dora_rt.nodes.video_writer import parse_options
from dora_rt.nodes.video_writer.loop import run
from dora_rt.nodes.video_writer.parts import Parts

from dora_rt.testing import FakeNode, make_event
from tests.nodes.node_helpers import file_env, picture

MS = 1_000_000
BEGAN_NS = 5_000_000_000_000


def image_event(n, step_ms=100, value=None, **options):
    value = picture(64, 48, n % 250) if value is None else value
    return make_event("image", value, origin_ns=BEGAN_NS + n * step_ms * MS, **options)


def length_s(path):
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.grab():
        frames += 1
    return frames / capture.get(cv2.CAP_PROP_FPS)


def write(pattern, events, **options):
    parts = Parts(pattern, **options)
    try:
        run(FakeNode(events), parts)
    finally:
        parts.close()


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_pictures_become_a_video_that_lasts_as_long_as_they_did(tmp_path, suffix, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "out" / f"drive{suffix}"

    write(path, [image_event(n) for n in range(50)])

    assert length_s(path) == pytest.approx(5.0, rel=0.02)
    assert f"saved: {path}: 50 pictures, 5.0 s, 0.0 MiB" in caplog.messages


def test_file_that_is_there_is_never_replaced(tmp_path):
    path = tmp_path / "drive.mp4"
    path.write_bytes(b"precious")

    for _ in range(2):
        write(path, [image_event(n) for n in range(3)])

    assert path.read_bytes() == b"precious"
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["drive-2.mp4", "drive-3.mp4", "drive.mp4"]


def test_new_file_begins_after_the_minutes_asked_for_and_the_oldest_one_goes(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    write(
        tmp_path / "drive.mp4",
        [image_event(n, step_ms=1000) for n in range(300)],
        split_minutes=1,
        keep=2,
    )

    names = sorted(one.name for one in tmp_path.iterdir())
    assert len(names) == 2
    assert [length_s(tmp_path / name) for name in names] == pytest.approx([60.0, 60.0], rel=0.02)
    removed = [text for text in caplog.messages if text.startswith("removed: ")]
    assert len(removed) == 3


def test_name_may_have_the_time_in_it(tmp_path):
    then = time.strptime("2026-03-04 05:06:07", "%Y-%m-%d %H:%M:%S")
    parts = Parts(tmp_path / "%Y-%m-%d_%H-%M-%S.mp4", local_time=lambda: then)

    parts.add(picture(64, 48), BEGAN_NS)
    parts.close()

    assert [one.name for one in tmp_path.iterdir()] == ["2026-03-04_05-06-07.mp4"]


def test_jpeg_and_rgb_pictures_are_written_and_what_is_none_is_told_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    jpeg = cv2.imencode(".jpg", picture(64, 48, 90))[1].tobytes()
    blue = picture(64, 48)
    blue[:, :, 2] = 250  # of RGB
    events = [
        image_event(0, value=jpeg, metadata={"encoding": "jpeg"}),
        image_event(1, value=b"no picture"),
        image_event(2, value=b"no picture"),
        *(image_event(n, value=blue, metadata={"encoding": "rgb8"}) for n in range(3, 9)),
    ]

    write(tmp_path / "a.avi", events)

    capture = cv2.VideoCapture(str(tmp_path / "a.avi"))
    images = []
    while capture.grab():
        images.append(capture.retrieve()[1])
    assert images[0].mean() == pytest.approx(90, abs=4)
    assert images[-1][24, 32].tolist() == pytest.approx([250, 0, 0], abs=12)
    assert [text for text in caplog.messages if "left out" in text] == [
        text for text in caplog.messages if text.endswith("left out, and not said again")
    ]
    assert "2 samples were no pictures" in caplog.messages


class FullDisk:
    """Makes the n-th fragment that is written from now on fail."""

    def __init__(self, monkeypatch, failing) -> None:
        self._add = Mp4File.add
        self._left = failing
        monkeypatch.setattr(Mp4File, "add", lambda *arguments: self(*arguments))

    def __call__(self, *arguments) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._add(*arguments)


def test_full_disk_ends_the_node_with_a_clear_word(tmp_path, monkeypatch):
    FullDisk(monkeypatch, 3)

    with pytest.raises(DiskFullError, match=r"drive\.mp4: the disk is full; the video can be"):
        write(tmp_path / "drive.mp4", [image_event(n) for n in range(100)])


def test_full_disk_costs_the_oldest_video_where_only_some_are_kept(tmp_path, monkeypatch, caplog):
    # Two files of 60 s have a fragment a second; the disk is full in the third one.
    FullDisk(monkeypatch, 150)

    write(
        tmp_path / "drive.mp4",
        [image_event(n, step_ms=500) for n in range(500)],
        split_minutes=1,
        keep=10,
    )

    names = {one.name for one in tmp_path.iterdir()}
    assert "drive.mp4" in names and "drive-2.mp4" in names and len(names) >= 4
    assert length_s(tmp_path / "drive-2.mp4") == pytest.approx(60.0, rel=0.02)
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("full_at", [2, 3, 4])
def test_disk_that_is_full_at_the_end_of_a_part_costs_the_oldest_one(
    tmp_path, monkeypatch, caplog, full_at
):
    ended: list[Path] = []

    class FullAtEnd(SteadyVideo):
        """One whose last pictures find no room."""

        def close(self):
            path = super().close()
            ended.append(path)
            if len(ended) == full_at:
                raise DiskFullError(f"{path}: the disk is full")
            return path

    monkeypatch.setattr(
        "dora_rt.nodes.video_writer.parts.open_video_file", lambda path, codec: FullAtEnd(path)
    )

    write(
        tmp_path / "drive.avi",
        [image_event(n, step_ms=1000) for n in range(400)],
        split_minutes=1,
        keep=10,
    )

    assert "the disk is full" in caplog.text
    assert len(ended) == 7
    assert len(list(tmp_path.iterdir())) == 6


def test_first_video_that_finds_no_room_is_not_removed_for_itself(tmp_path, monkeypatch):
    class FullAtEnd(SteadyVideo):
        """One whose last pictures find no room."""

        def close(self):
            raise DiskFullError(f"{super().close()}: the disk is full")

    monkeypatch.setattr(
        "dora_rt.nodes.video_writer.parts.open_video_file", lambda path, codec: FullAtEnd(path)
    )

    with pytest.raises(DiskFullError):
        write(
            tmp_path / "drive.avi",
            [image_event(n, step_ms=1000) for n in range(200)],
            split_minutes=1,
            keep=10,
        )

    assert [one.name for one in tmp_path.iterdir()] == ["drive.avi"]


def test_options_come_from_the_file_too_and_keep_needs_split_minutes(capsys):
    options = parse_options([], file_env(SAVE="out/a.mp4", CODEC="mpeg4"))

    assert (str(options.save), options.codec, options.keep) == ("out/a.mp4", "mpeg4", 0)
    with pytest.raises(SystemExit):
        parse_options(["--keep", "3"], {})
    assert "--keep needs --split-minutes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_options(["--save", "out/a.mkv"], {})
    assert "--save out/a.mkv: expected a name that ends in .mp4 or .avi" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_two_writers_of_one_name_do_not_write_into_one_file(tmp_path, suffix):
    path = tmp_path / f"video{suffix}"
    left, right = Parts(path), Parts(path)

    for n in range(20):
        for parts, size in ((left, (64, 48)), (right, (32, 24))):
            parts.add(picture(*size, n), BEGAN_NS + n * 100 * MS)
    left.close()
    right.close()

    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == [f"video-2{suffix}", f"video{suffix}"]
    assert [length_s(tmp_path / name) for name in names] == pytest.approx([2.0, 2.0], rel=0.02)


def test_name_is_taken_before_the_video_has_begun(tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    right = Parts(path)

    def open_late(other, codec):
        # While one of them finds out what it can encode, the other one begins.
        monkeypatch.setattr("dora_rt.nodes.video_writer.parts.open_video_file", open_video_file)
        right.add(picture(32, 24), BEGAN_NS)
        return open_video_file(other, codec)

    monkeypatch.setattr("dora_rt.nodes.video_writer.parts.open_video_file", open_late)
    left = Parts(path)
    left.add(picture(64, 48), BEGAN_NS)
    left.close()
    right.close()

    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["video-2.mp4", "video.mp4"]
    assert all(length_s(tmp_path / name) > 0 for name in names)


def test_video_that_cannot_be_begun_leaves_no_empty_file(tmp_path, monkeypatch):
    def refuse(path, codec):
        raise VideoFileError(f"{path}: no encoder")

    monkeypatch.setattr("dora_rt.nodes.video_writer.parts.open_video_file", refuse)

    with pytest.raises(VideoFileError):
        Parts(tmp_path / "video.mp4").add(picture(64, 48), BEGAN_NS)

    assert not list(tmp_path.iterdir())


def test_files_that_one_part_of_an_avi_needs_are_kept_and_removed_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dora_rt.nodes.video_writer.parts.open_video_file",
        lambda path, codec: SteadyVideo(path, longest_nbytes=20_000),
    )
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)

    write(
        tmp_path / "drive.avi",
        [image_event(n, step_ms=1000, value=noise) for n in range(400)],
        split_minutes=1,
        keep=2,
    )

    assert len(list(tmp_path.iterdir())) <= 4
