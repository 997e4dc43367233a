"""Serve the dashboard until SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import logging
import secrets
import signal
import socket
import sys
from pathlib import Path

import h11
import uvicorn

from dora_rt.dashboard.access import Access, is_loopback
from dora_rt.dashboard.app import Runs, make_app
from dora_rt.dashboard.http_protocol import Protocol
from dora_rt.errors import DoraRtError

_PORTS_TRIED = 20
_TOKEN_NBYTES = 18
_CLOSING_S = 1


class ServingError(DoraRtError):
    """The page cannot be served at this address."""


def serve(
    base: Path,
    run: str | None,
    *,
    host: str,
    port: int,
    has_token: bool,
    ends_with_run: bool = False,
) -> None:
    """Print the address, and serve; main thread only.

    Args:
        base: the folder of all runs.
        run: the only run to show, or None.
        host: address to serve at.
        port: port, or the next free one; 0: any.
        has_token: whether a token is asked for; only on loopback can one do without.
        ends_with_run: whether the launcher of the run ends this process when the run has ended.

    Raises:
        ServingError: the address is not of this machine, no port is free, or other machines could
            reach it without a token.
    """
    if not has_token and not is_loopback(host):
        raise ServingError(
            f"--no-token: other machines can reach {host}, so a token is needed; without one only "
            "--host 127.0.0.1 is served"
        )
    listener = _listen(host, port)
    with listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(_TOKEN_NBYTES) if has_token else None
        runs = Runs(base, run)
        # It knows when it ends, once it is there.
        servers: list[uvicorn.Server] = []
        made = make_app(
            runs,
            lambda: any(one.should_exit for one in servers),
            ends_with_run=ends_with_run,
        )
        app = Access(made, host=host, port=port, token=token)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_CLOSING_S,
                # No header may claim another address for the client.
                proxy_headers=False,
                ws="none",
                loop="asyncio",
                http=Protocol,
            )
        )
        servers.append(server)
        logging.getLogger("uvicorn.error").addFilter(_is_about_us)
        # While it serves, uvicorn takes these signals; afterwards it raises them again.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        # In one write, also where PYTHONUNBUFFERED is set: a launcher writes to the same place.
        sys.stdout.write(f"dashboard: {_url(host, port, token)}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


def _is_about_us(record: logging.LogRecord) -> bool:
    """Whether a message is about the dashboard itself, and not about what a client sent to it.

    A client may send garbage any number of times: it gets an answer, and the console stays clean.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_garbage = isinstance(error, h11.ProtocolError)
    return not is_garbage and record.getMessage() != "Invalid HTTP request received."


def _end(*_: object) -> None:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    last = port if port == 0 else min(port + _PORTS_TRIED - 1, 65535)
    for candidate in range(port, last + 1):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            # Before uvicorn does: two that bind the same port would both seem to have it.
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise ServingError(
                    f"--host {host} --port {candidate}: cannot serve there "
                    f"({error.strerror or error}); expected an address of this machine, such as "
                    "127.0.0.1 or 0.0.0.0, and a port from 1024 on"
                ) from error
    raise ServingError(
        f"--port {port}: none of the ports {port} to {last} is free; choose another one, or 0"
    )


def _url(host: str, port: int, token: str | None) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    return address if token is None else f"{address}?token={token}"
