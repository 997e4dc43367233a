"""Ask a web service, within a time limit for all of it, over one connection that stays open."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import threading
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from dora_rt.errors import DoraRtError

_PIECE_NBYTES = 65536
# Shorter values of a query are words such as `v1`, and no keys.
_LEAST_SECRET = 6


class ServiceError(DoraRtError):
    """The service gave no answer; it may at the next try."""


class AddressError(DoraRtError, ValueError):
    """This is no address of a web service."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is.

    Attributes:
        shown: the address without what may be secret: user, password and query.
        credentials: `user:password` of the address, if there are any.
    """

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    shown: str
    credentials: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address such as `http://127.0.0.1:8000/detect`.

        Raises:
            AddressError: it is none; the message has nothing of it but its beginning.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host:
            begin = text.partition("://")[0][:20] if "://" in text else ""
            raise AddressError(
                f"{f'{begin}://...' if begin else 'this'} is no address of a web service, such as "
                "http://127.0.0.1:8000/detect or https://example.com/v1/chat/completions"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not path.isascii() or any(letter <= " " for letter in path):
            raise AddressError(
                f"the path of {parts.scheme}://{host}/... has letters that must be percent-encoded"
            )
        shown_host = f"[{host}]" if ":" in host else host
        shown_port = f":{port}" if port else ""
        _, at, _ = parts.netloc.rpartition("@")
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if at else ""
        return cls(
            parts.scheme,
            host,
            port or (443 if parts.scheme == "https" else 80),
            path,
            f"{parts.scheme}://{shown_host}{shown_port}{parts.path or '/'}",
            user,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is not to be shown where a service repeats it: password and values of the query."""
        _, _, password = self.credentials.partition(":")
        # As it was sent, and as services read it.
        values = [part.partition("=")[2] for part in self.path.partition("?")[2].split("&")]
        values = [one for one in values if len(one) >= _LEAST_SECRET]
        found = [password, quote(password, safe=""), *values, *map(unquote_plus, values)]
        if password:
            found.append(_basic(self.credentials).partition(" ")[2])
        return tuple(dict.fromkeys(filter(None, found)))

    @property
    def is_on_this_machine(self) -> bool:
        """Whether what is sent there leaves this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".") == "localhost"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered.

    Attributes:
        retry_after_s: for how long it asks to be left alone; None if it does not say.
    """

    status: int
    reason: str
    content_type: str
    body: bytes
    retry_after_s: float | None


class WebClient:
    """A connection to one service; only one thread may use it.

    Args:
        address: of the service.
        headers: sent with each request.
        timeout_s: for a request and its answer, all together.
        max_answer_nbytes: a longer answer is refused.
        ca_file: certificates that are trusted beside those of the system.
    """

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        max_answer_nbytes: int,
        ca_file: str | None = None,
    ) -> None:
        self._address = address
        self._headers = {"User-Agent": "dora_rt", "Accept": "*/*", **headers}
        if address.credentials and "Authorization" not in self._headers:
            self._headers["Authorization"] = _basic(address.credentials)
        self._timeout_s = timeout_s
        self._max_answer_nbytes = max_answer_nbytes
        self._ca_file = ca_file
        self._connection: http.client.HTTPConnection | None = None
        self._target = address.path

    def ask(self, method: str, body: bytes, content_type: str) -> Answer:
        """Send a request and return its answer, whatever its status is. It follows no redirect.

        Raises:
            ServiceError: there is no answer in time, or it is no HTTP, or is too long.
        """
        was_open = self._connection is not None
        try:
            return self._ask(method, body, content_type)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            if not was_open:
                raise ServiceError(f"{self._address.shown}: {_reason(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise ServiceError(f"{self._address.shown}: {_reason(error)}") from error
        # Servers close connections that have been idle, and tell it only to the next request.
        try:
            return self._ask(method, body, content_type)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise ServiceError(f"{self._address.shown}: {_reason(error)}") from error

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, method: str, body: bytes, content_type: str) -> Answer:
        connection = self._connection = self._connection or self._connect()
        is_late = threading.Event()
        sockets: list[socket.socket] = []

        def hang_up() -> None:
            # A time-out of sockets is for each byte; this one is for all of them.
            is_late.set()
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._timeout_s, hang_up)
        timer.daemon = True
        timer.start()
        try:
            if connection.sock is None:
                connection.connect()
            # The connection forgets it while an answer is read that ends with the connection.
            sockets.append(connection.sock)
            if is_late.is_set():
                # It was over before there was a connection to hang up.
                raise TimeoutError
            headers = {**self._headers, "Content-Type": content_type}
            connection.request(method, self._target, body, headers)
            response = connection.getresponse()
            with contextlib.closing(response):
                content = self._read(response)
        except (OSError, http.client.HTTPException) as error:
            if is_late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
        if is_late.is_set():
            raise TimeoutError
        if response.will_close:
            self.close()
        content = self._unpacked(content, response.headers.get("Content-Encoding", ""))
        return Answer(
            response.status,
            response.reason,
            response.headers.get_content_type(),
            content,
            _seconds(response.headers.get("Retry-After")),
        )

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        pieces, nbytes = [], 0
        while piece := response.read(_PIECE_NBYTES):
            nbytes += len(piece)
            if nbytes > self._max_answer_nbytes:
                raise ValueError(f"its answer has more than {self._max_answer_nbytes} bytes")
            pieces.append(piece)
        if response.length:
            # Reading in pieces does not tell by itself.
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(pieces)

    def _unpacked(self, content: bytes, encoding: str) -> bytes:
        """Return the content; some servers compress it without being asked."""
        match encoding.strip().lower():
            case "" | "identity":
                return content
            case _ if not content:
                return content
            case "gzip" | "x-gzip" | "deflate":
                unpacker = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
            case _:
                raise ValueError(f"its answer is encoded as {encoding[:40]!r}, unasked")
        try:
            # A little may become very much.
            found = unpacker.decompress(content, self._max_answer_nbytes + 1)
        except zlib.error as error:
            raise ValueError(f"its answer is no {encoding}: {error}") from error
        if len(found) > self._max_answer_nbytes:
            raise ValueError(f"its answer has more than {self._max_answer_nbytes} bytes")
        if not unpacker.eof:
            raise ValueError(f"its answer is cut: the {encoding} has no end")
        return found

    def _connect(self) -> http.client.HTTPConnection:
        address = self._address
        proxy = _proxy_for(address)
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        proxy_headers = (
            {"Proxy-Authorization": _basic(proxy.credentials)}
            if proxy and proxy.credentials
            else {}
        )
        if address.scheme == "https":
            context = ssl.create_default_context()
            if self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            secure = http.client.HTTPSConnection(
                host, port, timeout=self._timeout_s, context=context
            )
            if proxy:
                secure.set_tunnel(address.host, address.port, proxy_headers)
            return secure
        if proxy:
            self._headers.update(proxy_headers)
            self._target = f"http://{address.host}:{address.port}{address.path}"
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)


def _proxy_for(address: Address) -> Address | None:
    """Return the proxy that the environment names, as for every program."""
    if address.is_on_this_machine:
        return None
    found = urllib.request.getproxies().get(address.scheme)
    if not found or urllib.request.proxy_bypass(address.host):
        return None
    return Address.parse(found if "://" in found else f"http://{found}")


def _basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After; a date in it is as good as none."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time (--timeout)"
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted ({error.verify_message}); --ca-file trusts another"
            )
        case ssl.SSLError():
            # Its errno is a number of OpenSSL, and none of the system.
            why = (error.reason or str(error)).replace("_", " ").lower()
            return f"no TLS with it ({why}); https:// is for what speaks TLS, else http://"
        case socket.gaierror():
            return f"no address for this name ({error.strerror})"
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return "hung up without an answer"
        case http.client.IncompleteRead():
            return "hung up in the middle of its answer"
        case OSError() if error.errno is not None:
            return os.strerror(error.errno) if error.errno > 0 else str(error)
    return str(error) or type(error).__name__
