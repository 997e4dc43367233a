"""Serve the page with the buttons, and take what its buttons say."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..web_server import SOCKET_TIMEOUT_S, PageServer, RunningServer, start_server
from .drive_page import PAGE
from .pilot import STILL, Motion, Pilot

logger = logging.getLogger(__name__)

DEVICE = "page"
HOLD_S = 0.4
"""How long a word of the page holds; it says it again each tenth of a second."""
LATEST_S = 1.0
"""How old an answer of ours may be that the page had when it pressed: a request that took longer
on its way is of a moment that is over."""
_MOST_CONNECTIONS = 32
_LONGEST_BODY = 1000
_POLICY = (
    "default-src 'none'; img-src data:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Word:
    """What a page says.

    Attributes:
        page: which one; each page that is opened has its own name.
        number: grows with each word of a page.
        ticket: the time of our last answer that the page knows, in milliseconds of our clock.
        motion: where to; still if no button is held.
    """

    page: str
    number: int
    ticket: int
    motion: Motion

    @classmethod
    def parse(cls, body: bytes) -> Word:
        """Read a word.

        Raises:
            ValueError, OverflowError, RecursionError: it is none.
        """
        fields = json.loads(body)
        if not isinstance(fields, dict):
            raise ValueError("no object")
        page, number, ticket = (fields.get(key) for key in ("page", "number", "ticket"))
        motion = [fields.get(key, 0) for key in ("forward", "side", "turn")]
        if not (isinstance(page, str) and isinstance(number, int) and isinstance(ticket, int)):
            raise ValueError("no page, number or ticket")
        if not all(isinstance(part, (int, float)) for part in motion):
            raise ValueError("no motion")
        return cls(page[:40], number, ticket, Motion(*map(float, motion)).bounded())


class DriverSeat:
    """Let one page drive, and only by words that are fresh and in their order.

    Args:
        pilot: is told.
        hold_s: how long a word of the page holds.
        clock: nanoseconds.
    """

    def __init__(
        self, pilot: Pilot, hold_s: float = HOLD_S, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._pilot = pilot
        self._hold_s = hold_s
        self._clock = clock
        self._lock = threading.Lock()
        self._driver = ""
        self._until_ns = 0
        self._numbers: dict[str, int] = {}

    def ticket(self) -> int:
        """Return the time now, for the page to show that its words are fresh."""
        return self._clock() // 1_000_000

    def hear(self, word: Word) -> str:
        """Take a word; return "driving", "free", or why it does not drive: "late", "taken"."""
        now_ns = self._clock()
        with self._lock:
            if word.number <= self._numbers.get(word.page, -1):
                return "late"
            self._note(word)
            is_driver = word.page == self._driver and now_ns < self._until_ns
            if word.motion == STILL:
                # Letting go counts whenever it comes.
                if is_driver:
                    self._driver = ""
                    self._pilot.release(DEVICE)
                    return "free"
                return "taken" if now_ns < self._until_ns and self._driver else "free"
            if not is_driver and self._driver and now_ns < self._until_ns:
                return "taken"
            if not 0 <= self.ticket() - word.ticket <= LATEST_S * 1000:
                return "late"
            self._driver, self._until_ns = word.page, now_ns + round(self._hold_s * 1e9)
            self._pilot.steer(DEVICE, word.motion, self._hold_s)
            return "driving"

    def halt(self) -> None:
        """Stop, whoever drives."""
        self._pilot.halt()

    def _note(self, word: Word) -> None:
        # The newest last; pages that were closed are forgotten in the end.
        self._numbers.pop(word.page, None)
        self._numbers[word.page] = word.number
        while len(self._numbers) > 100:
            del self._numbers[next(iter(self._numbers))]


class DriveServer:
    """A running web server with the page."""

    def __init__(self, server: RunningServer, token: str) -> None:
        self._server = server
        self._token = token

    @classmethod
    def open(cls, host: str, port: int, seat: DriverSeat) -> DriveServer:
        """Serve at `port`, or at the next one that is free; 0 takes any.

        Raises:
            WebServerError: the address is not of this machine, or no port is free.
        """
        token = secrets.token_urlsafe(16)
        server = start_server(host, port, lambda address: _Server(address, seat, token))
        if server.is_seen_by_others:
            logger.warning("page: with its address, everybody in the network of %s can drive", host)
        return cls(server, token)

    @property
    def url(self) -> str:
        """The address of the page, with the token that lets one drive."""
        return f"{self._server.url}/?token={self._token}"

    def close(self) -> None:
        """Stop serving; may be called twice."""
        self._server.close()


class _Server(PageServer):
    def __init__(self, address: tuple[str, int], seat: DriverSeat, token: str) -> None:
        self.seat = seat
        self.token = token
        super().__init__(address, _Handler, most_connections=_MOST_CONNECTIONS)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "dora_rt"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with the page."""
        self.server.note_request(self.connection)
        parts = urlsplit(self.path)
        given = parse_qs(parts.query).get("token", [""])[0]
        if not self._is_token(given):
            self._refuse(
                HTTPStatus.FORBIDDEN, "open the address that the node printed, with its token"
            )
        elif parts.path == "/":
            page = PAGE.replace("%TOKEN%", self.server.token)
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {parts.path}; there is /")

    def do_POST(self) -> None:
        """Take a word of the page."""
        self.server.note_request(self.connection)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= _LONGEST_BODY):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
            return
        body = self.rfile.read(int(length))
        # Not a cookie: other pages in the same browser would send that along.
        if not self._is_token(self.headers.get("X-Teleop-Token", "")):
            self._refuse(HTTPStatus.FORBIDDEN, "the token is not that of this run; open it anew")
            return
        seat = self.server.seat
        match self.path:
            case "/drive":
                try:
                    state = seat.hear(Word.parse(body))
                except (ValueError, OverflowError, RecursionError) as error:
                    self._refuse(HTTPStatus.BAD_REQUEST, f"no word of the page: {error}")
                    return
            case "/stop":
                seat.halt()
                state = "free"
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "there are /drive and /stop")
                return
        answer = json.dumps({"state": state, "ticket": seat.ticket()})
        self._send(HTTPStatus.OK, "application/json", answer.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Log requests at DEBUG: they are for developers only."""
        logger.debug("page: %s: %s", self.client_address[0], format % args)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
