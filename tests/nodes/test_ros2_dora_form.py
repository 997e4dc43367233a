"""dora's key `ros2:` in a dataflow file: the options that it becomes, and what flows."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from dora_rt.nodes.ros2 import parse_options

from dora_rt.descriptor import parse_descriptor
from dora_rt.errors import DescriptorError
from tests.harness.flow import Flow
from tests.nodes.ros2_helpers import free_address, zenoh_config

POSE = "{topic: /turtle1/pose, message_type: turtlesim/Pose}"
CAMERA = """
      topics:
        - topic: /camera/image_raw
          message_type: sensor_msgs/Image
          output: image
          qos: {reliable: true, keep_last: 5}
        - {topic: /cmd_vel, message_type: geometry_msgs/Twist, direction: publish, input: speed}
        - {topic: /odom/raw, message_type: nav_msgs/Odometry}
      qos: {durability: transient_local}
      namespace: /robot1
      node_name: bridge
      transport: {kind: zenoh, compatibility: humble, config_uri: zenoh.json5}
"""
SERVICE = "{service: /add, service_type: example_interfaces/AddTwoInts, role: ROLE}"
ACTION = "{action: /fib, action_type: example_interfaces/Fibonacci, role: ROLE}"


def args_of(folder: Path, ros2: str, ports: str = "outputs: [pose]") -> list[str]:
    text = f"nodes:\n  - id: ros\n    {ports}\n    ros2: {ros2}\n"
    (node,) = parse_descriptor(text, str(folder / "flow.yml")).nodes
    assert node.program is not None
    assert node.program.module == "dora_rt.nodes.ros2"
    return list(node.program.args)


def test_single_topic_takes_the_only_port(tmp_path: Path):
    assert args_of(tmp_path, POSE) == [
        "--subscribe",
        "pose=/turtle1/pose:turtlesim/Pose,best_effort,depth=1,arrow",
        *("--transport", "auto"),
    ]


def test_topics_have_their_ports_their_qos_and_their_transport(tmp_path: Path):
    timer = "{source: dora/timer/secs/1}"
    ports = f"inputs: {{speed: {timer}}}\n    outputs: [image, odom_raw]"

    arguments = args_of(tmp_path, CAMERA, ports)

    assert arguments == [
        "--subscribe",
        "image=/camera/image_raw:sensor_msgs/Image,reliable,depth=5,arrow "
        "odom_raw=/odom/raw:nav_msgs/Odometry,best_effort,latched,depth=1,arrow",
        "--publish",
        "speed=/cmd_vel:geometry_msgs/Twist,best_effort,latched,depth=1,arrow",
        *("--namespace", "/robot1", "--name", "bridge", "--transport", "zenoh"),
        *("--distro", "humble", "--zenoh-config", "zenoh.json5"),
    ]
    options = parse_options(shlex.split(shlex.join(arguments)), {})
    assert [route.port for route in options.subscribe] == ["image", "odom_raw"]
    assert options.namespace == "/robot1"


@pytest.mark.parametrize(("role", "option"), [("client", "--call"), ("server", "--serve")])
def test_services_and_actions_have_the_ports_that_dora_gives_them(
    tmp_path: Path, role: str, option: str
):
    ports = "inputs: {request: dora/timer/secs/1}\n    outputs: [response]"

    service = args_of(tmp_path, SERVICE.replace("ROLE", role), ports)
    action = args_of(tmp_path, ACTION.replace("ROLE", role), ports)

    assert service[:2] == [
        option,
        "request+response=/add:example_interfaces/AddTwoInts,arrow,timeout=30",
    ]
    assert action[:2] == [f"{option}-action", ".=/fib:example_interfaces/Fibonacci,arrow"]


@pytest.mark.parametrize(
    ("ros2", "reason"),
    [
        ("7", "expected a mapping"),
        ("{}", "expected one of topic, topics, service and action"),
        ("{topic: /a, service: /b}", "it has topic, service"),
        ("{topic: /a}", "has no 'message_type'"),
        ("{topic: /a, message_type: a/B, direction: up}", "expected subscribe or publish"),
        ("{topics: 7}", "expected a list of topics"),
        ("{service: /a, service_type: a/B}", "has no 'role'"),
        ("{topic: /a, message_type: a/B, qos: {keep_last: 0}}", "a number from 1 to 10000"),
        ("{topic: /a, message_type: a/B, qos: {reliable: 1}}", "expected true or false"),
        ("{topic: /a, message_type: a/B, qos: {durability: eternal}}", "is 'eternal'"),
        ("{topic: /a, message_type: a/B, transport: {kind: carrier}}", "expected zenoh or dds"),
        ("{topic: /a, message_typ: a/B}", "did you mean 'message_type'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, ros2: str, reason: str):
    with pytest.raises(DescriptorError, match=r"flow\.yml") as caught:
        args_of(tmp_path, ros2)

    assert reason in str(caught.value).replace('"', "'")


def test_programs_for_dora_exchange_messages_by_the_key_ros2(flow: Flow):
    pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
    pytest.importorskip("pyarrow", reason="the extra [arrow] is not installed")
    address = free_address()
    config = zenoh_config(flow.folder, address)
    transport = f"{{kind: zenoh, compatibility: rep2016, config_uri: {config}}}"
    topic = "topic: /cmd_vel, message_type: geometry_msgs/Twist"
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: router
            module: dora_rt.nodes.ros2
            args: --router {address} --start-router --publish x=/x:std_msgs/String
            inputs: {{x: teleop/speed}}
          - id: teleop
            path: teleop.py
            inputs: {{tick: dora/timer/millis/50}}
            outputs: [speed]
          - id: there
            ros2: {{{topic}, direction: publish, transport: {transport}}}
            inputs: {{speed: teleop/speed}}
          - id: back
            ros2: {{{topic}, transport: {transport}}}
            outputs: [speed]
          - {{id: motors, path: motors.py, inputs: {{speed: back/speed}}}}
        """,
    )
    flow.write(
        "teleop.py",
        """
        import pyarrow as pa
        from dora import Node
        node = Node()
        for event in node:
            if event["type"] == "INPUT":
                twist = {"linear": {"x": 0.5, "y": 0.0, "z": 0.0}, "angular": {"z": 0.25}}
                node.send_output("speed", pa.array([twist]))
        """,
    )
    flow.write(
        "motors.py",
        """
        from dora import Node
        node = Node()
        for event in node:
            if event["type"] == "INPUT":
                print(event["value"][0].as_py()["angular"]["z"], flush=True)
        """,
    )

    done = flow.run("--stop-after", "6s")

    assert done.exit_code == 0, done.out + done.err
    assert "0.25" in done.lines("motors"), done.out
