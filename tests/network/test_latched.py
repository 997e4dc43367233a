"""Latched outputs that cross: a machine that comes late or anew gets what was sent before."""

from __future__ import annotations

import signal
import subprocess

import pytest

from dora_rt.report import Report
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.waiting import eventually
from tests.network.machines import free_port

YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{optional: true}}
    nodes:
      - id: maps
        machine: robot
        path: maps.py
        inputs: {{tick: dora/timer/secs/1}}
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
    for event in node: pass
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
    isolated.write("flow.yml", YAML.format(port=free_port(), policy=policy))
    isolated.write("maps.py", MAPS)
    isolated.write("viewer.py", VIEWER)
    robot = begin(isolated, "robot")
    eventually((isolated.folder / "sent").exists, within_s=30)

    for run in (1, 2):
        laptop = begin(isolated, "laptop")
        eventually(lambda run=run: len(seen(isolated)) >= 2 * run, within_s=60)
        end(laptop)
    end(robot)

    assert seen(isolated) == 2 * ["world False", "world True"]
    (edge,) = Report.from_json((isolated.folder / "robot.json").read_text()).edges
    assert edge.sent == 4  # each of the runs got the newest once more
    assert edge.delivered == 2
