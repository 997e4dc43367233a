"""Whether this machine can listen at an endpoint, and who is in the way."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import LaunchError
from dora_rt.network.gateway_plan import GatewayPlan

_LISTENS = "0A"
_GATEWAY = "dora_rt.network.gateway"
_LONGEST_COMMAND = 60


@dataclass(frozen=True, slots=True)
class ListenObstacle:
    """Why nothing can listen at an endpoint now."""

    why: str
    way_out: str
    can_go: bool
    """Whether it may go by itself: a program ends, an interface gets its address."""


def check_listening(endpoints: Iterable[str], *, waits: bool) -> None:
    """See that this user may listen at endpoints.

    Args:
        endpoints: each `HOST:PORT`.
        waits: whether what may go by itself is waited for, later; a name that has to be looked up
            is left to that, too, since a name server takes its time.

    Raises:
        LaunchError: it cannot, or with `waits`: it never can.
    """
    for endpoint in endpoints:
        if waits and not _is_address(endpoint):
            continue
        obstacle = find_listen_obstacle(endpoint)
        if obstacle is not None and not (waits and obstacle.can_go):
            raise LaunchError(f"cannot listen at {endpoint}: {obstacle.why}; {obstacle.way_out}")


def find_listen_obstacle(endpoint: str) -> ListenObstacle | None:
    """Return why nothing can listen at `HOST:PORT`; None: it can."""
    host, port = _split(endpoint)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            # As zenoh does: what is left of an earlier listener is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        why = f"nobody knows the address of {host} ({error.strerror})"
        return ListenObstacle(why, "write its address instead", can_go=True)
    except OSError as error:
        return _obstacle_of(error, port)
    return None


def _obstacle_of(error: OSError, port: int) -> ListenObstacle:
    if error.errno == errno.EADDRINUSE:
        user = _name_listener(port)
        why = "the port is in use" if user is None else f"the port is in use by {user}"
        way_out = "stop that, or write another port"
        return ListenObstacle(why, way_out, can_go=True)
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenObstacle(
            "this machine does not have that address",
            "`ip address` shows those it has; if it comes with the network, that is waited for",
            can_go=True,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        first = _first_open_port()
        way_out = f"write a port from {first} on"
        return ListenObstacle(f"this user may not listen at port {port}", way_out, can_go=False)
    why = error.strerror or str(error)
    return ListenObstacle(why, "write another address", can_go=False)


def _name_listener(port: int) -> str | None:
    """Return the program that listens at a port; None if it is of another user, or just gone."""
    inodes = set(_listening_inodes(port))
    for folder in Path("/proc").glob("[0-9]*"):
        if not inodes:
            return None
        # Gone meanwhile, or of another user.
        with contextlib.suppress(OSError):
            for entry in (folder / "fd").iterdir():
                if str(entry.readlink()) in inodes:
                    return _describe(folder)
    return None


def _listening_inodes(port: int) -> Iterable[str]:
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        # There is no second one where the kernel has no IPv6.
        with contextlib.suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def _describe(folder: Path) -> str:
    """Return what to call a process of `/proc`."""
    words = [word.decode(errors="replace") for word in _command(folder)]
    number = f"process {folder.name}"
    if _GATEWAY in words:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            plan = GatewayPlan.from_json(words[-1])
            return (
                f"another dora-launch, which runs {plan.flow} as machine {plan.machine} "
                f"({number} is its gateway)"
            )
    command = " ".join(" ".join(words).split()) or (folder / "comm").read_text().strip()
    short = command if len(command) <= _LONGEST_COMMAND else f"{command[:_LONGEST_COMMAND]}..."
    return f"{number}, {short!r}"


def _command(folder: Path) -> list[bytes]:
    return (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")


def _first_open_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _is_address(endpoint: str) -> bool:
    host, _ = _split(endpoint)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)
