"""Options of TCP for the sockets of links, which zenoh opens and does not let us set."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

# Linux's number of TCP_NOTSENT_LOWAT; Python does not name it.
_TCP_NOTSENT_LOWAT = 25
# What may wait in the kernel unsent: a command waits behind no more than this. 7 ms at 20 Mbit/s.
_UNSENT_NBYTES = 16 * 1024
# At 5 % loss and 20 ms it carries 16.7 Mbit/s where cubic carries 1.2.
_CONGESTION_CONTROL = b"bbr"


def tune_socket(local: str, remote: str) -> bool:
    """Keep a link from queueing in the kernel, and from stalling at losses, where that is allowed.

    Args:
        local: its address here, as `tcp/HOST:PORT` or `tls/HOST:PORT`.
        remote: its address at the far end.

    Returns:
        Whether its socket was found.
    """
    wanted = (_address(local), _address(remote))
    for descriptor in _sockets():
        with contextlib.suppress(OSError):  # closed meanwhile, or no socket of TCP
            copy = socket.socket(fileno=os.dup(descriptor))
            with copy:
                if _ends(copy) == wanted:
                    _tune(copy, is_far=wanted[0][0] != wanted[1][0])
                    return True
    return False


def _tune(link: socket.socket, *, is_far: bool) -> None:
    link.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_NBYTES)
    if is_far:
        # Only root may choose what the machine does not allow; `dora-rt doctor` tells how.
        with contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CONGESTION_CONTROL)


def _sockets() -> list[int]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                found.append(int(entry.name))
    return found


def _ends(link: socket.socket) -> tuple[tuple[str, int], tuple[str, int]] | None:
    if link.family not in (socket.AF_INET, socket.AF_INET6) or link.type != socket.SOCK_STREAM:
        return None
    (here, here_port, *_), (there, there_port, *_) = link.getsockname(), link.getpeername()
    return (_plain(here), here_port), (_plain(there), there_port)


def _address(locator: str) -> tuple[str, int]:
    host, _, port = locator.rpartition("/")[2].partition("?")[0].rpartition(":")
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    return host.removeprefix("::ffff:")
