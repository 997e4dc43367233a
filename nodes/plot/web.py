"""Serve the picture as a web page, on this machine unless `--host` says otherwise."""

from __future__ import annotations

import json
import logging
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from ..web_server import (
    SOCKET_TIMEOUT_S,
    PageServer,
    RunningServer,
    is_loopback,
    start_server,
)
from .feed import MAX_WATCHERS, Feed
from .page import PAGE

logger = logging.getLogger(__name__)

BOUNDARY = "dora-rt-picture"
MAX_CONNECTIONS = MAX_WATCHERS + 24
_STREAM_BUFFER_NBYTES = 128 * 1024
_SNAPSHOT_PATIENCE_S = 2.0
_STREAM_PATIENCE_S = 1.0
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


class WebPage:
    """A running web server that shows the pictures of a feed."""

    def __init__(self, server: RunningServer, feed: Feed) -> None:
        self._server = server
        self._feed = feed

    @classmethod
    def open(cls, host: str, port: int, feed: Feed) -> WebPage:
        """Serve at `port`, or at the next one that is free; 0 takes any.

        Raises:
            WebServerError: the address is not of this machine, or no port is free.
        """
        server = start_server(host, port, lambda address: _Server(address, feed))
        if server.is_seen_by_others:
            logger.warning("web page: %s lets everybody in the network see the pictures", host)
        return cls(server, feed)

    @property
    def port(self) -> int:
        """The port that is really used."""
        return self._server.port

    @property
    def url(self) -> str:
        """The address to type into a browser on this machine."""
        return self._server.url

    def close(self) -> None:
        """Stop serving; may be called twice."""
        self._feed.close()
        self._server.close()


class _Server(PageServer):
    def __init__(self, address: tuple[str, int], feed: Feed) -> None:
        self.feed = feed
        super().__init__(address, _Handler, most_connections=MAX_CONNECTIONS)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "dora_rt"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_S

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
        if not is_loopback(self.server.server_name):
            return True
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return name is None or is_loopback(name)

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
