"""A model is downloaded whole and unchanged, once, or there is one clear error."""

from __future__ import annotations

import hashlib
import logging
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.models import (
    YOLOX_NANO,
    PublishedModel,
    fetch,
    find_model,
    progress_lines,
)

CONTENT = bytes(range(256)) * 2000


class Shelf(BaseHTTPRequestHandler):
    """Serves CONTENT in the ways that the paths name."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/silent":
            self.server.stopping.wait(30)  # type: ignore[attr-defined]
        else:
            self.send_response(200)
            nbytes = len(CONTENT)
            self.send_header("Content-Length", str(nbytes))
            self.end_headers()
            self._send_body()

    def _send_body(self) -> None:
        match self.path:
            case "/good":
                self.wfile.write(CONTENT)
            case "/truncated":
                self.wfile.write(CONTENT[:300_000])
            case "/changed":
                self.wfile.write(CONTENT[:-1] + b"?")
            case "/trickle":
                for _ in range(200):
                    self.wfile.write(b"x")
                    self.server.stopping.wait(0.02)  # type: ignore[attr-defined]

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.requests: list[str] = []
        self.stopping = threading.Event()
        handler = type("Handler", (Shelf,), {"requests": self.requests})
        super().__init__(("127.0.0.1", 0), handler)

    def model(self, path: str) -> PublishedModel:
        return PublishedModel(
            name="tiny",
            url=f"http://127.0.0.1:{self.server_port}{path}",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            nbytes=len(CONTENT),
            licence="none",
        )

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that gives up in the middle is what some tests want


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopping.set()
        server.shutdown()
        thread.join(30)


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """Let the system refuse to write more than this into a file, as a full disk does."""
    old, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (old, hard))


def no_progress(here_nbytes: int, all_nbytes: int) -> None:
    pass


def assert_refused(model: PublishedModel, cache_dir: Path, said: str, **timeouts: float) -> None:
    """Fail to fetch a model, with a message that names the way out, and leave nothing behind."""
    with pytest.raises(ModelError) as caught:
        fetch(model, cache_dir, no_progress, **timeouts)

    message = str(caught.value)
    assert said in message
    assert f"Download {model.url} by other means" in message
    assert str(cache_dir / "tiny.onnx") in message
    assert "--model" in message
    assert list(cache_dir.iterdir()) == []


def test_download_arrives_under_its_name_and_alone(server: Server, tmp_path: Path) -> None:
    cache_dir = tmp_path / "new" / "cache"

    path = fetch(server.model("/good"), cache_dir, no_progress)

    assert path == cache_dir / "tiny.onnx"
    assert path.read_bytes() == CONTENT
    assert list(cache_dir.iterdir()) == [path]


def test_redirection_is_followed(server: Server, tmp_path: Path) -> None:
    assert fetch(server.model("/moved"), tmp_path, no_progress).read_bytes() == CONTENT
    assert server.requests == ["/moved", "/good"]


def test_second_time_nothing_is_downloaded(server: Server, tmp_path: Path) -> None:
    fetch(server.model("/good"), tmp_path, no_progress)

    fetch(server.model("/good"), tmp_path, no_progress)

    assert server.requests == ["/good"]


def test_file_put_there_by_hand_is_used_without_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)

    assert fetch(server.model("/missing"), tmp_path, no_progress) == tmp_path / "tiny.onnx"
    assert server.requests == []


def test_other_file_of_that_name_is_replaced_and_said(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tiny.onnx").write_bytes(CONTENT[::-1])

    path = fetch(server.model("/good"), tmp_path, no_progress)

    assert path.read_bytes() == CONTENT
    assert "is not the file that was published as tiny" in caplog.text


def test_truncated_download_is_refused(server: Server, tmp_path: Path) -> None:
    assert_refused(
        server.model("/truncated"), tmp_path, "ended after 300000 of the 512000 bytes expected"
    )


def test_download_of_other_bytes_is_refused(server: Server, tmp_path: Path) -> None:
    changed = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()

    assert_refused(server.model("/changed"), tmp_path, f"sha256 {changed}")


def test_download_that_is_too_long_is_refused(server: Server, tmp_path: Path) -> None:
    model = replace(server.model("/good"), nbytes=1000)

    assert_refused(model, tmp_path, "sent more than the 1000 bytes expected")


def test_missing_page_is_refused(server: Server, tmp_path: Path) -> None:
    assert_refused(server.model("/missing"), tmp_path, "answered 404 Not Found")


def test_unreachable_server_is_an_error(server: Server, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/good"

        assert_refused(replace(server.model("/"), url=url), tmp_path, "cannot be reached")


def test_unknown_host_is_an_error(server: Server, tmp_path: Path) -> None:
    model = replace(server.model("/"), url="http://nowhere.invalid/tiny.onnx")

    assert_refused(model, tmp_path, "http://nowhere.invalid/tiny.onnx")


def test_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    assert_refused(server.model("/silent"), tmp_path, "sent nothing for", silence_s=0.2)


def test_trickling_server_is_given_up(server: Server, tmp_path: Path) -> None:
    assert_refused(server.model("/trickle"), tmp_path, "was not here after", download_s=0.3)


def test_full_disk_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with largest_file(100_000):
        assert_refused(server.model("/good"), tmp_path, f"cannot write to {tmp_path}")


def test_cache_directory_that_cannot_be_made_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ModelError, match=r"cannot write to .*: Not a directory.*--model"):
        fetch(server.model("/good"), tmp_path / "file" / "cache", no_progress)


def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    def interrupt(here_nbytes: int, all_nbytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.model("/good"), tmp_path, interrupt)

    assert list(tmp_path.iterdir()) == []


def test_progress_is_one_whole_line_for_each_tenth(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    progress = progress_lines("tiny.onnx")
    for here_nbytes in range(0, 5_000_001, 1000):
        progress(here_nbytes, 5_000_000)

    assert len(caplog.messages) == 11
    assert caplog.messages[4] == "downloading tiny.onnx [####------]  40 % of 4.8 MiB"
    assert caplog.messages[-1] == "downloading tiny.onnx [##########] 100 % of 4.8 MiB"


def test_model_can_be_a_path(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    path.write_bytes(b"")

    assert find_model(str(path), tmp_path / "cache") == path


def test_model_that_is_neither_file_nor_name_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"/yolo_nano.*the names yolox_nano"):
        find_model("yolo_nano", tmp_path)


def test_published_model_is_the_one_of_the_release() -> None:
    assert YOLOX_NANO.nbytes == 3_659_407
    assert YOLOX_NANO.sha256.startswith("c789161e")
    assert YOLOX_NANO.url.startswith("https://github.com/Megvii-BaseDetection/YOLOX/releases/")
