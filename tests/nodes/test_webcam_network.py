from __future__ import annotations

import base64
import itertools
import logging
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from dora_rt.nodes.webcam.capture import CameraFormat, CameraUnavailableError
from dora_rt.nodes.webcam.network import NetworkSource, SnapshotCapture
from dora_rt.nodes.webcam.sources import open_source, parse_source

from tests.harness.waiting import eventually
from tests.nodes.node_helpers import FakeCapture, FakeTime, picture

LOGIN = base64.b64encode(b"admin:SEC#RET").decode()


def jpeg(value, width=64, height=48):
    return cv2.imencode(".jpg", picture(width, height, value))[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    """Serves the pages of its server: by path, the kind and the bytes, or a function of them."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        kind, content = self.server.pages.get(self.path.partition("?")[0], (None, b""))
        if kind is None:
            self.send_error(404)
            return
        if self.path.startswith("/private") and LOGIN not in self.headers.get("Authorization", ""):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = content() if callable(content) else content
        if not isinstance(content, bytes):
            self.stream(kind, content)
            return
        begin, end = 0, len(content)
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            begin, end = int(first), int(last) + 1 if last else end
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - begin))
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        self.end_headers()
        try:
            self.wfile.write(content[begin:end])
        except ConnectionError:
            self.close_connection = True

    def stream(self, kind, parts) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(part)
        except ConnectionError:
            pass
        self.close_connection = True

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.asked = {}, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for n in range(10):
        writer.write(picture(64, 48, 20 * n))
    writer.release()
    return path.read_bytes()


def take(source, limit=100):
    values = []
    while not source.is_finished and len(values) < limit:
        with source.frame(5.0, newest=False) as frame:
            if frame is not None:
                slot = np.empty(frame.shape, np.uint8)
                frame.fill(slot)
                values.append((frame.number, round(float(slot.mean()) / 20) * 20))
    return values


def test_video_behind_a_url_is_a_recording_with_its_own_pace_and_end(server, clip, caplog):
    caplog.set_level(logging.INFO)
    server.pages["/clip.avi"] = ("video/x-msvideo", clip)

    with closing(open_source(parse_source(f"{server.url}/clip.avi"), CameraFormat())) as source:
        values = take(source)

    assert values == [(n, 20 * n) for n in range(10)]
    assert source.is_finished
    assert caplog.messages == [
        f"video {server.url}/clip.avi: 64x48, 25 fps, 0.4 s by its header, played at its own pace"
    ]


def test_video_behind_a_url_is_played_in_a_loop_at_the_rate_and_size_asked_for(server, clip):
    server.pages["/clip.avi"] = ("application/octet-stream", clip)
    wanted = CameraFormat(width=32, fps=0.0)

    source = open_source(parse_source(f"{server.url}/clip.avi"), wanted, loop=True)
    with closing(source):
        values = take(source, 25)
        with source.frame(5.0, newest=False) as frame:
            assert frame.shape == (24, 32, 3)

    assert values == [(n, 20 * (n % 10)) for n in range(25)]


def test_picture_behind_a_url_is_sent_once_and_says_how_to_get_more(server, caplog):
    caplog.set_level(logging.INFO)
    server.pages["/snap.jpg"] = ("image/jpeg", jpeg(80))

    with closing(open_source(parse_source(f"{server.url}/snap.jpg"), CameraFormat())) as source:
        values = take(source)

    assert values == [(0, 80)]
    assert source.is_finished
    assert caplog.messages == [
        f"{server.url}/snap.jpg: one picture, which is sent once; with --loop or --fps it is "
        "fetched again and again"
    ]


def test_snapshot_is_fetched_again_and_again_at_the_rate_asked_for(server):
    shades = itertools.count(1)
    server.pages["/snap"] = ("application/octet-stream", lambda: jpeg(20 * (next(shades) % 10)))
    wanted = CameraFormat(fps=200.0)

    with closing(open_source(parse_source(f"{server.url}/snap"), wanted)) as source:
        values = take(source, 4)

    assert len({value for _, value in values}) == 4
    assert not source.is_finished


def test_motion_jpeg_behind_a_url_stays_a_live_camera(server):
    def parts():
        for n in itertools.count():
            picture_bytes = jpeg(20 * (n % 10))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture_bytes)}"
            yield f"{head}\r\n\r\n".encode() + picture_bytes + b"\r\n"

    server.pages["/video"] = ("multipart/x-mixed-replace; boundary=frame", parts)

    source = open_source(parse_source(f"{server.url}/video"), CameraFormat())
    with closing(source):
        values = take(source, 20)

        assert len(values) == 20
        assert source._source is source._camera
        assert not source.is_finished


def test_user_name_and_password_of_a_picture_are_sent_and_not_logged(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.pages["/private.jpg"] = ("image/jpeg", jpeg(120))
    url = f"{server.url}/private.jpg".replace("://", "://admin:SEC%23RET@")

    with closing(open_source(parse_source(url), CameraFormat())) as source:
        values = take(source)

    assert values == [(0, 120)]
    assert "SEC" not in caplog.text


def test_snapshots_are_fetched_no_faster_than_asked_for():
    time = FakeTime()
    pictures = iter([jpeg(40), None, jpeg(60)])
    capture = SnapshotCapture(
        "cam", jpeg(20), lambda: next(pictures), 2.0, clock=time.clock, sleep=time.sleep
    )

    grabbed = [capture.grab() for _ in range(4)]

    assert grabbed == [True, True, False, True]
    assert time.slept == [0.5, 0.5, 0.5]
    assert capture.retrieve()[1].mean() == pytest.approx(60, abs=2)


def test_snapshots_have_the_size_that_was_asked_for_as_recordings_have():
    capture = SnapshotCapture("cam", jpeg(20), lambda: jpeg(30), 0, (32, None))

    shapes = [capture.grab() and capture.retrieve()[1].shape for _ in range(2)]

    assert shapes == [(24, 32, 3)] * 2
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 32


def test_stream_without_length_stays_a_camera_that_is_waited_for():
    live = FakeCapture([picture(64, 48, 9)] * 3)
    live.properties[cv2.CAP_PROP_FRAME_COUNT] = -2.767e17
    openings = iter([live])

    def open_url(url):
        for capture in openings:
            return capture
        raise CameraUnavailableError("no video stream answers there")

    source = NetworkSource("rtsp://cam/1", CameraFormat(), open_url=open_url)
    with closing(source):
        with source.frame(5.0, newest=True) as frame:
            assert frame is not None
        eventually(lambda: live.is_released)
        assert not source.is_finished


@pytest.mark.parametrize(
    ("url", "shown", "is_hinted"),
    [
        (
            "http://127.0.0.1:9/videostream.cgi?user=admin&pwd=SECRET1",
            "http://127.0.0.1:9/videostream.cgi?user=admin&pwd=***",
            False,
        ),
        ("rtsp://admin:SECR#ET2@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream", True),
        ("rtsp://admin:SEC/RET3@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream", True),
        ("rtsp://admin:SEC[RET4@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream", True),
        ("http://admin:SEC[RET6@127.0.0.1:9/stream", "http://127.0.0.1:9/stream", True),
        ("rtsp://admin:SECRETFIVE@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream", False),
    ],
)
def test_password_never_reaches_the_log_and_one_that_must_be_encoded_is_told(
    url, shown, is_hinted, caplog, capfd
):
    caplog.set_level(logging.DEBUG)

    with closing(open_source(parse_source(url), CameraFormat())):
        eventually(lambda: f"camera {shown}: cannot be opened" in caplog.text)

    assert "SEC" not in caplog.text and "RET" not in caplog.text
    assert ("percent-encoded (%23 for #" in caplog.text) is is_hinted
    written = capfd.readouterr()
    assert "SEC" not in written.out + written.err
