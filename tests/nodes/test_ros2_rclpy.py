"""The ROS 2 node on an installed rclpy, in a Python of its own."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
from dora_rt.nodes.ros2 import parse_options
from dora_rt.nodes.ros2.rclpy_transport import (
    UninstalledTypeError,
    import_rclpy,
    interface_class,
    roomy_profile,
)

from dora_rt.errors import ExtraMissingError
from tests.harness.flow import Flow
from tests.nodes.ros2_helpers import python_with

ROBOT = Path(__file__).with_name("subscriber_of_rclpy.py")
PICTURES = 90
FLOW = """
nodes:
  - {{id: camera, path: camera.py, inputs: {{tick: dora/timer/hz/30}}, outputs: [image]}}
  - id: ros
    module: dora_rt.nodes.ros2
    args: >-
      --transport rclpy --domain 78
      --publish "image=/camera/image:sensor_msgs/Image,reliable
      quick=/camera/quick:sensor_msgs/Image"
      --subscribe speed=/cmd_vel:geometry_msgs/Twist
      --call switch=/switch:std_srvs/SetBool,json --serve asked=/asked:std_srvs/SetBool,json
    inputs:
      image: {{source: camera/image, queue_policy: latest}}
      quick: {{source: camera/image, queue_policy: latest}}
      switch: user/switch
      asked: user/asked
    outputs: [speed, switch, asked]
  - id: user
    path: user.py
    inputs: {{speed: ros/speed, switch: ros/switch, asked: ros/asked, tick: dora/timer/secs/1}}
    outputs: [switch, asked]
  - id: robot
    path: {robot}
    args: "{pictures}"
    env: {{ROS_DOMAIN_ID: "78"}}
    on_exit: stop_all
"""


@pytest.mark.timeout(300)
def test_program_for_rclpy_gets_1080p_and_exchanges_speeds_and_services(flow: Flow):
    python = python_with(
        *("rclpy", "sensor_msgs.msg", "std_srvs.srv", "geometry_msgs.msg"),
        *("dora_rt.nodes.ros2", "cv2", "posix_ipc"),
    )
    flow.write("flow.yml", FLOW.format(robot=ROBOT, pictures=PICTURES))
    flow.write(
        "camera.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("image", np.full((1080, 1920, 3), event.seq % 256, np.uint8))
        """,
    )
    flow.write(
        "user.py",
        """
        from dora_rt import Node
        node, seen = Node(), set()
        for event in node:
            if event.id == "tick":
                node.send_output("switch", b'{"data": true}')
            elif event.id == "asked":
                answer = b'{"success": true, "message": "so does dora_rt"}'
                node.send_output("asked", answer, event.metadata)
            elif len(event.value) and event.id not in seen:
                seen.add(event.id)
                value = event.value
                print(value.decode() if event.id == "switch" else value.tolist(), flush=True)
        """,
    )

    # That of the other Python, with all its nodes.
    done = subprocess.run(
        [python, "-m", "dora_rt", flow.folder / "flow.yml", "--stop-after", "30s"],
        capture_output=True,
        text=True,
        timeout=100,
        env=flow.environ,
    )

    out = done.stdout + done.stderr
    told = re.search(r"pictures (\d+) 1080 1920 bgr8 in ([\d.]+) s", out)
    assert told is not None, out
    assert int(told[1]) >= PICTURES
    # 30 on a machine that has nothing else to do; other tests may take most of it.
    assert int(told[1]) / float(told[2]) > 3, out
    assert "/camera/quick: a subscriber asks for more than this topic offers (reliability)" in out
    assert "answer so does dora_rt" in out
    assert '{"success":true,"message":"rclpy says so"}' in out
    assert "[0.5, 0.0, 0.0, 0.0, 0.0, 0.0]" in out


@pytest.mark.parametrize(
    ("distro", "variable", "other"),
    [
        (None, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("jazzy", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("humble", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_fast_dds_has_a_profile_by_the_name_that_its_release_knows(
    monkeypatch: pytest.MonkeyPatch, distro: str | None, variable: str, other: str
):
    for name in (variable, other, "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    if distro is not None:
        monkeypatch.setenv("ROS_DISTRO", distro)

    with roomy_profile():
        text = Path(os.environ[variable]).read_text()
        has_other = other in os.environ

    assert "large_shm" in text
    assert not has_other
    assert variable not in os.environ


def test_two_transports_that_open_at_once_have_a_profile_each(monkeypatch: pytest.MonkeyPatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    has_first_left, seen = threading.Event(), []

    def open_second() -> None:
        with roomy_profile():
            # Whose file is it, and is it there as long as this one needs it?
            assert has_first_left.wait(30)
            seen.append(Path(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]).exists())

    thread = threading.Thread(target=open_second)
    with roomy_profile():
        thread.start()
        # It waits here, or has taken the first one's profile for the user's.
        thread.join(0.1)
    has_first_left.set()
    thread.join(30)

    assert seen == [True]


def test_missing_rclpy_and_missing_types_are_named():
    try:
        import_rclpy()
    except ExtraMissingError as error:
        assert "source /opt/ros/" in str(error)
    with pytest.raises(UninstalledTypeError, match="the installed ROS has no own_msgs/msg/Thing"):
        interface_class("own_msgs/msg/Thing")


def test_rclpy_is_chosen_by_its_option():
    assert parse_options(["--transport", "rclpy"], {}).transport == "rclpy"
    assert parse_options([], {"ROS_DOMAIN_ID": "5"}).domain == 5
    with pytest.raises(SystemExit):
        parse_options([], {"ROS_DOMAIN_ID": "many"})
