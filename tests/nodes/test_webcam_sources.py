from __future__ import annotations

import itertools
import logging
import os
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from dora_rt.nodes.webcam import parse_options
from dora_rt.nodes.webcam.camera import Camera
from dora_rt.nodes.webcam.capture import CameraFormat, CameraUnavailableError, open_device
from dora_rt.nodes.webcam.frame import SourceError
from dora_rt.nodes.webcam.recordings import SceneSource
from dora_rt.nodes.webcam.scene import SceneOptions
from dora_rt.nodes.webcam.sources import (
    EXPECTED,
    Auto,
    Device,
    PictureFiles,
    Pipeline,
    Stream,
    Synthetic,
    Video,
    open_auto,
    open_source,
    parse_source,
)

from tests.nodes.node_helpers import FakeCapture, file_env, picture


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("auto", Auto(SceneOptions())),
        ("0", Device(Path("/dev/video0"))),
        ("12", Device(Path("/dev/video12"))),
        ("/dev/video2", Device(Path("/dev/video2"))),
        ("/dev/v4l/by-id/usb-cam", Device(Path("/dev/v4l/by-id/usb-cam"))),
        ("rtsp://cam/stream", Stream("rtsp://cam/stream")),
        ("http://cam/video.mjpg", Stream("http://cam/video.mjpg")),
        ("v4l2src ! appsink", Pipeline("v4l2src ! appsink")),
        (
            "rtspsrc location=rtsp://cam ! appsink",
            Pipeline("rtspsrc location=rtsp://cam ! appsink"),
        ),
        ("test://scene?seed=3", Synthetic(SceneOptions(seed=3))),
    ],
)
def test_text_decides_the_kind_of_source(text, source):
    assert parse_source(text) == source


def test_files_and_folders_are_told_apart(tmp_path):
    (tmp_path / "b.png").touch()
    (tmp_path / "a.JPG").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "drive.mp4").touch()

    assert parse_source(str(tmp_path)) == PictureFiles((tmp_path / "a.JPG", tmp_path / "b.png"))
    assert parse_source(str(tmp_path / "b.png")) == PictureFiles((tmp_path / "b.png",))
    assert parse_source(f"file://{tmp_path}/drive.mp4") == Video(tmp_path / "drive.mp4")


def test_missing_file_is_named_with_what_would_be_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SourceError) as raised:
        parse_source("drive.mp4")

    assert str(raised.value) == (
        f"--source 'drive.mp4': there is no file or folder {tmp_path}/drive.mp4; "
        f"expected {EXPECTED}"
    )


def test_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(SourceError) as raised:
        parse_source(str(tmp_path))

    assert str(raised.value) == (
        f"--source '{tmp_path}': the folder {tmp_path} has no pictures "
        "(.bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp)"
    )


def test_wrong_scene_option_is_named():
    with pytest.raises(SourceError, match=r"^--source test://scene\?sed=1: unknown option 'sed'"):
        parse_source("test://scene?sed=1")


def test_device_that_is_not_there_can_come_later(tmp_path):
    with pytest.raises(CameraUnavailableError, match="there is no such device"):
        open_device(tmp_path / "video7", CameraFormat())


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_pipeline_without_gstreamer_is_an_error_with_a_way_out():
    source = open_source(parse_source("v4l2src ! appsink"), CameraFormat())

    with (
        closing(source),
        pytest.raises(SourceError, match="built without GStreamer, as all of pip's are; use"),
        source.frame(5.0, newest=True),
    ):
        pass


def test_auto_without_a_camera_is_the_scene_and_says_so_in_one_line(tmp_path, caplog):
    caplog.set_level(logging.INFO, "dora_rt.nodes.webcam.sources")

    source = open_source(Auto(SceneOptions()), CameraFormat(), devices=tmp_path)

    assert isinstance(source, SceneSource)
    assert caplog.messages == [
        "source: no camera (there is no /dev/video*), so the synthetic one, test://scene",
        "scene: 640x480 at 30 fps, seed 0, 6 objects, without end",
    ]


def test_auto_gives_the_scene_the_size_and_rate_asked_for(caplog):
    caplog.set_level(logging.INFO)

    with open_auto(CameraFormat(320, 240, 0), [], SceneOptions()).frame(1.0, newest=False) as frame:
        assert frame.shape == (240, 320, 3)

    assert "scene: 320x240 at full speed" in caplog.messages[1]


def test_auto_takes_the_first_camera_that_gives_a_frame(caplog):
    caplog.set_level(logging.INFO)
    silent = FakeCapture([])
    good = FakeCapture(itertools.chain([None], (picture(64, 48, 9) for _ in itertools.count())))
    prepared = {"video0": silent, "video2": good}
    opened = []

    def open_one(path: Path, wanted: CameraFormat) -> FakeCapture:
        opened.append(path.name)
        if path.name == "video1":
            raise CameraUnavailableError("no permission")
        return prepared[path.name]

    paths = [Path(f"/dev/video{n}") for n in range(4)]
    with closing(open_auto(CameraFormat(), paths, SceneOptions(), open_one)) as source:
        assert isinstance(source, Camera)
        with source.frame(5.0, newest=True) as frame:
            slot = np.empty(frame.shape, np.uint8)
            frame.fill(slot)

    assert (slot == 9).all()
    assert opened == ["video0", "video1", "video2"]
    assert silent.is_released
    assert caplog.messages[0] == "source: camera /dev/video2"


def test_auto_says_why_each_camera_was_not_taken(caplog):
    caplog.set_level(logging.INFO)

    def open_one(path: Path, wanted: CameraFormat) -> FakeCapture:
        if path.name == "video0":
            raise CameraUnavailableError("no permission")
        return FakeCapture([])

    open_auto(CameraFormat(), [Path("/dev/video0"), Path("/dev/video1")], SceneOptions(), open_one)

    assert caplog.messages[0] == (
        "source: no camera (/dev/video0: no permission; /dev/video1: it opens, but gives no "
        "frame), so the synthetic one, test://scene"
    )


@pytest.mark.parametrize("text", ["rtsp:/admin:SECRET@cam/1", "admin:SECRET@cam/1"])
def test_mistyped_url_does_not_show_its_password(text):
    with pytest.raises(SourceError, match="there is no file or folder") as raised:
        parse_source(text)

    assert "SECRET" not in str(raised.value)


def test_pictures_of_a_folder_are_in_natural_order(tmp_path):
    for n in (1, 2, 9, 10, 11, 100):
        (tmp_path / f"frame{n}.jpg").touch()

    source = parse_source(str(tmp_path))

    assert [path.stem for path in source.paths] == [f"frame{n}" for n in (1, 2, 9, 10, 11, 100)]


def test_hidden_files_and_folders_are_no_pictures(tmp_path):
    for name in ("IMG_1.jpg", "._IMG_1.jpg", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()

    assert parse_source(str(tmp_path)).paths == (tmp_path / "IMG_1.jpg",)


def test_pictures_and_videos_that_are_left_out_of_a_folder_are_named(tmp_path, caplog):
    for name in ("a.jpg", "b.HEIC", "c.heic", "d.avif", "e.mp4", "notes.txt", "._b.HEIC"):
        (tmp_path / name).touch()

    source = parse_source(str(tmp_path))

    assert source.paths == (tmp_path / "a.jpg",)
    assert caplog.messages == [
        f"{tmp_path}: left out: 1 .avif file (OpenCV cannot read them, make JPEGs of them first, "
        "such as by `magick IN OUT.jpg`), 2 .heic files (OpenCV cannot read them, make JPEGs of "
        "them first, such as by `heif-convert IN.HEIC OUT.jpg`), 1 .mp4 file (name a video itself "
        "as --source)"
    ]


def test_folder_of_heic_pictures_says_what_to_do(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()

    with pytest.raises(SourceError, match=r"has no pictures .* but 1 \.heic file .*heif"):
        parse_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"OpenCV cannot read \.heic pictures; make"):
        parse_source(str(tmp_path / "IMG_1.HEIC"))


def test_file_url_may_be_percent_encoded(tmp_path):
    (tmp_path / "my drive.mp4").touch()

    assert parse_source(f"file://{tmp_path}/my%20drive.mp4") == Video(tmp_path / "my drive.mp4")


def test_scene_gets_the_size_that_is_asked_for_and_says_that_a_codec_changes_nothing(caplog):
    wanted = CameraFormat(width=320, height=240, fourcc="MJPG")

    with open_source(parse_source("test://scene"), wanted).frame(1.0, newest=False) as frame:
        assert frame.shape == (240, 320, 3)

    assert caplog.messages == ["--fourcc MJPG changes nothing: it is asked of cameras only"]


def test_scene_keeps_its_proportions_if_one_side_is_asked_for():
    source = open_source(parse_source("test://scene"), CameraFormat(width=320))

    with source.frame(1.0, newest=False) as frame:
        assert frame.shape == (240, 320, 3)


def test_picture_is_given_in_the_size_that_is_asked_for(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(40, 20, 5))
    source = open_source(parse_source(str(tmp_path / "a.png")), CameraFormat(width=20))

    with source.frame(1.0, newest=False) as frame:
        assert frame.shape == (10, 20, 3)


def test_pictures_open_from_a_folder(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(20, 10, 5))

    source = open_source(parse_source(str(tmp_path)), CameraFormat())

    with source.frame(1.0, newest=False) as frame:
        assert frame.metadata == {"file": "a.png"}


def test_options_come_from_the_command_line_before_env_of_the_file():
    environ = file_env(SOURCE="0", WIDTH="1280", FPS="15", LOOP="true", ENCODING="JPEG")

    options = parse_options(["--source", "1", "--jpeg-quality", "70"], environ)

    assert (options.source, options.width, options.height) == ("1", 1280, None)
    assert (options.fps, options.loop, options.encoding) == (15.0, True, "jpeg")
    assert options.jpeg_quality == 70


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (
            [],
            file_env(FPS="fast"),
            "environment variable FPS=fast: 'fast' is not a number from",
        ),
        ([], file_env(LOOP="maybe"), "environment variable LOOP=maybe: expected true or false"),
        (["--width", "0"], {}, "argument --width: '0' is not a whole number from 16 to 16384"),
        (["--fourcc", "MJPEG"], {}, "argument --fourcc: 'MJPEG' is not four letters"),
        (["--encoding", "png"], {}, "argument --encoding: 'png' is not one of raw, jpeg"),
    ],
)
def test_wrong_option_is_named_with_where_it_stands(argv, environ, message, capsys):
    with pytest.raises(SystemExit) as raised:
        parse_options(argv, environ)

    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_auto_without_a_camera_shows_the_scene_that_fallback_describes(tmp_path):
    wanted = parse_source("auto", "test://scene?seed=11&frames=2&width=320&height=240")

    source = open_source(wanted, CameraFormat(fps=0), devices=tmp_path)

    shapes = []
    while not source.is_finished:
        with source.frame(1.0, newest=False) as frame:
            if frame is not None:
                shapes.append(frame.shape)
    assert shapes == [(240, 320, 3)] * 2


def test_wrong_fallback_is_named():
    with pytest.raises(SourceError, match=r"--fallback test://scene.*'seeed'"):
        parse_source("auto", "test://scene?seeed=1")


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_source_is_not_the_folder_of_the_node(text):
    with pytest.raises(SourceError, match="--source is empty"):
        parse_source(text)


def test_what_is_there_and_is_no_file_is_not_said_to_be_missing(tmp_path):
    fifo = tmp_path / "pictures.jpg"
    os.mkfifo(fifo)

    with pytest.raises(SourceError, match="neither a file nor a folder"):
        parse_source(str(fifo))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("http://", "--source http://: it names no host; expected http://HOST/..."),
        ("rtsp:///live", "--source rtsp:///live: it names no host; expected rtsp://HOST/..."),
        ("rstp://cam/1", "--source rstp://cam/1: nothing can read rstp://; did you mean rtsp://?"),
        ("foo://cam", "--source foo://cam: nothing can read foo://; expected 'auto', a camera"),
    ],
)
def test_url_that_can_never_be_opened_is_refused_and_not_tried_again(source, told):
    with pytest.raises(SourceError) as raised:
        parse_source(source)

    assert str(raised.value).startswith(told)


@pytest.mark.parametrize(
    "url",
    ["rtsp://[::1]:554/live", "RTSP://a:b/c@cam", "hls+http://cam/a.m3u8", "udp://@239.0.0.1:1"],
)
def test_url_that_may_lead_to_a_camera_is_one(url):
    assert parse_source(url) == Stream(url)
