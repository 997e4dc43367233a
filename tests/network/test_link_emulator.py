"""The links of the tests: they delay, lose, limit and break what they carry, and leave nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.machines import machines, missing_for_machines

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(missing_for_machines() is not None, reason=str(missing_for_machines())),
]

ECHO = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7000))
while True:
    data, sender = s.recvfrom(2000)
    s.sendto(data, sender)
"""
ASK = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[4]))
answered, trips = 0, []
for n in range(int(sys.argv[2])):
    began = time.monotonic()
    s.sendto(n.to_bytes(4, "little") + bytes(int(sys.argv[3]) - 4), (sys.argv[1], 7000))
    try:
        # An answer that was late is that to an earlier question.
        while int.from_bytes(s.recv(2000)[:4], "little") != n:
            pass
        answered += 1
        trips.append(time.monotonic() - began)
    except TimeoutError:
        pass
print(answered, min(trips, default=0) * 1000, sum(trips))
"""


@pytest.fixture
def lab():
    with machines("robot", "laptop") as made:
        link, robot, _ = made.link("robot", "laptop", seed=7)
        echo = made._start(*made.command("robot", "python3", "-c", ECHO, robot))

        def ask(times=20, nbytes=100, timeout_s=3):
            command = ("python3", "-c", ASK, robot, str(times), str(nbytes), str(timeout_s))
            answered, shortest, total = made.run("laptop", *command).split()
            return int(answered), float(shortest), float(total)

        while not ask(1, timeout_s=0.2)[0]:
            pass
        yield link, ask
        echo.kill()


def test_delay_is_that_of_both_ways(lab):
    link, ask = lab

    link.set(delay=25)
    answered, shortest, _ = ask(5)

    assert answered == 5
    # A busy machine adds to it.
    assert 50 <= shortest < 200


def test_rate_is_kept(lab):
    link, ask = lab

    link.set(rate=1)
    answered, shortest, total = ask(10, 1200)

    # 1228 bytes with their heads, both ways.
    assert answered == 10
    assert shortest >= 2 * 1228 * 8 / 1000
    assert total < 10


def test_loss_is_about_what_was_asked_for_and_counted(lab):
    link, ask = lab

    before = link.counts()
    link.set(loss=30)
    answered, _, _ = ask(60, timeout_s=0.2)
    after = link.counts()
    lost = sum(after[f"lost_{end}"] - before[f"lost_{end}"] for end in "ab")

    # 51 % of the round trips; the kernel sends a few packets of its own.
    assert 15 <= lost <= 45
    assert 0 < answered <= 45


def test_cut_link_carries_nothing_until_it_is_joined(lab):
    link, ask = lab

    link.cut()
    cut, _, _ = ask(3, timeout_s=0.05)
    link.join()
    joined, _, _ = ask(3)

    assert (cut, joined) == (0, 3)


def test_congestion_control_is_that_of_the_links():
    with machines("robot", "laptop") as made:
        made.link("robot", "laptop")

        made.congestion_control("reno")

        assert "congctl reno" in made.run("robot", "ip", "route", "show")
        assert "congctl reno" in made.run("laptop", "ip", "route", "show")


def test_nothing_is_left():
    before = set(Path("/sys/class/net").iterdir()), _namespaces()

    with machines("robot", "laptop") as made:
        made.link("robot", "laptop")
        made.wire("robot", "laptop")
        assert len(_namespaces() - before[1]) == 3

    assert (set(Path("/sys/class/net").iterdir()), _namespaces()) == before


def _namespaces() -> set[str]:
    """Return the network namespaces of all living processes that this one may look at."""
    found = set()
    for folder in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", folder.name):
            try:
                found.add(str((folder / "ns/net").readlink()))
            except OSError:
                continue  # over, or of somebody else
    return found
