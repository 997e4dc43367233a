"""A gateway that a signal has stopped: both machines notice, and nothing else waits for it."""

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

pytestmark = pytest.mark.slow

YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{}}
    nodes:
      - {{id: camera, machine: robot, path: camera.py, outputs: [image],
         inputs: {{tick: dora/timer/millis/10}}}}
      - {{id: motor, machine: robot, path: motor.py,
         inputs: {{image: {{source: camera/image, queue_policy: block}}}}}}
      - {{id: pilot, machine: robot, path: pilot.py, outputs: [command],
         inputs: {{tick: dora/timer/millis/20}}}}
      - id: viewer
        machine: laptop
        path: viewer.py
        inputs:
          image: {{source: camera/image, queue_policy: latest}}
          command: {{source: pilot/command, queue_policy: block, queue_size: 10}}
"""
CAMERA = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("image", b"picture")
"""
PILOT = """
    from dora_rt import Node
    node = Node()
    for number, event in enumerate(node):
        node.send_output("command", number.to_bytes(8, "little"))
"""
MOTOR = """
    from pathlib import Path
    from dora_rt import Node
    for number, event in enumerate(Node()):
        Path("moved").write_text(str(number))
"""
VIEWER = """
    import os
    from dora_rt import Node
    seen = os.open("seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for event in Node():
        if event.id == "command":
            os.write(seen, b"%d\\n" % int.from_bytes(event.value, "little"))
"""


def begin(flow: IsolatedFlow, machine: str) -> subprocess.Popen[str]:
    # What it prints is read while it runs.
    log, report = (flow.folder / f"{machine}.{ending}" for ending in ("out", "json"))
    command = flow.command("--machine", machine, "--report", str(report))
    return flow.start(command=["sh", "-c", 'exec "$@" > "$0" 2>&1', str(log), *command])


def seen(flow: IsolatedFlow) -> list[int]:
    path = flow.folder / "seen"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def has_told(flow: IsolatedFlow, machine: str, text: str) -> bool:
    return text in (flow.folder / f"{machine}.out").read_text()


def test_stopped_gateway_is_noticed_and_replaced_and_holds_up_nothing_else(
    isolated: IsolatedFlow,
) -> None:
    isolated.write("flow.yml", YAML.format(port=free_port()))
    for name, text in {"camera": CAMERA, "pilot": PILOT, "motor": MOTOR, "viewer": VIEWER}.items():
        isolated.write(f"{name}.py", text)
    robot, laptop = begin(isolated, "robot"), begin(isolated, "laptop")
    eventually(lambda: len(seen(isolated)) > 10 and isolated.has("moved"))
    gateway = gateway_of(robot)
    assert gateway is not None

    os.kill(gateway, signal.SIGSTOP)
    moved = isolated.number("moved")
    eventually(lambda: has_told(isolated, "laptop", "machine robot is lost"))
    assert not has_told(isolated, "robot", "hung"), "the other machine notices first"
    eventually(lambda: isolated.number("moved") > moved + 100)
    eventually(lambda: has_told(isolated, "robot", "no heartbeat for 10 s"))
    before = len(seen(isolated))
    eventually(lambda: len(seen(isolated)) > before + 50)
    robot.send_signal(signal.SIGINT)
    codes = [launcher.wait(30) for launcher in (robot, laptop)]

    assert codes == [130, 0]
    report = Report.from_json((isolated.folder / "robot.json").read_text())
    assert {one.name: one.restarts for one in report.processes}["dora.network"] == 1
    edge = next(edge for edge in report.edges if edge.target == "viewer/command")
    assert seen(isolated) == list(range(edge.sent or 0))
    assert (edge.delivered, edge.dropped, edge.network) == (edge.sent, 0, 0)
