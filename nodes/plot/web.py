"""Serve the picture as a web page, on this machine unless `--host` says otherwise."""

from __future__ import annotations

import errno
import json
import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from dora_rt.errors import DoraRtError

from .feed import MAX_WATCHERS, Feed
from .page import PAGE

logger = logging.getLogger(__name__)

BOUNDARY = "dora-rt-picture"
_PORTS_TRIED = 20
_SOCKET_TIMEOUT_S = 10.0
MAX_CONNECTIONS = MAX_WATCHERS + 24
_ROOM_S = 0.5
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_STREAM_BUFFER_NBYTES = 128 * 1024
_SNAPSHOT_PATIENCE_S = 2.0
_STREAM_PATIENCE_S = 1.0
_CLOSING_TIMEOUT_S = 2.0
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


class WebError(DoraRtError):
    """The web page cannot be served at this address."""


class WebPage:
    """A running web server that shows the pictures of a feed."""

    def __init__(self, server: _Server, feed: Feed) -> None:
        self._server = server
        self._feed = feed
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="web", daemon=True
        )
        self._thread.start()

    @classmethod
    def open(cls, host: str, port: int, feed: Feed) -> WebPage:
        """Serve at `port`, or at the next one that is free; 0 takes any.

        Raises:
            WebError: the address is not of this machine, or no port is free.
        """
        last = port if port == 0 else min(port + _PORTS_TRIED - 1, 65535)
        for candidate in range(port, last + 1):
            try:
                server = _Server((host, candidate), feed)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise WebError(
                        f"--host {host} --port {candidate}: cannot serve there "
                        f"({error.strerror or error}); expected an address of this machine, such "
                        "as 127.0.0.1, and a port from 1024 on"
                    ) from error
                continue
            # The name of this machine may mean 127.0.0.1, and only what is served can be seen.
            if not _is_loopback(str(server.server_address[0])):
                logger.warning("web page: %s lets everybody in the network see the pictures", host)
            return cls(server, feed)
        raise WebError(
            f"--port {port}: none of the ports {port} to {last} is free; "
            "choose another one, or 0 for any"
        )

    @property
    def port(self) -> int:
        """The port that is really used."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address to type into a browser on this machine."""
        host = str(self._server.server_address[0])
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def close(self) -> None:
        """Stop serving; may be called twice."""
        self._feed.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_CLOSING_TIMEOUT_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A watcher that does not read must not keep the node from ending.
    block_on_close = False
    # Of those that connect at once, one that does not fit tries again only a second later.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], feed: Feed) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.feed = feed
        # Each connection has a thread.
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._silent: dict[socket.socket, float] = {}
        """Connections that have not asked for anything yet, the oldest first, and since when."""
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name server for this machine's name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, in the place of one that only waits if there is no other."""
        if not self._room.acquire(blocking=False):
            self._drop_silent(time.monotonic(), most=1)
            if not self._room.acquire(timeout=_ROOM_S):
                with suppress(OSError):
                    request.send(_TURNED_AWAY, socket.MSG_DONTWAIT)
                self.shutdown_request(request)
                return
        self._silent[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # There is no thread to be had.
            self._forget(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def service_actions(self) -> None:
        """End connections that take their time: a byte now and then is no request."""
        self._drop_silent(time.monotonic() - _SOCKET_TIMEOUT_S, most=MAX_CONNECTIONS)

    def note_request(self, request: socket.socket) -> None:
        """Learn that a connection has asked for something."""
        self._silent.pop(request, None)

    def _forget(self, request: socket.socket) -> None:
        self.note_request(request)
        self._room.release()

    def _drop_silent(self, since: float, *, most: int) -> None:
        """Hang up on those that are silent since then or longer, the oldest first."""
        for request, began in list(self._silent.items())[:most]:
            if began > since:
                break
            self.note_request(request)
            # Its thread reads an end of file, and ends.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that is closed in the middle of a picture is no event.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            logger.exception("web page: a request failed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "dora_rt"
    sys_version = ""
    timeout = _SOCKET_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer a GET or HEAD."""
        self.server.note_request(self.connection)
        try:
            is_meant_for_us = self._is_meant_for_us()
            path = urlsplit(self.path).path
        except ValueError:
            self._send_text(HTTPStatus.BAD_REQUEST, "the header Host or the path is no address")
            return
        if not is_meant_for_us:
            self._send_text(
                HTTPStatus.FORBIDDEN,
                f"this page is served for {self.server.server_name} only; "
                "start plot with --host to serve it under other names",
            )
            return
        match path:
            case "/" | "/index.html":
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.encode())
            case "/status.json":
                feed = self.server.feed
                status = json.dumps({**feed.status.as_dict(), "watchers": feed.watchers})
                self._send(HTTPStatus.OK, "application/json", status.encode())
            case "/snapshot.jpg":
                self._send_snapshot()
            case "/stream.mjpg":
                self._send_stream()
            case _:
                self._send_text(
                    HTTPStatus.NOT_FOUND,
                    f"there is no {path}; there are /, /stream.mjpg, /snapshot.jpg, /status.json",
                )

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Refuse: this page only shows."""
        # The body is not read, so the connection is of no further use.
        self._send_text(
            HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are allowed", Allow="GET, HEAD"
        )

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Log requests at DEBUG: they are for developers only."""
        logger.debug("web page: %s: %s", self.client_address[0], format % args)

    def _is_meant_for_us(self) -> bool:
        """Refuse foreign host names, by which other web pages could read this one's pictures."""
        if not _is_loopback(self.server.server_name):
            return True
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return name is None or _is_loopback(name)

    def _send_snapshot(self) -> None:
        found = self.server.feed.next_jpeg(0, _SNAPSHOT_PATIENCE_S)
        if found is None:
            self._send_text(HTTPStatus.SERVICE_UNAVAILABLE, "there is no picture yet")
        else:
            self._send(HTTPStatus.OK, "image/jpeg", found[1])

    def _send_stream(self) -> None:
        content_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if self.command == "HEAD":
            self._send_head(HTTPStatus.OK, {"Content-Type": content_type})
            return
        with self.server.feed.watching() as is_allowed:
            if not is_allowed:
                self._send_text(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{MAX_WATCHERS} watch already, and no more can",
                    **{"Retry-After": "5"},
                )
                return
            # What waits in the socket's buffer grows old: keep it to a picture or two.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_BUFFER_NBYTES)
            self._send_head(HTTPStatus.OK, {"Content-Type": content_type})
            self._send_pictures(self.server.feed)

    def _send_pictures(self, feed: Feed) -> None:
        number = 0
        # Browsers show a part when the next boundary comes, so it is sent with each picture.
        self.wfile.write(f"--{BOUNDARY}\r\n".encode())
        while not feed.is_closed:
            found = feed.next_jpeg(number, _STREAM_PATIENCE_S)
            if found is None:
                if self._has_hung_up():
                    return
                continue
            number, jpeg = found
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(b"".join((head.encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode())))

    def _has_hung_up(self) -> bool:
        """Return whether the browser closed the connection, which otherwise only a write shows."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _send_text(self, status: HTTPStatus, text: str, **headers: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(), **headers)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes, **headers: str) -> None:
        length = {"Content-Type": content_type, "Content-Length": str(len(body))}
        self._send_head(status, {**length, **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
