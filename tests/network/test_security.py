"""Who is let in at the port of a machine, and what a machine may send: with real links.

Each refusal is told where it was made, and a good link is not disturbed by it.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dora_rt.network.gateway_plan import Security
from dora_rt.network.key_space import KeySpace
from tests.harness.ports import free_port
from tests.network.conftest import Authority, Program, two_machines

pytestmark = pytest.mark.programs

LinkEnd = Callable[..., Program]
KEYS = KeySpace.of(two_machines(1, "robot"))
CAMERA, SPEED = two_machines(1, "robot").streams


class Link:
    """A robot that listens, and its laptop, which has reached it."""

    def __init__(self, link_end: LinkEnd, ours: Authority) -> None:
        self.port = free_port()
        self.robot = link_end(two_machines(self.port, "robot", ours.security("robot")))
        self.robot.wait_for("OPEN")
        self.robot.tell(f"subscribe {KEYS.sample(SPEED)}")
        self.laptop = link_end(two_machines(self.port, "laptop", ours.security("laptop")))
        self.laptop.wait_for("OPEN")
        self.speed = 0

    def check(self) -> None:
        """Check that the laptop still steers the robot."""
        self.speed += 1
        self.laptop.tell(f"put {KEYS.sample(SPEED)} speed-{self.speed}")
        self.robot.wait_for(f"GOT {KEYS.sample(SPEED)} speed-{self.speed}")


@pytest.fixture
def link(link_end: LinkEnd, authorities: tuple[Authority, Authority]) -> Iterator[Link]:
    link = Link(link_end, authorities[0])
    link.check()
    yield link
    link.check()


def test_machines_know_each_other_by_their_certificates(link):
    link.laptop.tell("links")
    link.robot.tell("links")

    assert "LINKS robot" in link.laptop.lines
    assert "LINKS laptop" in link.robot.lines


def test_certificate_of_another_authority_is_refused_by_both_ends(link, link_end, authorities):
    _, other = authorities
    stranger = link_end(two_machines(link.port, "laptop", other.security("laptop")))

    assert "different authorities" in link.robot.wait_for("TOLD 127.0.0.1 refused")
    assert "OPEN" not in stranger.lines


def test_certificate_that_another_authority_signed_is_refused_though_ours_is_trusted(
    link, link_end, authorities
):
    ours, other = authorities
    mixed = dataclasses.replace(
        other.security("laptop"), authority=str(ours.folder / "authority.pem")
    )
    stranger = link_end(two_machines(link.port, "laptop", mixed))

    # From where, is said if the kernel still knows the connection: both ends hang up at once.
    told = link.robot.wait_for("TOLD refused a connection")
    assert "its certificate is from another authority" in told
    assert "OPEN" not in stranger.lines


def test_machine_without_a_certificate_is_refused(link, link_end, authorities):
    ours, _ = authorities
    stranger = link_end(
        two_machines(link.port, "laptop", ours.security("laptop")),
        transport__link__tls__enable_mtls=False,
        transport__link__tls__connect_certificate=None,
        transport__link__tls__connect_private_key=None,
        transport__link__tls__listen_certificate=None,
        transport__link__tls__listen_private_key=None,
    )

    # From where, is said if the kernel still knows the connection: both ends hang up at once.
    told = link.robot.wait_for("TOLD refused a connection")
    assert "it showed no certificate" in told
    assert "OPEN" not in stranger.lines


def test_plain_tcp_is_refused_where_tls_is_spoken(link, link_end):
    stranger = link_end(two_machines(link.port, "laptop", Security(is_insecure=True)))

    assert "is not TLS" in link.robot.wait_for("TOLD refused a connection from 127.0.0.1")
    assert "OPEN" not in stranger.lines


def test_machine_of_another_name_gets_and_gives_nothing(link, link_end, authorities):
    ours, _ = authorities
    stranger = link_end(two_machines(link.port, "laptop", ours.security("stranger")))
    stranger.wait_for("OPEN")
    link.robot.wait_for("TOLD refused 'stranger' at 127.0.0.1")

    stranger.tell(f"subscribe {KEYS.sample(CAMERA)}")
    stranger.tell(f"subscribe {KEYS.base}/**")
    stranger.tell(f"put {KEYS.sample(SPEED)} fake")
    link.robot.tell(f"put {KEYS.sample(CAMERA)} picture")
    link.check()

    assert f"GOT {KEYS.sample(SPEED)} fake" not in link.robot.lines
    assert f"GOT {KEYS.sample(CAMERA)} picture" not in stranger.lines


def test_router_is_a_stranger_where_the_file_names_none(link, link_end, authorities):
    ours, _ = authorities
    link_end(two_machines(link.port, "laptop", ours.security("router"))).wait_for("OPEN")

    link.robot.wait_for("TOLD refused 'router' at 127.0.0.1")


def test_machine_may_not_send_what_another_sends(link, link_end, authorities):
    ours, _ = authorities
    link.robot.tell(f"subscribe {KEYS.base}/**")
    # Everything that the robot wants to hear is put by whoever has a certificate: a laptop that is
    # no gateway, with rules of its own.
    forger = link_end(
        two_machines(link.port, "laptop", ours.security("laptop")),
        access_control={"enabled": False},
    )
    forger.wait_for("OPEN")

    forger.tell(f"put {KEYS.sample(CAMERA)} forged")
    told = link.robot.wait_for("TOLD refused laptop, which may not send")
    link.check()

    assert "camera/image from robot to laptop" in told
    assert not [line for line in link.robot.lines if "forged" in line]


def test_machine_may_not_be_there_as_another(link, link_end, authorities):
    ours, _ = authorities
    link.robot.tell(f"see {KEYS.all_alive()}")
    forger = link_end(
        two_machines(link.port, "laptop", ours.security("laptop")),
        access_control={"enabled": False},
    )
    forger.wait_for("OPEN")

    forger.tell(f"alive {KEYS.alive('robot', 'forged')}")
    link.robot.wait_for("TOLD refused laptop, which may not be there as")
    forger.tell(f"alive {KEYS.alive('laptop', 'good')}")
    link.robot.wait_for(f"SEEN {KEYS.alive('laptop', 'good')}")

    assert not [line for line in link.robot.lines if line.startswith("SEEN") and "forged" in line]


def test_machine_reads_only_what_its_nodes_read(link, link_end, authorities):
    ours, _ = authorities
    spy = link_end(
        two_machines(link.port, "laptop", ours.security("laptop")),
        access_control={"enabled": False},
    )
    spy.wait_for("OPEN")

    spy.tell(f"subscribe {KEYS.base}/**")
    link.robot.wait_for("TOLD refused laptop, which may not read")


def test_dialled_machine_of_another_name_gets_nothing(link_end, authorities):
    """Whoever answers at the address of the robot has to be the robot."""
    ours, _ = authorities
    port = free_port()
    impostor = link_end(two_machines(port, "robot", ours.security("stranger")))
    impostor.wait_for("OPEN")
    impostor.tell(f"subscribe {KEYS.sample(SPEED)}")
    laptop = link_end(two_machines(port, "laptop", ours.security("laptop")))

    laptop.wait_for("TOLD refused 'stranger'")
    laptop.wait_for("OPEN")
    laptop.tell(f"put {KEYS.sample(SPEED)} secret")
    laptop.tell("links")

    assert not [line for line in impostor.lines if "secret" in line]


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n", os.urandom(4000), b"\x16\x03\x01\x02\x00" * 300],
    ids=["http", "noise", "almost TLS"],
)
def test_garbage_on_the_port_is_refused(link, garbage):
    with socket.create_connection(("127.0.0.1", link.port)) as connection:
        connection.sendall(garbage)

        told = link.robot.wait_for("TOLD refused a connection from 127.0.0.1")

    assert "what it sent is not TLS" in told or "not good" in told or "received" in told


def test_silent_connections_hold_up_nobody(link, link_end, authorities):
    ours, _ = authorities
    silent = [socket.create_connection(("127.0.0.1", link.port)) for _ in range(150)]
    try:
        began = time.monotonic()
        second = link_end(two_machines(link.port, "laptop", ours.security("laptop")))
        second.wait_for("OPEN", within_s=9)

        assert time.monotonic() - began < 9
        link.check()
        assert "did not come to the point" in link.robot.wait_for("TOLD refused")
    finally:
        for connection in silent:
            connection.close()


def test_garbage_on_a_plain_port_is_refused(link_end):
    port = free_port()
    robot = link_end(two_machines(port, "robot"))
    robot.wait_for("OPEN")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\xff" * 400)
        told = robot.wait_for("TOLD refused a connection from 127.0.0.1")

    assert "not the protocol of zenoh" in told


def test_nothing_listens_but_what_the_file_says(link):
    listening = [
        line.split()[3]
        for pid in (link.robot.process.pid, link.laptop.process.pid)
        for line in _listeners(pid)
    ]

    assert listening == [f"127.0.0.1:{link.port}"]


def _listeners(pid: int) -> list[str]:
    """Return the listening sockets of a process, UDP too, as `pid protocol state address`."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for row in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            words = row.split()
            is_bound = words[3] == "0A" if protocol.startswith("tcp") else True
            if words[9] in inodes and is_bound:
                host, port = words[1].split(":")
                shown = "127.0.0.1" if host == "0100007F" else host
                found.append(f"{pid} {protocol} {words[3]} {shown}:{int(port, 16)}")
    return found
