"""One dataflow on two machines with real launchers, over a fast wire and over bad links."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.machines import Machines, machines, missing_for_machines
from tests.harness.waiting import eventually
from tests.network.far_flow import FarFlow, FarLauncher, edge

pytestmark = [
    pytest.mark.programs,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(missing_for_machines() is not None, reason=str(missing_for_machines())),
]

IS_SOAK = os.environ.get("SOAK") == "1"
CUT_S = 10 if IS_SOAK else 3
FILM_S = CUT_S + 6
# The same kinds of fault, each without an emulated link, are in test_kills.py and test_security.py.
soak = pytest.mark.skipif(not IS_SOAK, reason="make soak runs it")

FILM = """
machines:
  robot: {{listen: "{robot}:7447"}}
  laptop: {{}}
  insecure: true
nodes:
  - {{id: camera, machine: robot, path: source.py, args: "image 30 {pictures} {picture_nbytes}",
     outputs: [image]}}
  - {{id: sensor, machine: robot, path: source.py, args: "value 100 {values} 8", outputs: [value]}}
  - id: logger
    machine: laptop
    path: sink.py
    args: got
    inputs:
      value: {{source: sensor/value, queue_policy: block, queue_size: 50}}
      image: {{source: camera/image, queue_policy: latest}}
"""


@pytest.fixture
def lab() -> Iterator[Machines]:
    with machines("robot", "laptop") as made:
        yield made


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Callable[..., FarFlow]]:
    with ExitStack() as stack:

        def make(lab: Machines, text: str) -> FarFlow:
            flow = FarFlow(lab, tmp_path, text)
            stack.callback(flow.close)
            return flow

        yield make


def film(robot: str, seconds: int, picture_nbytes: int) -> str:
    return FILM.format(
        robot=robot,
        pictures=30 * seconds,
        values=100 * seconds,
        picture_nbytes=picture_nbytes,
    )


def check_accounts(flow: FarFlow, robot: FarLauncher, laptop: FarLauncher, seconds: int) -> None:
    """Check that both ends count alike, and as the programs do."""
    reports = robot.finish(), laptop.finish()
    shown = f"{robot.output}\n{laptop.output}"
    images, values = flow.received("got", "image"), flow.received("got", "value")
    for report in reports:
        image, value = edge(report, "camera/image"), edge(report, "sensor/value")
        assert value["sent"] == value["delivered"] == 100 * seconds, shown
        assert (value["dropped"], value["network"]) == (0, 0), shown
        assert image["sent"] == 30 * seconds, shown
        counted = image["delivered"] + image["dropped"] + image["network"] + image["unread"]
        assert counted == image["sent"], shown
        assert image["delivered"] == len(images), shown
    assert values == list(range(100 * seconds)), shown
    assert images == sorted(set(images))
    assert images[-1] == 30 * seconds - 1, "the newest arrives in any case"


def test_1080p_crosses_a_fast_wire(lab, flow):
    robot_address, _ = lab.wire("robot", "laptop")
    made = flow(lab, film(robot_address, 4, 1920 * 1080 * 3))

    robot, laptop = made.start("robot"), made.start("laptop")

    check_accounts(made, robot, laptop, 4)
    # A busy machine carries fewer; what did not arrive is accounted for.
    assert len(made.received("got", "image")) > 20


def test_slow_link_drops_pictures_and_no_command(lab, flow):
    link, robot_address, _ = lab.link("robot", "laptop")
    link.set(rate=20, delay=2)
    made = flow(lab, film(robot_address, 5, 640 * 480 * 3))

    robot, laptop = made.start("robot"), made.start("laptop")

    check_accounts(made, robot, laptop, 5)
    assert 5 < len(made.received("got", "image")) < 30, "20 Mbit/s carry 2.7 of them a second"


@soak
def test_link_that_loses_packets_loses_no_sample(lab, flow):
    link, robot_address, _ = lab.link("robot", "laptop", seed=3)
    link.set(rate=20, delay=20, loss=5)
    made = flow(lab, film(robot_address, 4, 60_000))

    robot, laptop = made.start("robot"), made.start("laptop")

    check_accounts(made, robot, laptop, 4)
    assert sum(link.counts()[f"lost_{end}"] for end in "ab") > 20, "it has lost packets"


def test_cut_link_loses_no_command_and_begins_with_the_newest(lab, flow):
    link, robot_address, _ = lab.link("robot", "laptop")
    link.set(rate=20, delay=2)
    made = flow(lab, film(robot_address, FILM_S, 60_000))
    robot, laptop = made.start("robot"), made.start("laptop")
    eventually(lambda: len(made.received("got", "image")) > 20)

    link.cut()
    cut_ns = time.monotonic_ns()
    robot.wait_for("laptop is lost")
    laptop.wait_for("robot is lost")
    while time.monotonic_ns() < cut_ns + CUT_S * 1_000_000_000:
        time.sleep(0.01)
    link.join()
    joined_ns = time.monotonic_ns()

    check_accounts(made, robot, laptop, FILM_S)
    arrivals = made.arrivals("got", "image")
    number, first_ns = next((number, at) for number, at in arrivals if at > joined_ns)
    assert first_ns - joined_ns < 10_000_000_000, "it is back soon"
    before = [number for number, at in arrivals if at < joined_ns]
    assert number - before[-1] > 20 * CUT_S, "what was filmed meanwhile is not sent any more"


def test_gateway_that_is_killed_comes_back_and_every_command_arrives_once(lab, flow):
    robot_address, _ = lab.wire("robot", "laptop")
    made = flow(lab, film(robot_address, 8, 60_000))
    robot, laptop = made.start("robot"), made.start("laptop")
    eventually(lambda: len(made.received("got", "image")) > 20)

    made.kill_gateway("robot")
    robot.wait_for("dora.network")
    seen = len(made.received("got", "image"))
    eventually(lambda: len(made.received("got", "image")) > seen + 20)
    made.kill_gateway("laptop")

    check_accounts(made, robot, laptop, 8)


@soak
def test_far_launcher_that_is_killed_and_started_again_gets_the_rest_of_the_commands(lab, flow):
    robot_address, _ = lab.wire("robot", "laptop")
    made = flow(lab, film(robot_address, 10, 60_000))
    robot, laptop = made.start("robot"), made.start("laptop")
    eventually(lambda: len(made.received("got", "value")) > 100)

    laptop.process.send_signal(signal.SIGKILL)
    laptop.process.wait()
    eventually(lambda: not made.processes("laptop"))
    first = made.received("got", "value")
    robot.wait_for("laptop is lost")
    again = made.start("laptop")

    report = robot.finish()
    again.finish()
    rest = made.received("got", "value")[len(first) :]
    shown = f"{robot.output}\n{again.output}"
    # What a node had in its hands when it was killed, nobody can say whether it was done.
    assert rest[0] in (len(first) - 1, len(first)), shown
    assert [*first, *rest] == [*range(len(first)), *range(rest[0], 1000)], shown
    value = edge(report, "sensor/value")
    assert value["sent"] == value["delivered"] == 1000, shown
    image = edge(report, "camera/image")
    counted = image["delivered"] + image["dropped"] + image["network"] + image["unread"]
    assert counted == image["sent"] == 300, shown


ROUTER = "10.99.0.1"


@soak
def test_killed_router_costs_no_command_and_machines_meet_again_at_the_next(flow):
    with machines("robot", "relay", "laptop") as lab:
        for machine in ("robot", "laptop"):
            link, _, relay = lab.link(machine, "relay")
            link.set(rate=20, delay=2)
            lab.run(machine, "ip", "route", "add", ROUTER, "via", relay)
        lab.run("relay", "ip", "address", "add", f"{ROUTER}/32", "dev", "lo")
        text = film("127.0.0.1", 10, 20_000)
        listens, secure = (
            'robot: {listen: "127.0.0.1:7447"}',
            f'via: "{ROUTER}:7447"\n  robot: {{}}',
        )
        made = flow(lab, text.replace(listens, secure).replace("  insecure: true\n", ""))
        names = ("robot.r7", "laptop.r7")
        assert made.verb("relay", "pair", "robot", "laptop", "--robot", "r7", "--router") == 0
        serve = ("router", "--listen", f"{ROUTER}:7447", "--allow", *names)
        router = made.start_verb("relay", *serve)

        robot, laptop = (made.start(one, "--name", "r7") for one in ("robot", "laptop"))
        eventually(lambda: len(made.received("got", "image")) > 20)
        router.kill()
        router.wait()
        robot.wait_for("laptop is lost")
        made.start_verb("relay", *serve)
        robot.wait_for("laptop is back")

        check_accounts(made, robot, laptop, 10)


@soak
def test_machines_go_over_to_another_router_when_theirs_is_gone(flow):
    with machines("robot", "relay", "laptop") as lab:
        relays = {machine: lab.wire(machine, "relay")[1] for machine in ("robot", "laptop")}
        routers = [f"10.99.0.{number}" for number in (1, 2)]
        for address in routers:
            lab.run("relay", "ip", "address", "add", f"{address}/32", "dev", "lo")
            for machine, relay in relays.items():
                lab.run(machine, "ip", "route", "add", address, "via", relay)
        text = film("127.0.0.1", 14, 20_000)
        via = f'via: ["{routers[0]}:7447", "{routers[1]}:7447"]\n  robot: {{}}'
        made = flow(lab, text.replace('robot: {listen: "127.0.0.1:7447"}', via))
        first, _ = (
            made.start_verb("relay", "router", "--listen", f"{address}:7447", "--insecure")
            for address in routers
        )

        robot, laptop = (made.start(one, "--name", "r7") for one in ("robot", "laptop"))
        eventually(lambda: len(made.received("got", "image")) > 20)
        first.kill()
        first.wait()
        robot.wait_for("laptop is lost")
        robot.wait_for("laptop is back")
        seen = len(made.received("got", "image"))
        eventually(lambda: len(made.received("got", "image")) > seen + 20)

        check_accounts(made, robot, laptop, 14)


@soak
def test_stranger_is_told_on_the_console_of_the_robot_and_disturbs_nothing(lab, flow):
    address, _ = lab.wire("robot", "laptop")
    made = flow(lab, film(address, 12, 20_000).replace("  insecure: true\n", ""))
    assert made.verb("robot", "pair", "robot", "laptop") == 0
    # Another laptop, with certificates of its own making.
    assert made.verb("laptop", "pair", "robot", "laptop", "--tls", str(made.folder / "own")) == 0
    robot, laptop = made.start("robot"), made.start("laptop")
    eventually(lambda: len(made.received("got", "image")) > 20)

    text = (made.folder / "flow.yml").read_text()
    other = made.folder / "other.yml"
    other.write_text(text.replace("machines:", f"machines:\n  tls: {made.folder / 'own'}"))
    stranger = made.start("laptop", file=other)
    robot.wait_for("different authorities")
    stranger.wait_for("its certificate is from another authority than ours")
    garbage = (
        "import socket; socket.create_connection(('%s', 7447)).sendall(b'GET / HTTP/1.0\\n\\n')"
    )
    lab.run("laptop", "python3", "-c", garbage % address)
    robot.wait_for("is not TLS")
    stranger.process.kill()

    check_accounts(made, robot, laptop, 12)


def test_machine_without_certificates_does_not_start(lab, flow):
    address, _ = lab.wire("robot", "laptop")
    made = flow(lab, film(address, 6, 20_000).replace("  insecure: true\n", ""))

    robot = made.start("robot")
    robot.process.wait(30)

    robot.wait_for("machine 'robot' has no certificate")
    assert robot.process.returncode == 3


def test_file_without_addresses_opens_loopback_and_nothing_else(lab, flow):
    made = flow(lab, film("127.0.0.1", 2, 20_000).replace("  insecure: true\n", ""))
    robot = made.start("robot")
    robot.wait_for("waiting for machine laptop")

    tables = [f"/proc/net/{name}" for name in ("tcp", "tcp6", "udp", "udp6")]
    rows = [
        line.split() for line in lab.run("robot", "cat", *tables).splitlines() if "sl" not in line
    ]

    # In a network of its own every socket is one of ours; 0A: it listens.
    assert [row[1] for row in rows if row[3] == "0A"] == ["0100007F:1D17"]
    assert [row for row in rows if row[3] == "07"] == [], "no UDP"
