"""Latched outputs that cross: a machine that comes late or anew gets what was sent before."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from dora_rt.report import Report
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.waiting import eventually
from tests.network.machines import free_port
from tests.network.test_kills import gateway_of

# On a busy machine two launchers and a restarted gateway take their time.
pytestmark = pytest.mark.timeout(400)

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
        eventually(lambda run=run: seen(isolated).count("world True") == run, within_s=120)
        end(laptop)
    end(robot)

    # The gateway of the robot may have been slower than the laptop was.
    assert [line for line in seen(isolated) if "island" not in line] == 2 * [
        "world False",
        "world True",
    ]
    (edge,) = Report.from_json((isolated.folder / "robot.json").read_text()).edges
    assert edge.sent in (3, 4)  # a run got the newest once more, or both did
    assert edge.delivered in (2, 3)
    assert edge.sent == edge.delivered + edge.dropped


@pytest.mark.parametrize(
    "policy, machine", [("drop_oldest", "robot"), ("block", "robot"), ("block", "laptop")]
)
def test_gateway_that_is_killed_sends_no_map_twice(
    isolated: IsolatedFlow, policy: str, machine: str
) -> None:
    write(isolated, policy)
    launchers = {name: begin(isolated, name) for name in ("robot", "laptop")}
    eventually(lambda: seen(isolated)[-2:] == ["world False", "world True"], within_s=120)
    before = seen(isolated)

    eventually(lambda: gateway_of(launchers[machine]) is not None, within_s=30)
    gateway = gateway_of(launchers[machine])
    assert gateway is not None
    os.kill(gateway, signal.SIGKILL)
    (isolated.folder / "new").touch()
    eventually(lambda: seen(isolated)[-1] == "continent False", within_s=120)
    for launcher in launchers.values():
        end(launcher)

    assert seen(isolated) == [*before, "continent False"]
