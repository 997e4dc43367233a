from __future__ import annotations

import errno
import os
import subprocess
import sys

import cv2
import pytest
from dora_rt.nodes.plot import parse_options
from dora_rt.nodes.plot.output import Output, can_open_window, choose_output
from dora_rt.nodes.plot.saving import SaveError, open_saver
from dora_rt.nodes.video_output.mp4_file import Mp4File

from tests.nodes.node_helpers import FakeTime, file_env, picture

MS = 1_000_000


@pytest.mark.parametrize(
    ("wanted", "environ", "has_gui", "opens", "output"),
    [
        ("auto", {"DISPLAY": ":0"}, True, True, "window"),
        ("auto", {"WAYLAND_DISPLAY": "wayland-0"}, True, True, "window"),
        ("auto", {"DISPLAY": ":0", "CI": "false"}, True, True, "window"),
        ("auto", {"DISPLAY": ":0", "CI": "true"}, True, True, "web"),
        ("auto", {"DISPLAY": ":0"}, False, True, "web"),
        ("auto", {"DISPLAY": ":0"}, True, False, "web"),
        ("auto", {"DISPLAY": ""}, True, True, "web"),
        ("auto", {}, True, True, "web"),
        ("window", {"DISPLAY": ":0"}, True, True, "window"),
        ("window", {"DISPLAY": ":0", "CI": "true"}, True, True, "web"),
        ("window", {}, True, True, "web"),
        ("web", {"DISPLAY": ":0"}, True, True, "web"),
        ("file", {"DISPLAY": ":0"}, True, True, "file"),
        ("none", {"DISPLAY": ":0"}, True, True, "none"),
    ],
)
def test_output_is_a_window_only_where_one_can_be(wanted, environ, has_gui, opens, output):
    choice = choose_output(Output(wanted), environ, has_gui=has_gui, can_open_window=lambda: opens)

    assert choice.output is Output(output)


@pytest.mark.programs
def test_display_that_does_not_answer_is_noticed_and_survived(monkeypatch):
    monkeypatch.setenv("DISPLAY", "127.0.0.1:95")
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)

    assert not can_open_window()


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
@pytest.mark.parametrize("burst", [0, 3, 5, 6, 10])
def test_video_lasts_as_long_as_its_pictures_however_fast_they_came_here(tmp_path, suffix, burst):
    time = FakeTime()
    saver = open_saver(tmp_path / f"all{suffix}", time.clock)
    origin_ns = time.now_ns
    for n in range(300):
        # Those that waited while plot started come 5 ms apart.
        time.now_ns += (5 if n < burst else 33) * MS
        saver.add(picture(64, 48, n % 250), origin_ns + n * 1_000_000_000 // 30)

    path = saver.close()

    capture = cv2.VideoCapture(str(path))
    fps, frames = capture.get(cv2.CAP_PROP_FPS), 0
    while capture.grab():
        frames += 1
    assert frames / fps == pytest.approx(10.0, rel=0.01)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_pictures_without_an_origin_are_saved_by_the_time_they_came(tmp_path):
    time = FakeTime()
    saver = open_saver(tmp_path / "all.mp4", time.clock)
    for n in range(11):
        saver.add(picture(64, 48, n), 0)
        time.now_ns += 200 * MS
    saver.close()

    assert cv2.VideoCapture(str(tmp_path / "all.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)


def test_full_disk_ends_the_video_and_not_the_view(tmp_path, monkeypatch, caplog):
    saver = open_saver(tmp_path / "all.mp4", FakeTime().clock)

    def add(self, segment, ticks, end_ticks):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Mp4File, "add", add)
    for n in range(100):
        saver.add(picture(64, 48), 1 + n * 100 * MS)
    saver.close()

    assert caplog.messages == [
        f"--save {tmp_path}/all.mp4: the disk is full; the video can be played up to there; make "
        "room, or write elsewhere"
    ]


@pytest.mark.parametrize("name", ["last.png", "all.mp4"])
def test_nothing_shown_saves_nothing(tmp_path, name):
    assert open_saver(tmp_path / name).close() is None
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix_is_named_with_those_that_work(tmp_path):
    with pytest.raises(SaveError) as raised:
        open_saver(tmp_path / "last.gif")

    assert str(raised.value) == (
        f"--save {tmp_path}/last.gif: '.gif' is neither a picture nor a video; "
        "expected .png, .jpg, .jpeg, .mp4, .avi"
    )


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SaveError, match=r"the folder .*/file/deep cannot be made"):
        open_saver(tmp_path / "file" / "deep" / "last.png")


def test_options_of_plot_come_from_env_of_the_file_too(tmp_path):
    options = parse_options([], file_env(OUTPUT="none", PORT="0", SAVE="out/last.png"))

    assert (options.output, options.port, str(options.save)) == ("none", 0, "out/last.png")


def test_output_file_without_a_path_is_an_error(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--output", "file"], {})

    assert "--output file needs --save PATH" in capsys.readouterr().err


@pytest.mark.parametrize("node", ["webcam", "plot"])
@pytest.mark.programs
def test_node_outside_a_dataflow_says_how_it_is_to_be_started(node):
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DORA")}

    done = subprocess.run(
        [sys.executable, "-m", f"dora_rt.nodes.{node}"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout.startswith("Node() works only in a program that dora-launch started")
    assert done.stderr == ""
