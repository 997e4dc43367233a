"""Finds a port for a program that has to be told its number."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path

_LEAST = 10_000


def free_port() -> int:
    """Return a port of loopback that nobody listens on.

    None of those that the kernel gives away by itself: before the program listens on it, it may be
    the near end of a connection of any other test.
    """
    least_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _LEAST + secrets.randbelow(least_given - _LEAST) if least_given > _LEAST else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            found: int = probe.getsockname()[1]
            return found
