"""Two real launchers of one dataflow, each the machine that it is told to be, over loopback."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import dora_rt
from dora_rt.report import EdgeReport, Report
from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

CAMERA = """
    import sys
    from pathlib import Path
    from dora_rt import Node
    node = Node()
    for number, event in enumerate(node, 1):
        node.send_output("image", b"x" * 10_000)
        Path("sent").write_text(str(number))
        if number == int(sys.argv[1]):
            break
"""
PLANNER = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("speed", event.value)
"""
MOTOR = """
    from pathlib import Path
    from dora_rt import Node
    number = 0
    for number, event in enumerate(Node(), 1):
        Path("moved").write_text(str(number))
    print("moved", number)
"""


def write(
    flow: IsolatedFlow,
    *,
    laptop: str = "{}",
    frames: int = 50,
    planner: str = "",
    motor: str = "",
) -> None:
    """Write a camera and a motor on the robot, and on the laptop what lies between them."""
    text = f"""
        machines:
          robot: {{listen: "127.0.0.1:{free_port()}"}}
          laptop: {laptop}
        nodes:
          - {{id: camera, machine: robot, path: camera.py, args: "{frames}", outputs: [image],
             inputs: {{tick: dora/timer/millis/10}}}}
          - {{id: motor, machine: robot, path: motor.py,{motor}
             inputs: {{speed: {{source: planner/speed, queue_policy: block}}}}}}
          - {{id: planner, machine: laptop, path: planner.py, outputs: [speed],{planner}
             inputs: {{image: {{source: camera/image, queue_policy: block}}}}}}
    """
    flow.write("flow.yml", text)
    flow.write("camera.py", CAMERA)
    flow.write("planner.py", PLANNER)
    flow.write("motor.py", MOTOR)


def begin(flow: IsolatedFlow, machine: str) -> subprocess.Popen[str]:
    report = flow.folder / f"{machine}.json"
    return flow.start("--machine", machine, "--report", str(report))


def end(launcher: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = launcher.communicate(timeout=30)
    return launcher.returncode, out


def report(flow: IsolatedFlow, machine: str) -> Report:
    return Report.from_json((Path(flow.folder) / f"{machine}.json").read_text())


def counts(edge: EdgeReport) -> tuple[int | None, ...]:
    return (edge.sent, edge.delivered, edge.dropped, edge.unread, edge.network)


def test_first_machine_waits_and_the_end_of_a_source_crosses_with_exact_accounts(
    isolated: IsolatedFlow,
) -> None:
    write(isolated)

    laptop = begin(isolated, "laptop")
    assert laptop.stdout is not None
    assert any("waiting for machine robot" in line for line in iter(laptop.stdout.readline, ""))
    ends = [end(launcher) for launcher in (begin(isolated, "robot"), laptop)]

    assert [code for code, _ in ends] == [0, 0], ends
    edges = [
        {edge.target: counts(edge) for edge in report(isolated, machine).edges}
        for machine in ("robot", "laptop")
    ]
    assert edges[0] == edges[1]
    assert edges[0] == {"planner/image": (50, 50, 0, 0, 0), "motor/speed": (50, 50, 0, 0, 0)}
    assert "moved 50" in ends[0][1]
    assert "camera/image -> planner/image (robot > laptop)" in ends[1][1]


def test_ctrl_c_on_one_machine_stops_the_whole_flow_in_order(isolated: IsolatedFlow) -> None:
    write(isolated, frames=1_000_000)
    robot, laptop = begin(isolated, "robot"), begin(isolated, "laptop")
    eventually(lambda: isolated.has("moved") and isolated.number("moved") > 10)

    laptop.send_signal(signal.SIGINT)
    ends = [end(robot), end(laptop)]

    assert [code for code, _ in ends] == [0, 130], ends
    assert "machine laptop: SIGINT: stopping" in ends[0][1]
    endings = {one.name: one.ending.text for one in report(isolated, "robot").processes}
    assert endings == {"camera": "stopped", "motor": "finished", "dora.network": "finished"}
    # What was sent before the stop has crossed and was read: `block` loses nothing.
    (image, speed) = (counts(edge) for edge in report(isolated, "robot").edges)
    sent = image[0]
    assert image == speed == (sent, sent, 0, 0, 0)


def test_stop_of_a_machine_that_waits_for_another_waits_for_nothing(
    isolated: IsolatedFlow,
) -> None:
    write(isolated, motor=" stop_grace: 100s,")
    robot = begin(isolated, "robot")
    assert robot.stdout is not None
    assert any("waiting for machine laptop" in line for line in iter(robot.stdout.readline, ""))

    robot.send_signal(signal.SIGINT)

    # The grace of the motor is 100 s, and that of the gateway 105 s.
    eventually(lambda: robot.poll() is not None)
    assert end(robot)[0] == 130


def test_second_launcher_of_a_machine_that_listens_waits_for_the_first(
    isolated: IsolatedFlow,
) -> None:
    write(isolated, frames=1_000_000)
    first = begin(isolated, "robot")
    assert first.stdout is not None
    assert any("waiting for machine laptop" in line for line in iter(first.stdout.readline, ""))

    second = begin(isolated, "robot")
    assert second.stdout is not None
    lines = iter(second.stdout.readline, "")
    told = next(line for line in lines if "cannot listen" in line)
    first.kill()
    assert any("listens at" in line for line in lines)
    laptop = begin(isolated, "laptop")
    assert any("machine laptop is ready" in line for line in lines)
    second.send_signal(signal.SIGINT)

    assert "the port is in use by another dora-launch, which runs flow as machine robot" in told
    assert [end(second)[0], end(laptop)[0]] == [130, 0]
    first.communicate(timeout=30)
    gateway = next(one for one in report(isolated, "robot").processes if one.name == "dora.network")
    assert gateway.restarts == 0


MORTAL = """
    import os
    from pathlib import Path
    from dora_rt import Node
    node, lives = Node(), Path("lives")
    life = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (life + 1))
    for number, event in enumerate(node):
        node.send_output("image", b"%d.%d" % (life, number), {"life": life})
        if number == 4 and life < 2:
            os._exit(1)
        if number == 4:
            break
"""
ENDLESS = """
    from dora_rt import Node
    node = Node()
    for number, event in enumerate(node):
        node.send_output("image", b"0.%d" % number, {"life": 0})
"""
WITNESS = """
    from pathlib import Path
    from dora_rt import Event, Node
    node, seen = Node(), []
    while (event := node.next_event()) is not None:
        is_sample = isinstance(event, Event)
        seen.append(event.value.decode() if is_sample else type(event).__name__)
        Path("number").write_text(str(len(seen)))
        if is_sample:
            assert event.metadata["life"] == int(seen[-1][0]), event.metadata
            assert set(event.metadata) == {"life", "open_telemetry_context"}, event.metadata
    Path("seen").write_text(" ".join(seen))
"""


@pytest.mark.parametrize("is_far", [False, True], ids=["here", "far"])
def test_reader_sees_the_restarts_of_a_source_here_and_on_another_machine(
    isolated: IsolatedFlow, is_far: bool
) -> None:
    write(isolated)
    text = (isolated.folder / "flow.yml").read_text()
    text = text.replace("path: camera.py", "path: camera.py, restart: on-failure, restart_delay: 0")
    (isolated.folder / "flow.yml").write_text(text)
    isolated.write("camera.py", MORTAL)
    isolated.write("planner.py", WITNESS)

    machines = ["robot", "laptop"] if is_far else [None]
    launchers = [isolated.start(*(["--machine", one] if one else [])) for one in machines]
    ends = [end(launcher) for launcher in launchers]

    assert [code for code, _ in ends] == [0] * len(ends), ends
    lives = [" ".join(f"{life}.{number}" for number in range(5)) for life in range(3)]
    seen = (isolated.folder / "seen").read_text()
    assert seen == f"{' SourceRestarted '.join(lives)} InputClosed"


@pytest.mark.parametrize("machine", ["robot", "laptop"])
def test_gateway_that_is_started_again_is_no_restart_of_the_source(
    isolated: IsolatedFlow, machine: str
) -> None:
    write(isolated)
    isolated.write("camera.py", ENDLESS)
    isolated.write("planner.py", WITNESS)
    launchers = [begin(isolated, one) for one in ("robot", "laptop")]
    eventually(lambda: isolated.has("number") and isolated.number("number") > 10)

    (gateway,) = [
        pid
        for pid, line in isolated.processes().items()
        if "dora_rt.network.gateway" in line and f'"machine":"{machine}"' in line
    ]
    os.kill(gateway, signal.SIGKILL)
    before = isolated.number("number")
    eventually(lambda: isolated.number("number") > before + 100)
    launchers[0].send_signal(signal.SIGINT)
    ends = [end(launcher) for launcher in launchers]

    assert [code for code, _ in ends] == [130, 0], ends
    restarts = {one.name: one.restarts for one in report(isolated, machine).processes}
    assert restarts["dora.network"] == 1
    seen = (isolated.folder / "seen").read_text().removesuffix(" InputClosed").split()
    assert seen == [f"0.{number}" for number in range(len(seen))]


def test_stop_after_another_machine_was_killed_waits_for_nothing(isolated: IsolatedFlow) -> None:
    write(isolated, frames=1_000_000, motor=" stop_grace: 100s,")
    robot, laptop = begin(isolated, "robot"), begin(isolated, "laptop")
    eventually(lambda: isolated.has("moved") and isolated.number("moved") > 10)
    isolated.kill(laptop.pid)
    assert robot.stdout is not None
    assert any("machine laptop is lost" in line for line in iter(robot.stdout.readline, ""))

    robot.send_signal(signal.SIGINT)

    eventually(lambda: robot.poll() is not None)
    assert end(robot)[0] == 130


def test_optional_machine_comes_and_goes_and_stops_nobody_else(isolated: IsolatedFlow) -> None:
    write(isolated, laptop="{optional: true}", frames=1_000_000)
    robot = begin(isolated, "robot")
    # The robot films without it, though the laptop reads with `block`.
    eventually(lambda: isolated.has("sent") and isolated.number("sent") > 20)
    assert not isolated.has("moved")
    laptop = begin(isolated, "laptop")
    eventually(lambda: isolated.has("moved") and isolated.number("moved") > 10)

    laptop.send_signal(signal.SIGINT)
    left = end(laptop)
    filmed = isolated.number("sent")
    eventually(lambda: isolated.number("sent") > filmed + 20)
    robot.send_signal(signal.SIGINT)
    stopped = end(robot)

    assert left[0] == 130, left
    assert stopped[0] == 130, stopped
    assert "machine laptop has ended" in stopped[1]


def test_machine_that_is_killed_is_a_failure_after_its_timeout(isolated: IsolatedFlow) -> None:
    write(isolated, laptop="{timeout: 1s}", frames=1_000_000, planner=" on_exit: stop_all,")
    robot, laptop = begin(isolated, "robot"), begin(isolated, "laptop")
    eventually(lambda: isolated.has("moved") and isolated.number("moved") > 10)

    isolated.kill(laptop.pid)
    code, out = end(robot)

    assert code == 1, out
    assert "machine laptop is lost" in out
    assert "machine laptop has failed, and the dataflow ends with it" in out
    (failure,) = report(isolated, "robot").failures
    assert (failure.name, failure.is_machine) == ("laptop", True)


def test_program_of_python_can_be_one_of_the_machines(isolated: IsolatedFlow) -> None:
    write(isolated)
    robot = begin(isolated, "robot")

    ran = dora_rt.run(
        isolated.folder / "flow.yml", env=isolated.environ, quiet=True, machine="laptop"
    )

    assert end(robot)[0] == 0
    assert not ran.failures
    assert (ran.machine, [machine.name for machine in ran.machines]) == ("laptop", ["robot"])
    assert {edge.target: counts(edge) for edge in ran.edges} == {
        "planner/image": (50, 50, 0, 0, 0),
        "motor/speed": (50, 50, 0, 0, 0),
    }


def test_all_nodes_run_here_without_a_machine(isolated: IsolatedFlow) -> None:
    write(isolated)

    code, out = isolated.finish()

    assert code == 0, out
    assert "moved 50" in out
    assert "dora.network" not in out


def test_the_clock_of_one_machine_is_that_of_the_others(isolated: IsolatedFlow) -> None:
    isolated.write(
        "flow.yml",
        f"""
        clock: simulator/clock
        machines:
          robot: {{listen: "127.0.0.1:{free_port()}"}}
          laptop: {{}}
        nodes:
          - {{id: simulator, machine: robot, path: simulator.py, outputs: [clock],
             inputs: {{done: follower/done}}}}
          - {{id: follower, machine: laptop, path: follower.py, outputs: [done],
             inputs: {{tick: dora/timer/millis/100}}}}
        """,
    )
    isolated.write(
        "simulator.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for millis in (0, 100, 450, 20):
            node.send_output("clock", np.int64(millis * 1_000_000))
            node.next()
        node.stop_dataflow()
        """,
    )
    isolated.write(
        "follower.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            print(event.id, event.seq, node.now() // 1_000_000, flush=True)
            node.send_output("done", b"")
        """,
    )

    robot, laptop = begin(isolated, "robot"), begin(isolated, "laptop")
    (robot_status, robot_out), (laptop_status, laptop_out) = end(robot), end(laptop)

    assert (robot_status, laptop_status) == (0, 0), robot_out + laptop_out
    lines = [line for line in laptop_out.splitlines() if "follower" in line and "tick" in line]
    assert [line.partition("tick ")[2] for line in lines] == ["0 0", "1 100", "4 450", "5 20"]
