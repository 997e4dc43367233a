"""A small web server for the page of a node: few threads, and no visitor can hold it up."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any

from dora_rt.errors import DoraRtError

logger = logging.getLogger(__name__)

SOCKET_TIMEOUT_S = 10.0
"""How long a connection may say nothing; for `timeout` of the handlers."""
_PORTS_TRIED = 20
_ROOM_S = 0.5
_CLOSING_TIMEOUT_S = 2.0
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class WebServerError(DoraRtError):
    """A page cannot be served at this address."""


class PageServer(ThreadingHTTPServer):
    """Serve each connection in a thread of its own, of which there are only so many.

    A handler calls `note_request` when a request has come; connections without one are hung up on
    after `SOCKET_TIMEOUT_S`, or as soon as their place is needed.

    Args:
        address: host and port to serve at; port 0 takes any.
        handler: answers the requests of a connection.
        most_connections: how many connections are served at once.
    """

    daemon_threads = True
    # A watcher that does not read must not keep the node from ending.
    block_on_close = False
    # Of those that connect at once, one that does not fit tries again only a second later.
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        most_connections: int,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._most = most_connections
        # Each connection has a thread.
        self._room = threading.BoundedSemaphore(most_connections)
        self._silent: dict[socket.socket, float] = {}
        """Connections that have not asked for anything yet, the oldest first, and since when."""
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Take the address."""
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
        self._drop_silent(time.monotonic() - SOCKET_TIMEOUT_S, most=self._most)

    def note_request(self, request: socket.socket) -> None:
        """Learn that a connection has asked for something."""
        self._silent.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended a request, if it was not the visitor."""
        # A browser that is closed in the middle of an answer is no event.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            logger.exception("web page: a request failed")

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


class RunningServer:
    """A server that answers in a thread until it is closed."""

    def __init__(self, server: PageServer) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="web", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is really used."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address to type into a browser on this machine, without a path."""
        host = str(self._server.server_address[0])
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    @property
    def is_seen_by_others(self) -> bool:
        """Whether other machines can open it; the name of this one may mean 127.0.0.1."""
        return not is_loopback(str(self._server.server_address[0]))

    def close(self) -> None:
        """Stop serving; may be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_CLOSING_TIMEOUT_S)
        self._server.server_close()


def start_server(
    host: str, port: int, make: Callable[[tuple[str, int]], PageServer]
) -> RunningServer:
    """Serve at `port`, or at the next one that is free; 0 takes any.

    Args:
        host: an address or name of this machine.
        port: the first port to try.
        make: makes the server for an address; an OSError says that it cannot be had.

    Raises:
        WebServerError: the address is not of this machine, or no port is free.
    """
    last = port if port == 0 else min(port + _PORTS_TRIED - 1, 65535)
    for candidate in range(port, last + 1):
        try:
            server = make((host, candidate))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise WebServerError(
                    f"--host {host} --port {candidate}: cannot serve there "
                    f"({error.strerror or error}); expected an address of this machine, such "
                    "as 127.0.0.1, and a port from 1024 on"
                ) from error
            continue
        return RunningServer(server)
    raise WebServerError(
        f"--port {port}: none of the ports {port} to {last} is free; "
        "choose another one, or 0 for any"
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
