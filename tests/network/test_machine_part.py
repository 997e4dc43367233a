"""The part of one machine: its nodes, the gateway, and the edges that cross under their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import parse_descriptor
from dora_rt.network.gateway_plan import GatewayPlan, OverNetwork, Security
from dora_rt.node_config import ClockConfig, QueuePolicy
from dora_rt.plan.machine_part import GATEWAY, Membership
from dora_rt.plan.plan import Plan, ProcessPlan, outline
from dora_rt.plan.planner import make_plan

MACHINES = """
machines:
  robot: {listen: "192.168.1.20:7447"}
  laptop: {timeout: 30s}
  screen: {optional: true}
  insecure: true
"""
FLOW = (
    MACHINES
    + """
nodes:
  - {id: camera, machine: robot, path: a.py, outputs: [image]}
  - {id: motor, machine: robot, path: b.py, inputs: {speed: {source: planner/speed,
     queue_policy: latest, input_timeout: 300ms}}}
  - {id: planner, machine: laptop, path: c.py, outputs: [speed],
     inputs: {image: {source: camera/image, queue_policy: latest}}}
  - {id: logger, machine: laptop, path: d.py,
     inputs: {image: {source: camera/image, queue_policy: block, queue_size: 7}}}
  - {id: view, machine: screen, path: e.py, inputs: {image: {source: camera/image,
     over_network: {compress: jpeg, max_hz: 5}}, speed: planner/speed}}
"""
)


def part(machine: str, text: str = FLOW) -> Plan:
    membership = Membership(machine, "r7", "flow", "abc", Security(is_insecure=True))
    return make_plan(
        parse_descriptor(text, "flow.yml"),
        folder=Path("/"),
        interpreter="python",
        membership=membership,
    )


def gateway_of(plan: Plan) -> ProcessPlan:
    assert plan.network is not None
    return plan.processes[plan.network.gateway]


def edges_of(plan: Plan) -> list[str]:
    return [f"{edge.source} -> {edge.target}" for edge in plan.edges]


def test_machine_runs_its_own_nodes_and_a_gateway_that_is_restarted() -> None:
    plan = part("robot")

    assert [process.name for process in plan.processes] == ["camera", "motor", GATEWAY]
    gateway = gateway_of(plan)
    assert gateway.argv[:-1] == ("python", "-u", "-m", "dora_rt.network.gateway")
    assert gateway.supervision.restart.value == "on-failure"
    assert gateway.supervision.max_restarts == 0


def test_gateway_is_told_everything_in_its_argument() -> None:
    plan = part("laptop")

    assert plan.network is not None
    told = GatewayPlan.from_json(gateway_of(plan).argv[-1])
    assert told == plan.network.plan
    assert (told.machine, told.robot, told.flow) == ("laptop", "r7", "flow")
    assert [(one.name, one.is_optional, one.timeout_s, one.nodes) for one in told.machines] == [
        ("robot", False, None, ("camera", "motor")),
        ("laptop", False, 30.0, ("planner", "logger")),
        ("screen", True, None, ("view",)),
    ]


def test_streams_are_the_same_on_all_machines() -> None:
    plans = [part(machine) for machine in ("robot", "laptop", "screen")]

    streams = [plan.network.plan.streams for plan in plans if plan.network is not None]
    assert streams[0] == streams[1] == streams[2]
    assert [(one.number, one.source, one.ends, one.targets) for one in streams[0]] == [
        (0, "planner/speed", "laptop > robot", ("motor/speed",)),
        (1, "camera/image", "robot > laptop", ("planner/image", "logger/image")),
        (2, "camera/image", "robot > screen", ("view/image",)),
        (3, "planner/speed", "laptop > screen", ("view/speed",)),
    ]


def test_machines_agree_only_if_their_streams_are_the_same_as_well() -> None:
    """Arguments and variables of one machine may change what crosses."""
    texts = (FLOW, FLOW, FLOW.replace("queue_size: 7", "queue_size: 8"))

    digests = [
        plan.network.plan.file_sha256
        for plan in map(part, ("robot", "laptop", "robot"), texts)
        if plan.network is not None
    ]

    assert digests[0] == digests[1] != digests[2]


def test_inputs_of_one_machine_share_a_stream_by_the_strictest_policy_and_longest_queue() -> None:
    plan = part("robot")

    assert plan.network is not None
    stream = plan.network.plan.streams[1]
    assert (stream.queue_policy, stream.queue_size) == (QueuePolicy.BLOCK, 7)
    (edge,) = [edge for edge in plan.edges if edge.stream == stream]
    assert (edge.queue_policy, edge.queue_size) == (QueuePolicy.BLOCK, 7)


def test_each_reader_keeps_its_own_policy_on_its_machine() -> None:
    plan = part("laptop")

    coming = {edge.target: edge for edge in plan.edges if edge.source == "camera/image"}
    assert {target: (edge.queue_policy, edge.queue_size) for target, edge in coming.items()} == {
        "planner/image": (QueuePolicy.LATEST, 1),
        "logger/image": (QueuePolicy.BLOCK, 7),
    }


def test_edges_keep_the_names_that_the_file_gives_them() -> None:
    assert edges_of(part("robot")) == [
        "camera/image -> planner/image, logger/image",
        "camera/image -> view/image",
        "planner/speed -> motor/speed",
    ]
    assert edges_of(part("screen")) == [
        "camera/image -> view/image",
        "planner/speed -> view/speed",
    ]


def test_reader_of_another_machine_knows_its_source_and_its_silence() -> None:
    motor = part("robot").processes[1].config

    (speed,) = motor.inputs
    assert (speed.id, speed.source_node, speed.timeout_ns) == ("speed", "planner", 300_000_000)


def test_ports_of_the_gateway_are_those_of_the_streams() -> None:
    plan = part("laptop")

    config = gateway_of(plan).config
    assert plan.network is not None
    leaving, coming = plan.network.plan.own_streams()
    assert [entry.id for entry in config.inputs] == [one.port for one in leaving]
    assert [output.id for output in config.outputs] == [one.port for one in coming]


def test_inputs_that_ask_different_things_of_the_network_have_streams_of_their_own() -> None:
    text = FLOW.replace(
        "image: {source: camera/image, queue_policy: block, queue_size: 7}",
        "image: {source: camera/image, over_network: {max_hz: 2}}",
    )

    plan = part("robot", text)

    assert plan.network is not None
    ports = {
        one.port: (one.targets, one.over_network)
        for one in plan.network.plan.streams
        if one.receiver == "laptop"
    }
    assert ports == {
        "laptop/camera/image": (("planner/image",), OverNetwork()),
        "laptop/camera/image#2": (("logger/image",), OverNetwork(max_hz=2.0)),
    }


def test_gateway_is_stopped_last_and_makes_no_circle() -> None:
    plan = part("laptop")

    gateway = gateway_of(plan)
    assert gateway.upstream == {0, 1}
    assert all(not process.circle.members for process in plan.processes)
    # The planner drains what the gateway has received, and is no source.
    assert plan.processes[0].upstream == {2}


def test_circle_of_one_machine_is_still_one() -> None:
    text = (
        MACHINES
        + """
nodes:
  - {id: a, machine: robot, path: a.py, inputs: {b: b/out}, outputs: [out]}
  - {id: b, machine: robot, path: b.py, inputs: {a: a/out}, outputs: [out]}
  - {id: c, machine: laptop, path: c.py, inputs: {a: a/out}}
"""
    )

    plan = part("robot", text)

    assert [process.circle.members for process in plan.processes] == [{0, 1}, {0, 1}, set()]


def test_circle_over_two_machines_waits_for_the_feeders_of_its_own_machine_only() -> None:
    text = (
        MACHINES
        + """
nodes:
  - {id: gui, machine: laptop, path: g.py, outputs: [goal]}
  - {id: planner, machine: laptop, path: a.py, inputs: {goal: gui/goal, odom: base/odom},
     outputs: [speed]}
  - {id: base, machine: robot, path: b.py, inputs: {speed: planner/speed}, outputs: [odom]}
  - {id: log, machine: robot, path: c.py, inputs: {odom: base/odom}}
"""
    )

    robot, laptop = part("robot", text), part("laptop", text)

    assert {one.name: (one.circle.members, one.circle.feeders) for one in robot.processes} == {
        "base": ({0}, set()),
        "log": (set(), set()),
        GATEWAY: (set(), set()),
    }
    assert laptop.processes[1].circle.members == {1}
    assert laptop.processes[1].circle.feeders == {0}


def test_lines_that_a_node_prints_cross_as_text() -> None:
    text = (
        MACHINES
        + """
nodes:
  - {id: a, machine: robot, path: a.py, send_stdout_as: lines}
  - {id: b, machine: laptop, path: b.py, inputs: {lines: a/lines}}
"""
    )

    sender, receiver = part("robot", text), part("laptop", text)

    assert sender.relay == 2
    assert edges_of(sender) == edges_of(receiver) == ["a/lines -> b/lines"]
    (lines,) = receiver.processes[0].config.inputs
    assert lines.is_text
    assert lines.source_node == "a"


def test_operators_read_and_send_over_machines_under_their_names() -> None:
    text = (
        MACHINES
        + """
nodes:
  - {id: camera, machine: robot, path: a.py, outputs: [image]}
  - id: vision
    machine: laptop
    operators:
      - {id: find, python: b.py, inputs: {image: camera/image}, outputs: [bbox]}
  - {id: arm, machine: robot, path: c.py, inputs: {bbox: vision/find/bbox}}
"""
    )

    assert edges_of(part("laptop", text)) == [
        "vision/find/bbox -> arm/bbox",
        "camera/image -> vision/find/image",
    ]
    assert edges_of(part("robot", text)) == [
        "camera/image -> vision/find/image",
        "vision/find/bbox -> arm/bbox",
    ]


def test_machine_without_nodes_has_a_gateway_only() -> None:
    text = FLOW.replace('robot: {listen: "192.168.1.20:7447"}', "robot: {}").replace(
        "machines:", 'machines:\n  hub: {listen: "10.0.0.1:7447"}'
    )

    plan = part("hub", text)

    assert [process.name for process in plan.processes] == [GATEWAY]
    assert plan.edges == ()


def test_without_a_machine_all_nodes_run_here() -> None:
    plan = make_plan(parse_descriptor(FLOW, "flow.yml"), folder=Path("/"), interpreter="python")

    assert [process.name for process in plan.processes] == [
        "camera",
        "motor",
        "planner",
        "logger",
        "view",
    ]
    assert plan.network is None
    assert all(edge.stream is None for edge in plan.edges)


def test_machines_whose_nodes_end_all_are_known() -> None:
    plan = part("robot", FLOW.replace("{id: planner,", "{id: planner, on_exit: stop_all,"))

    assert plan.network is not None
    assert plan.network.ends_all == {"laptop"}


def test_outline_says_what_runs_where_and_what_crosses() -> None:
    lines = outline(part("laptop")).splitlines()

    assert lines == [
        "flow.yml is fine on machine laptop: 3 processes, 4 edges",
        "  planner: python -u c.py",
        "  logger: python -u d.py",
        "  dora.network: the gateway to the other machines",
        "  planner/speed -> motor/speed (laptop > robot, queue 1, latest)",
        "  planner/speed -> view/speed (laptop > screen, queue 10, drop_oldest)",
        "  camera/image -> planner/image (robot > laptop, queue 1, latest)",
        "  camera/image -> logger/image (robot > laptop, queue 7, block)",
        "  machine robot: camera, motor",
        "  machine screen (optional): view",
        "  camera/image -> view/image (robot > screen)",
    ]


@pytest.mark.programs
def test_planning_imports_nothing_that_speaks_to_other_machines() -> None:
    """Of the modules of the network, a dataflow without machines loads those with dataclasses."""
    code = (
        "import sys; import dora_rt.cli.dora_launch, dora_rt.cli.run_file; "
        "print(*sorted(name for name in sys.modules if name.startswith('dora_rt.network') "
        "or name in ('zenoh', 'cryptography', 'ssl')))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    ).stdout.split()

    assert loaded == [
        "dora_rt.network",
        "dora_rt.network.gateway_plan",
        "dora_rt.network.network_status",
    ]


def test_gateway_holds_few_samples_of_an_output_whose_slots_are_large() -> None:
    def held(slot_bytes: int) -> int:
        text = FLOW.replace("queue_size: 7", f"queue_size: 7, slot_bytes: {slot_bytes}")
        (config,) = [one for one in part("robot", text).outputs if one.edge_count == 2]
        return config.edges[0].max_held

    assert [held(nbytes) for nbytes in (1000, 8 << 20, 100 << 20)] == [64, 8, 4]


def test_clock_crosses_to_each_other_machine_and_is_there_an_output_of_the_gateway() -> None:
    text = "clock: planner/time\n" + FLOW.replace("outputs: [speed]", "outputs: [speed, time]")
    robot, laptop, screen = (part(machine, text) for machine in ("robot", "laptop", "screen"))

    assert robot.network is not None
    assert [
        (one.ends, one.targets, one.queue_policy, one.queue_size)
        for one in robot.network.plan.streams
        if one.source == "planner/time"
    ] == [
        ("laptop > robot", ("dora.clock/robot",), QueuePolicy.LATEST, 1),
        ("laptop > screen", ("dora.clock/screen",), QueuePolicy.LATEST, 1),
    ]
    clocks = {
        process.name: process.config.clock.output
        for plan in (robot, laptop, screen)
        for process in plan.processes
        if process.config.clock is not None and process.config.clock.output is not None
    }
    assert clocks == {"planner": "time", GATEWAY: "screen/planner/time"}
    assert gateway_of(robot).config.clock == ClockConfig("robot/planner/time")
