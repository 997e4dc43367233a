from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from contextlib import ExitStack, closing

import cv2
import numpy as np
import pytest
from dora_rt.nodes import web_server
from dora_rt.nodes.plot.feed import MAX_WATCHERS, Feed
from dora_rt.nodes.plot.statistics import Status
from dora_rt.nodes.plot.web import BOUNDARY, MAX_CONNECTIONS, WebPage
from dora_rt.nodes.web_server import WebServerError

from tests.harness.waiting import eventually
from tests.nodes.node_helpers import picture


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def page(feed):
    with closing(WebPage.open("127.0.0.1", 0, feed)) as page:
        yield page


def ask(page, path, method="GET", **headers):
    """Give status, headers and body of a whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


class Watcher:
    """A browser that watches the stream."""

    def __init__(self, page) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
        self.connection.request("GET", "/stream.mjpg")
        self.answer = self.connection.getresponse()

    def picture(self):
        """Read one part up to and with the boundary behind it."""
        head = {}
        while (line := self.answer.fp.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            head[name] = value.strip()
        jpeg = self.answer.fp.read(int(head["Content-Length"]))
        assert self.answer.fp.readline() == b"\r\n"
        assert self.answer.fp.readline() == f"--{BOUNDARY}\r\n".encode()
        assert head["Content-Type"] == "image/jpeg"
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)

    def close(self):
        self.answer.close()
        self.connection.close()


def brightness(image):
    return round(float(image.mean()) / 10) * 10


def test_page_is_html_that_needs_nothing_from_elsewhere(page):
    status, headers, body = ask(page, "/")

    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"/stream.mjpg" in body
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in body


def test_head_has_the_headers_of_get_and_no_body(page):
    status, headers, body = ask(page, "/", "HEAD")

    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(page, "/")[2])


def test_status_tells_what_the_loop_published(page, feed):
    feed.publish(picture(64, 48), Status(7, 29.96, 12.34, 11.0, 3, 2, 1, 64, 48))

    status, headers, body = ask(page, "/status.json")

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "frames": 7,
        "fps": 30.0,
        "latency_ms": 12.3,
        "latency_p50_ms": 11.0,
        "objects": 3,
        "drops": 2,
        "without_boxes": 1,
        "width": 64,
        "height": 48,
        "watchers": 0,
    }


def test_snapshot_is_the_newest_picture(page, feed):
    feed.publish(picture(64, 48, 50), Status())
    feed.publish(picture(64, 48, 200), Status())

    status, headers, body = ask(page, "/snapshot.jpg")

    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (48, 64, 3)
    assert brightness(image) == 200


def test_snapshot_before_the_first_picture_says_so(page, monkeypatch):
    monkeypatch.setattr("dora_rt.nodes.plot.web._SNAPSHOT_PATIENCE_S", 0.01)

    status, _, body = ask(page, "/snapshot.jpg")

    assert (status, body) == (503, b"there is no picture yet\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(page, method):
    status, headers, _ = ask(page, "/", method)

    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_unknown_path_names_those_that_exist(page):
    status, _, body = ask(page, "/../etc/passwd?x=1")

    assert status == 404
    assert b"there are /, /stream.mjpg, /snapshot.jpg, /status.json" in body


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 403)],
)
def test_foreign_host_names_are_refused_on_the_loopback_address(page, host, status):
    assert ask(page, "/", Host=host)[0] == status


@pytest.mark.parametrize(
    ("path", "host"), [("/", "["), ("/", "a]b"), ("/", "[::1"), ("http://[/", "127.0.0.1")]
)
def test_address_that_is_none_is_refused(page, path, host, caplog):
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.0 400 ")
    assert answer.endswith(b"the header Host or the path is no address\n")
    assert caplog.records == []


def threads_of_pages() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_those_who_only_connect_take_neither_all_threads_nor_the_room_of_others(page):
    with ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", page.port), timeout=30)
            stack.enter_context(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")

        assert ask(page, "/status.json")[0] == 200
        assert threads_of_pages() <= MAX_CONNECTIONS


def retransmissions(connection: socket.socket) -> int:
    """Tell how many packets were sent again, those that open the connection among them."""
    tcp_info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    total: int = struct.unpack_from("=I", tcp_info, 100)[0]
    return total


def test_many_that_connect_at_once_all_get_in_at_once(page):
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", page.port)))
            for _ in range(100)
        ]

        # Turned away by the kernel, a connection is tried again after a second.
        assert sum(map(retransmissions, connections)) == 0


def test_who_sends_a_byte_now_and_then_is_hung_up_on(page, monkeypatch):
    monkeypatch.setattr(web_server, "SOCKET_TIMEOUT_S", 0.3)
    with socket.create_connection(("127.0.0.1", page.port), timeout=0.02) as connection:
        sent = 0

        def is_over():
            nonlocal sent
            try:
                connection.sendall(b"G")
                sent += 1
                return not connection.recv(1)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(is_over)
    assert sent > 1, "it was not silent"


def test_stream_gives_each_new_picture_as_a_part(page, feed):
    with closing(Watcher(page)) as watcher:
        content_type = watcher.answer.getheader("Content-Type")
        assert content_type == f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        assert watcher.answer.fp.readline() == f"--{BOUNDARY}\r\n".encode()
        feed.publish(picture(64, 48, 50), Status())
        first = watcher.picture()
        feed.publish(picture(64, 48, 200), Status())
        second = watcher.picture()

    assert (brightness(first), brightness(second)) == (50, 200)


def test_stream_begins_with_a_picture_that_is_there_already(page, feed):
    feed.publish(picture(64, 48, 50), Status())

    with closing(Watcher(page)) as watcher:
        watcher.answer.fp.readline()

        assert brightness(watcher.picture()) == 50


def test_nobody_encodes_when_nobody_watches(page, feed):
    for _ in range(100):
        feed.publish(picture(64, 48), Status())

    assert feed.encoded == 0


def test_picture_is_encoded_once_for_all_watchers(page, feed):
    with ExitStack() as stack:
        watchers = [stack.enter_context(closing(Watcher(page))) for _ in range(4)]
        eventually(lambda: feed.watchers == 4)
        feed.publish(picture(64, 48, 50), Status())
        for watcher in watchers:
            watcher.answer.fp.readline()
            watcher.picture()

        assert feed.encoded == 1


def test_one_watcher_too_many_is_told_to_come_later(page, feed):
    with ExitStack() as stack:
        for _ in range(MAX_WATCHERS):
            stack.enter_context(closing(Watcher(page)))
        eventually(lambda: feed.watchers == MAX_WATCHERS)

        status, headers, body = ask(page, "/stream.mjpg")

        assert (status, headers["Retry-After"]) == (503, "5")
        assert body == b"8 watch already, and no more can\n"
        assert ask(page, "/status.json")[0] == 200


def test_watcher_that_leaves_makes_room_and_no_noise(page, feed, caplog, capsys, monkeypatch):
    monkeypatch.setattr("dora_rt.nodes.plot.web._STREAM_PATIENCE_S", 0.01)
    watcher = Watcher(page)
    eventually(lambda: feed.watchers == 1)

    watcher.close()

    eventually(lambda: feed.watchers == 0)
    assert caplog.text == ""
    assert capsys.readouterr().err == ""


def test_watcher_that_leaves_amid_pictures_makes_no_noise(page, feed, caplog, capsys):
    watcher = Watcher(page)
    eventually(lambda: feed.watchers == 1)
    watcher.close()

    def publish_until_gone():
        feed.publish(picture(640, 480), Status())
        return feed.watchers == 0

    eventually(publish_until_gone)
    assert caplog.text == ""
    assert capsys.readouterr().err == ""


def test_watcher_that_does_not_read_slows_neither_the_loop_nor_the_others(page, feed):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (480, 640, 3), np.uint8)
    with closing(socket.create_connection(("127.0.0.1", page.port))) as stuck:
        stuck.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: feed.watchers == 1)
        with closing(Watcher(page)) as quick:
            quick.answer.fp.readline()
            encoded_when_stuck = 40
            while feed.encoded < encoded_when_stuck:
                feed.publish(noise, Status())
                assert quick.picture().shape == (480, 640, 3)

    assert feed.encoded >= encoded_when_stuck


def test_watcher_gets_the_newest_picture_and_not_those_it_missed(feed):
    for value in range(0, 200, 10):
        feed.publish(picture(64, 48, value), Status())

    number, jpeg = feed.next_jpeg(0, 1.0)

    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert number == 20
    assert brightness(image) == 190
    assert feed.next_jpeg(number, 0.0) is None


def test_pictures_are_encoded_thirty_times_a_second_at_most():
    now_ns = [10**9]
    feed = Feed(lambda: now_ns[0])
    for _ in range(1000):
        feed.publish(picture(16, 16), Status())
        feed.next_jpeg(0, 0.0)
        now_ns[0] += 1_000_000

    assert feed.encoded <= 31


def test_canvas_is_never_one_that_is_shown_or_being_encoded(feed):
    first = feed.canvas((48, 64, 3))
    feed.publish(first, Status())
    second = feed.canvas((48, 64, 3))
    feed.publish(second, Status())

    assert second is not first
    assert feed.canvas((48, 64, 3)) is first
    assert feed.canvas((24, 32, 3)).shape == (24, 32, 3)


def test_close_lets_waiting_watchers_go(feed):
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(feed.next_jpeg(0, 30.0)))
    waiting.start()

    feed.close()
    waiting.join(30)

    assert answers == [None]


def test_page_can_be_closed_twice_while_somebody_watches(feed):
    page = WebPage.open("127.0.0.1", 0, feed)
    with closing(Watcher(page)):
        page.close()
        page.close()


def test_taken_port_is_followed_by_the_next_free_one(feed):
    with (
        closing(WebPage.open("127.0.0.1", 0, Feed())) as taken,
        closing(WebPage.open("127.0.0.1", taken.port, feed)) as page,
    ):
        assert taken.port < page.port < taken.port + 20
        assert page.url == f"http://127.0.0.1:{page.port}"


def test_address_of_another_machine_is_named_with_a_way_out(feed):
    with pytest.raises(
        WebServerError, match=r"--host 192\.0\.2\.1 --port 8080: cannot serve there"
    ):
        WebPage.open("192.0.2.1", 8080, feed)


def test_name_that_means_this_machine_alone_is_not_warned_of(feed, caplog, monkeypatch):
    # What getaddrinfo says of the name of a machine in many an /etc/hosts.
    bind = socket.socket.bind
    monkeypatch.setattr(
        socket.socket, "bind", lambda one, address: bind(one, ("127.0.0.1", address[1]))
    )
    with closing(WebPage.open("robot", 0, feed)):
        assert caplog.messages == []


def test_address_that_cannot_be_served_is_not_warned_of(feed, caplog):
    with pytest.raises(WebServerError):
        WebPage.open("192.0.2.1", 8080, feed)

    assert caplog.messages == []


def test_address_for_the_whole_network_is_warned_of(feed, caplog):
    with closing(WebPage.open("0.0.0.0", 0, feed)) as page:
        assert page.url == f"http://127.0.0.1:{page.port}"
        assert ask(page, "/", Host="robot.local")[0] == 200

    assert caplog.messages == ["web page: 0.0.0.0 lets everybody in the network see the pictures"]
