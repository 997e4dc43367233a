"""Machines that meet at a router: who sees whom, what a dead router costs, fifty robots on one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dora_rt.network.key_space import KeySpace
from tests.harness.ports import free_port
from tests.harness.waiting import eventually
from tests.network.conftest import ROOT, Authority, Program, Start, two_machines

pytestmark = pytest.mark.programs

LinkEnd = Callable[..., Program]


def routed(port: int, robot: str, machine: str, ours: Authority, name: str = ""):
    """Return the plan of a machine of a robot that dials a router."""
    plan = two_machines(port, machine, ours.security(name or f"{machine}.{robot}"))
    return dataclasses.replace(plan, robot=robot, via=(f"127.0.0.1:{port}",))


@pytest.fixture
def router(start: Start, authorities: tuple[Authority, Authority]) -> Callable[..., Program]:
    """Return what starts `dora-rt router` for some names at a port."""
    ours, _ = authorities
    ours.security("router")

    def start_router(port: int, *names: str, dials: int | None = None) -> Program:
        where = ("--listen", f"127.0.0.1:{port}", "--tls", str(ours.folder))
        if dials is not None:
            where += ("--connect", f"127.0.0.1:{dials}")
        program = start("dora_rt.cli", "router", *where, "--fleet", "acme", "--allow", *names)
        program.wait_for("router listens on")
        return program

    return start_router


def test_machines_of_one_robot_meet_and_never_hear_of_another(router, link_end, authorities):
    ours, _ = authorities
    port = free_port()
    made = router(port, "robot.r7", "laptop.r7", "robot.r8")
    plan = routed(port, "r7", "laptop", ours)
    keys, camera = KeySpace.of(plan), plan.streams[0]
    laptop = link_end(plan)
    laptop.wait_for("OPEN")
    laptop.tell(f"subscribe {keys.sample(camera)}")
    robot = link_end(routed(port, "r7", "robot", ours))
    robot.wait_for("OPEN")
    # It asks for what r7 sends, and its own gateway would let it.
    other = link_end(
        dataclasses.replace(routed(port, "r7", "robot", ours), security=ours.security("robot.r8")),
        access_control={"enabled": False},
    )
    other.wait_for("OPEN")
    other.tell("subscribe dora_rt/acme/**")

    made.wait_for("refused robot.r8, which may not read")
    robot.tell(f"put {keys.sample(camera)} picture")
    laptop.wait_for(f"GOT {keys.sample(camera)} picture")
    other.tell(f"put {keys.sample(camera)} forged")
    made.wait_for("refused robot.r8, which may not send camera/image from robot to laptop")

    assert "robot.r7 is here" in "\n".join(made.lines)
    assert not [line for line in other.lines if "picture" in line]
    assert not [line for line in laptop.lines if "forged" in line]


def test_operator_reaches_all_robots_of_the_fleet(router, link_end, authorities):
    ours, _ = authorities
    port = free_port()
    router(port, "robot.r7", "ops")
    plan = routed(port, "r7", "laptop", ours, name="ops")
    keys, camera = KeySpace.of(plan), plan.streams[0]
    operator = link_end(plan)
    operator.wait_for("OPEN")
    operator.tell(f"subscribe {keys.sample(camera)}")
    robot = link_end(routed(port, "r7", "robot", ours))
    robot.wait_for("OPEN")

    def is_heard() -> bool:
        robot.tell(f"put {keys.sample(camera)} picture")
        return any("picture" in line for line in operator.lines)

    eventually(is_heard)


def test_machines_at_two_routers_that_are_linked_meet(router, link_end, authorities):
    ours, _ = authorities
    first, second = free_port(), free_port()
    names = ("robot.r7", "laptop.r7")
    router(first, *names)
    router(second, *names, dials=first).wait_for("router is here")
    plan = routed(second, "r7", "laptop", ours)
    keys, camera = KeySpace.of(plan), plan.streams[0]
    laptop = link_end(plan)
    laptop.wait_for("OPEN")
    laptop.tell(f"subscribe {keys.sample(camera)}")
    robot = link_end(routed(first, "r7", "robot", ours))
    robot.wait_for("OPEN")

    def is_heard() -> bool:
        robot.tell(f"put {keys.sample(camera)} picture")
        return any("picture" in line for line in laptop.lines)

    eventually(is_heard)


def test_machine_takes_only_a_router_for_a_router(link_end, authorities, start):
    """A robot that was stolen cannot sit at the address of the router."""
    ours, _ = authorities
    port = free_port()
    thief = dataclasses.replace(two_machines(port, "robot"), security=ours.security("robot.r8"))
    link_end(thief, access_control={"enabled": False}).wait_for("OPEN")
    laptop = link_end(routed(port, "r7", "laptop", ours))

    laptop.wait_for("TOLD refused 'robot.r8'")


def test_router_without_certificates_is_refused_beyond_loopback(start, tmp_path):
    program = start(
        "dora_rt.cli", "router", "--listen", "0.0.0.0:7447", "--tls", str(tmp_path), "--allow", "a"
    )

    program.process.wait(30)

    program.wait_for("'router' has no certificate")
    assert program.process.returncode == 3


def test_configuration_for_a_stock_zenohd_is_whole(authorities):
    ours, _ = authorities
    ours.security("router")
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "dora_rt.cli", "router", "--listen", "0.0.0.0:7447"),
            *("--tls", str(ours.folder), "--allow", "robot.r7", "ops", "--print-config"),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=ROOT,
    )

    config = json.loads(printed.stdout)

    assert config["mode"] == "router"
    assert config["listen"]["endpoints"] == ["tls/0.0.0.0:7447"]
    assert config["transport"]["link"]["tls"]["enable_mtls"] is True
    assert config["access_control"]["default_permission"] == "deny"
    subjects = [entry["cert_common_names"] for entry in config["access_control"]["subjects"]]
    assert subjects == [["router", "ops"], ["robot.r7"]]


def test_pair_prints_lines_that_copy_what_a_machine_needs(tmp_path):
    home, robot = tmp_path / "laptop", tmp_path / "robot"
    for folder in (home, robot):
        folder.mkdir()
    # In the place of ssh: the command runs at once, in the home folder of the robot.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\ncd {robot} && exec sh -c "$2"\n')
    (programs / "ssh").chmod(0o755)
    environ = {**os.environ, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    environ.pop("XDG_CONFIG_HOME", None)
    paired = subprocess.run(
        [sys.executable, "-m", "dora_rt.cli", "pair", "robot", "laptop"],
        capture_output=True, text=True, timeout=20, check=True, cwd=ROOT, env=environ,
    )  # fmt: skip

    (line,) = [line for line in paired.stdout.splitlines() if "robot.pem robot.key" in line]
    subprocess.run(["sh", "-c", line], check=True, timeout=20, env=environ)

    copied = {path.name: path.stat().st_mode & 0o777 for path in _pki(robot).iterdir()}
    assert copied == {"authority.pem": 0o600, "robot.pem": 0o600, "robot.key": 0o600}
    assert "authority.key" in {path.name for path in _pki(home).iterdir()}


def _pki(home: Path) -> Path:
    return home / ".config/dora_rt/pki"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_robots_share_a_router(router, start, authorities):
    ours, _ = authorities
    port = free_port()
    robots = [f"r{number}" for number in range(50)]
    names = [f"{machine}.{robot}" for robot in robots for machine in ("robot", "laptop")]
    for name in names:
        ours.security(name)
    made = router(port, *names)

    # All robots in one process, all laptops in another: a hundred sessions, as of a hundred
    # machines, each with its own certificate.
    laptops = start("tests.network.fleet", "laptop", str(port), str(ours.folder), "50")
    laptops.wait_for("OPEN 50", within_s=60)
    drivers = start("tests.network.fleet", "robot", str(port), str(ours.folder), "50")
    drivers.wait_for("OPEN 50", within_s=60)
    drivers.tell("send 10")

    laptops.wait_for("GOT 500")
    assert "foreign 0" in laptops.wait_for("GOT 500")
    eventually(lambda: sum(" is here" in line for line in made.lines) == 100)

    made.process.send_signal(signal.SIGKILL)
    made.process.wait()
    again = router(port, *names)
    eventually(lambda: sum(" is here" in line for line in again.lines) == 100)
    drivers.tell("send 10")
    laptops.wait_for("GOT 1000")
