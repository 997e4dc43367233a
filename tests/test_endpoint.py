"""What `HOST:PORT` may be, and what is told of what it may not."""

from __future__ import annotations

import pytest

from dora_rt.endpoint import endpoint_fault


@pytest.mark.parametrize(
    "text",
    [
        "192.168.1.20:7447",
        "0.0.0.0:1",
        "robot:65535",
        "robot.local:7447",
        "relay_1.example.org.:7447",
        "localhost:7447",
        "[::1]:7447",
        "[fe80::1%wlan0]:7447",
    ],
)
def test_addresses_and_names_with_a_port_are_fine(text: str) -> None:
    assert endpoint_fault(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("300.1.1.1:7447", "300.1.1.1 is no address: an address of IPv4 has four numbers"),
        ("10.0.0:7447", "10.0.0 is no address: "),
        ("010.0.0.1:7447", "without zeros in front"),
        ("10:20", "10 is no address: "),
        ("224.0.0.1:7447", "224.0.0.1 is an address of many machines, not of one"),
        ("robot", "the port is missing: write robot:7447"),
        ("", "the port is missing"),
        ("robot:", "the port '' is no number"),
        ("robot:http", "the port 'http' is no number"),
        ("robot:７447", "the port '７447' is no number"),
        ("robot:0", "the port 0 is not one of 1 to 65535"),
        ("robot:65536", "the port 65536 is not one of 1 to 65535"),
        (":7447", "'' is no name of a machine, and no address"),
        ("-robot:7447", "'-robot' is no name of a machine, and no address"),
        ("robot..local:7447", "'robot..local' is no name of a machine, and no address"),
        (f"{'a' * 64}:7447", "is no name of a machine, and no address"),
        ("::1:7447", "an IPv6 address stands in brackets: write [::1]:7447"),
        ("::1", "and the port is missing: write [::1]:7447"),
        ("[::1:7447", "[::1 is no address"),
        ("[robot]:7447", "[robot] is no address"),
        ("robot:7447:1", "it has more than one colon"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_told(text: str, fault: str) -> None:
    told = endpoint_fault(text)

    assert told is not None
    assert fault in told
