from __future__ import annotations

import errno
import signal
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from dora_rt.nodes.video_output import DiskFullError, VideoFileError, open_video_file
from dora_rt.nodes.video_output.mp4_file import Mp4File, SegmentError, read_segment
from dora_rt.nodes.video_output.steady_video import SteadyVideo
from dora_rt.nodes.video_output.video_file import PictureTimes
from dora_rt.nodes.webcam.played_video import PlayedVideo

from tests.nodes.node_helpers import FakeTime, picture

MS = 1_000_000


def shade(n):
    """A picture that can be told from its neighbours."""
    image = picture(64, 48, 30)
    image[:, : 4 + n % 60] = 220
    return image


def read_shade(image):
    return round(float((image[24, :, 1] > 120).sum())) - 4


def write(path, times_ms, codec="auto"):
    video = open_video_file(path, codec)
    for n, time_ms in enumerate(times_ms):
        video.add(shade(n), 10**12 + round(time_ms * MS))
    return video


def read_back(path):
    """Give the milliseconds of the frames, and which pictures they are."""
    capture = cv2.VideoCapture(str(path))
    times, shades = [], []
    while capture.grab():
        times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
        shades.append(read_shade(capture.retrieve()[1]))
    return times, shades


UNEVEN = [0, 33, 67, 100, 600, 1100, 1133, 4000, 4500, 4533, 4567]


def test_mp4_has_each_picture_at_its_own_time(tmp_path):
    path = tmp_path / "a.mp4"

    assert write(path, UNEVEN).close() == path

    times, shades = read_back(path)
    assert times == UNEVEN
    assert shades == list(range(11))
    assert [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


def test_video_that_was_written_is_played_with_the_same_times(tmp_path):
    write(tmp_path / "a.mp4", UNEVEN).close()
    time = FakeTime()
    began_ns = time.now_ns
    video = PlayedVideo(tmp_path / "a.mp4", clock=time.clock, sleep=time.sleep)

    seconds = []
    while not video.is_finished:
        with video.frame(100.0, newest=False) as frame:
            if frame is not None:
                seconds.append((time.now_ns - began_ns) / 1e9)

    assert seconds == pytest.approx([ms / 1000 for ms in UNEVEN], abs=0.001)


def test_mp4_is_a_plain_one_in_the_end_and_can_be_read_before(tmp_path):
    path = tmp_path / "a.mp4"
    video = write(path, range(0, 5000, 40))

    before = path.read_bytes()
    readable, _ = read_back(path)
    video.close()

    assert 75 <= len(readable) <= 100
    assert _boxes(before)[:4] == ["ftyp", "free", "moov", "moof"]
    assert _boxes(path.read_bytes()) == ["ftyp", "mdat", "moov"]
    assert len(read_back(path)[0]) == 125


def _boxes(content):
    names, position = [], 0
    while position < len(content):
        nbytes, name = struct.unpack_from(">I4s", content, position)
        if nbytes == 1:
            (nbytes,) = struct.unpack_from(">Q", content, position + 8)
        names.append(name.decode())
        position += nbytes
    return names


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from dora_rt.nodes.video_output import open_video_file
video = open_video_file(Path(sys.argv[1]))
noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
for n in range(100):
    video.add(np.roll(noise, n, 1), 10**12 + n * 100_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("suffix", "least"), [(".mp4", 79), (".avi", 80)])
@pytest.mark.programs
def test_video_of_a_killed_process_can_be_read(tmp_path, suffix, least):
    path = tmp_path / f"a{suffix}"

    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], capture_output=True, timeout=50, check=False
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert least <= len(read_back(path)[0]) <= 100


def test_avi_repeats_and_leaves_out_pictures_so_that_its_length_is_right(tmp_path):
    path = tmp_path / "a.avi"
    # 10 a second for a second, a pause of two seconds, then faster than the file.
    times_ms = [*range(0, 1000, 100), *range(3000, 4000, 20)]

    write(path, times_ms).close()

    times, shades = read_back(path)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    assert len(times) in (40, 41)
    assert shades[:10] == list(range(10))
    assert set(shades[10:30]) == {9}
    assert len(set(shades[30:])) in (10, 11)


def test_avi_that_is_too_large_goes_on_in_another_file(tmp_path):
    video = SteadyVideo(tmp_path / "a.avi", longest_nbytes=20_000)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for n in range(100):
        video.add(noise, 10**12 + n * 100 * MS)

    last = video.close()

    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["a-2.avi", "a-3.avi", "a-4.avi", "a.avi"]
    assert last == tmp_path / "a-4.avi"
    assert sum(len(read_back(tmp_path / name)[0]) for name in names) == 100


def test_next_file_of_an_avi_replaces_none_that_is_there(tmp_path):
    precious = tmp_path / "a-2.avi"
    precious.write_bytes(b"precious")
    video = SteadyVideo(tmp_path / "a.avi", longest_nbytes=20_000)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for n in range(40):
        video.add(noise, 10**12 + n * 100 * MS)

    last = video.close()

    assert precious.read_bytes() == b"precious"
    assert last == tmp_path / "a-3.avi"
    assert video.earlier_paths == [tmp_path / "a.avi"]


def test_avi_that_cannot_go_on_in_another_file_is_whole_up_to_there(tmp_path):
    # Its own name is as long as a name may be, and that of the next file would be longer.
    path = tmp_path / f"{'a' * 251}.avi"
    video = SteadyVideo(path, longest_nbytes=20_000)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)

    with pytest.raises(VideoFileError, match="cannot be written: File name too long"):
        for n in range(100):
            video.add(noise, 10**12 + n * 100 * MS)

    assert video.close() == path
    assert video.earlier_paths == []
    assert len(read_back(path)[0]) == 30


def test_long_pause_is_shortened_in_an_avi_and_kept_in_an_mp4(tmp_path, caplog):
    times_ms = [*range(0, 1000, 100), 3_600_000, 3_600_100]

    write(tmp_path / "a.mp4", times_ms).close()
    write(tmp_path / "a.avi", times_ms).close()

    assert read_back(tmp_path / "a.mp4")[0][-1] == 3_600_100
    assert 600 < len(read_back(tmp_path / "a.avi")[0]) < 620
    assert "a pause of 3599 s is shortened to 60 s; .mp4 keeps it" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_second_writer_of_a_file_is_refused_and_harms_no_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    first, second = open_video_file(path), open_video_file(path)
    for n in range(10):
        first.add(shade(n), 10**12 + n * 100 * MS)

    with pytest.raises(VideoFileError, match="another node is writing this file"):
        for n in range(10):
            second.add(shade(n), 10**12 + n * 100 * MS)

    for n in range(10, 20):
        first.add(shade(n), 10**12 + n * 100 * MS)
    first.close()
    assert len(read_back(path)[0]) == 20


def test_h264_that_this_opencv_lacks_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("cv2.VideoWriter.isOpened", lambda self: False, raising=False)
    video = open_video_file(tmp_path / "a.mp4", "h264")

    with pytest.raises(VideoFileError, match="use --codec auto"):
        video.add(shade(1), 10**12)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hours", [7, 14, 200])
def test_mp4_bears_a_pause_that_is_longer_than_its_numbers(tmp_path, hours, caplog):
    hour_ns = 3_600_000_000_000
    path = tmp_path / "a.mp4"
    video = open_video_file(path)
    for at_ns in (0, 100 * MS, hours * hour_ns, hours * hour_ns + 100 * MS):
        video.add(picture(64, 48), 10**12 + at_ns)

    video.close()

    assert len(read_back(path)[0]) == 4
    assert video.duration_s == pytest.approx(6 * 3600, rel=0.001)
    assert "the longest that an MP4 can have" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49), (63, 47), (640, 360)])
def test_video_keeps_its_size_whatever_comes(tmp_path, suffix, width, height):
    path = tmp_path / f"a{suffix}"
    video = open_video_file(path)
    for n in range(40):
        size = (width, height) if n < 10 else (32, 24)
        video.add(picture(*size, 100), n * 100 * MS)
    video.close()

    image = cv2.VideoCapture(str(path)).read()[1]
    assert abs(image.shape[0] - height) <= 1 and abs(image.shape[1] - width) <= 1
    assert len(read_back(path)[0]) == 40


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_single_picture_is_a_video(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", [0]).close()

    assert read_back(tmp_path / f"a{suffix}")[1] == [0]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_video_without_pictures_leaves_no_file(tmp_path, name):
    video = open_video_file(tmp_path / name)

    assert video.close() is None
    assert list(tmp_path.iterdir()) == []


def test_times_always_grow_and_go_on_after_a_change_of_clocks():
    times = PictureTimes()

    assert [times.add(one * MS) for one in (500, 600, 600, 590, 700)] == [
        0,
        100 * MS,
        101 * MS,
        102 * MS,
        200 * MS,
    ]
    assert times.add(900_000 * MS) == 899_500 * MS
    assert times.add(1 * MS) > 899_500 * MS
    assert times.add(101 * MS) - times.last_step_ns == times.last_ns - times.last_step_ns


def test_full_disk_is_said_and_leaves_what_was_written(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    written = []
    write_fragment = Mp4File._write_fragment

    def write_two(self, *arguments):
        written.append(arguments)
        if len(written) <= 2:
            return write_fragment(self, *arguments)
        self._file.write(b"half of a fragment")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Mp4File, "_write_fragment", write_two)
    video = open_video_file(path)
    with pytest.raises(DiskFullError, match=r"a\.mp4: the disk is full; the video can be played"):
        for n in range(150):
            video.add(shade(n), 10**12 + 40 * n * MS)
    with pytest.raises(DiskFullError):
        video.close()

    times, _ = read_back(path)
    assert times == list(range(0, 2000, 40))


def test_disk_that_is_full_at_the_end_leaves_a_video_that_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    video = write(path, range(0, 3000, 40))

    def make_movie(self, *, is_whole):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Mp4File, "_make_movie", make_movie)
    with pytest.raises(DiskFullError):
        video.close()

    assert len(read_back(path)[0]) == 75


@pytest.mark.programs
def test_really_full_disk_is_said(tmp_path):
    script = tmp_path / "fill.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from dora_rt.nodes.video_output import DiskFullError, open_video_file\n"
        "noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)\n"
        "video = open_video_file(Path(sys.argv[1]))\n"
        "try:\n"
        "    for n in range(2000):\n"
        "        video.add(np.roll(noise, n, 1), 10**12 + n * 50_000_000)\n"
        "except DiskFullError as error:\n"
        "    print(error)\n"
        "    try:\n"
        "        video.close()\n"
        "    except DiskFullError:\n"
        "        pass\n"
        "    import cv2\n"
        "    capture, frames = cv2.VideoCapture(sys.argv[1]), 0\n"
        "    while capture.grab():\n"
        "        frames += 1\n"
        "    print(frames > 10, n < 1999)\n"
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    for suffix in (".mp4", ".avi"):
        mount = f"mount -t tmpfs -o size=6m none {disk}"
        command = f'{mount} && exec "$@"'
        words = [sys.executable, str(script), str(disk / f"a{suffix}")]
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", command, "sh", *words],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip("nothing can be mounted here")

        assert "the disk is full; the video can be played up to there" in done.stdout, done.stderr
        assert done.stdout.splitlines()[-1] == "True True"


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x08moov", b"\0\0\0\x20moov\0\0"])
def test_what_is_no_mp4_cannot_be_taken_apart(content):
    with pytest.raises(SegmentError):
        read_segment(content)


def test_pictures_that_are_decoded_in_another_order_keep_their_times(tmp_path):
    # As an encoder with B-frames gives them: shown 0 1 2 3, decoded 0 3 1 2.
    write(tmp_path / "plain.mp4", [0, 33, 67, 100]).close()
    plain = read_segment((tmp_path / "plain.mp4").read_bytes())
    order = (0, 3, 1, 2)
    turned = type(plain)(
        plain.entry,
        tuple(plain.samples[index] for index in order),
        tuple(plain.keys[index] for index in order),
        order,
    )
    path = tmp_path / "turned.mp4"
    file = Mp4File(path.open("wb"), (64, 48))
    file.add(turned, [0, 3000, 6000, 9000], 12000)
    killed = path.read_bytes()
    file.close()

    again = read_segment(path.read_bytes())

    assert again == turned
    assert b"trun" in killed and len(again.samples) == 4


def test_unknown_suffix_and_folders_are_named(tmp_path):
    with pytest.raises(VideoFileError, match=r"'\.gif' is no video; expected \.mp4, \.avi"):
        open_video_file(tmp_path / "a.gif")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(VideoFileError, match="this is a folder"):
        open_video_file(tmp_path / "a.mp4")


def test_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(VideoFileError, match=r"the folder .*/file cannot be made"):
        open_video_file(tmp_path / "file" / "a.mp4")
