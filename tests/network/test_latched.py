"""Latched outputs that cross: a machine that comes late or anew gets what was sent before."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time

import pytest

from dora_rt.node_config import QueuePolicy
from dora_rt.report import Report
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.waiting import eventually
from tests.network.machines import crossing, free_port
from tests.network.test_kills import gateway_of

YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{optional: true}}
    nodes:
      - id: maps
        machine: robot
        path: maps.py
        inputs: {{tick: dora/timer/millis/20}}
        outputs: [map: {{latched: true}}]
      - id: viewer
        machine: laptop
        path: viewer.py
        restart: always
        restart_delay: 0.01
        inputs: {{map: {{source: maps/map, queue_policy: {policy}}}}}
"""
MAPS = """
    from pathlib import Path
    from dora_rt import Node
    node = Node()
    for name in (b"island", b"world"):
        node.send_output("map", name)
    Path("sent").touch()
    for event in node:
        if Path("new").exists():
            Path("new").unlink()
            node.send_output("map", b"continent")
"""
# Is killed by the first map of a run.
VIEWER = """
    import os, signal
    from dora_rt import Node
    for event in Node():
        with open("seen", "a") as file:
            print(event.value.decode(), event.latched, file=file)
        if event.value == b"world" and not event.latched:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def write(flow: IsolatedFlow, policy: str) -> None:
    flow.write("flow.yml", YAML.format(port=free_port(), policy=policy))
    flow.write("maps.py", MAPS)
    flow.write("viewer.py", VIEWER)


def begin(flow: IsolatedFlow, machine: str) -> subprocess.Popen[str]:
    report = flow.folder / f"{machine}.json"
    return flow.start("--machine", machine, "--report", str(report))


def end(launcher: subprocess.Popen[str]) -> None:
    launcher.send_signal(signal.SIGINT)
    launcher.wait(60)


def seen(flow: IsolatedFlow) -> list[str]:
    path = flow.folder / "seen"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("policy", ["drop_oldest", "block"])
def test_machine_that_comes_late_and_comes_again_gets_the_newest_map(
    isolated: IsolatedFlow, policy: str
) -> None:
    write(isolated, policy)
    robot = begin(isolated, "robot")
    eventually((isolated.folder / "sent").exists)

    for run in (1, 2):
        laptop = begin(isolated, "laptop")
        eventually(lambda run=run: len(seen(isolated)) >= 2 * run, within_s=60)
        end(laptop)
    end(robot)

    assert seen(isolated) == 2 * ["world False", "world True"]
    (edge,) = Report.from_json((isolated.folder / "robot.json").read_text()).edges
    assert edge.sent == 4  # each of the runs got the newest once more
    assert edge.delivered == 2


@pytest.mark.parametrize(
    "policy, machine", [("drop_oldest", "robot"), ("block", "robot"), ("block", "laptop")]
)
def test_gateway_that_is_killed_sends_no_map_twice(
    isolated: IsolatedFlow, policy: str, machine: str
) -> None:
    write(isolated, policy)
    launchers = {name: begin(isolated, name) for name in ("robot", "laptop")}
    eventually(lambda: seen(isolated)[-2:] == ["world False", "world True"], within_s=60)
    before = seen(isolated)

    gateway = gateway_of(launchers[machine])
    assert gateway is not None
    os.kill(gateway, signal.SIGKILL)
    (isolated.folder / "new").touch()
    eventually(lambda: seen(isolated)[-1] == "continent False", within_s=60)
    for launcher in launchers.values():
        end(launcher)

    assert seen(isolated) == [*before, "continent False"]


@pytest.mark.parametrize("policy", QueuePolicy)
@pytest.mark.parametrize("is_lost", [True, False])
def test_newest_map_that_was_under_way_when_nobody_waited_any_more_is_sent_again(
    policy: QueuePolicy, is_lost: bool
) -> None:
    with crossing(policy, started=()) as one:
        one.stream = dataclasses.replace(one.stream, is_latched=True)
        robot = one.start("robot").gateway
        one.start("laptop")
        out = robot.outgoing[0]
        one.send(b"island")
        assert one.take().value == b"island"
        eventually(lambda: out.window.in_flight == 0)
        port = out.port
        if is_lost:
            out.port = None
        one.send(b"world")
        if is_lost:
            eventually(lambda: out.window.in_flight == 1)
        else:
            assert one.take().value == b"world"
        life = robot.peers["laptop"].life

        def come_back() -> None:
            out.port = port
            out.connect(life, time.monotonic_ns(), is_new_run=False)

        robot._call(lambda: out.disconnect(is_unwanted=True))
        robot._call(come_back)
        if is_lost:
            assert one.take().value == b"world"
        one.send(b"continent")

        assert one.take().value == b"continent"
