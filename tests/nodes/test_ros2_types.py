"""Interfaces of ROS 2: their texts, and the hashes by which others know them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dora_rt.nodes.ros2.interface_text import Field, InterfaceError, Shape, read_message
from dora_rt.nodes.ros2.interfaces import Interfaces
from dora_rt.nodes.ros2.type_hash import type_hash

INTERFACES = Interfaces()
# Of the packages as they were released, by the generator of ROS 2 itself.
OFFICIAL = json.loads(Path(__file__).with_name("ros2_type_hashes.json").read_text())
OFFERED = [name for kind in ("msg", "srv", "action") for name in INTERFACES.known(kind)]


def hash_of(name: str) -> str:
    kind = name.split("/")[1]
    if kind == "msg":
        return type_hash(INTERFACES.message(name), INTERFACES)
    whole = INTERFACES.service(name) if kind == "srv" else INTERFACES.action(name)
    return type_hash(whole.whole, INTERFACES)


@pytest.mark.parametrize("package", sorted({name.split("/")[0] for name in OFFICIAL}))
def test_type_hashes_are_the_official_ones(package: str):
    official = {name: found for name, found in OFFICIAL.items() if name.startswith(f"{package}/")}

    assert {name: hash_of(name) for name in official} == official


def test_what_has_no_official_hash_here_is_little():
    packages = {name.split("/")[0] for name in OFFERED if name not in OFFICIAL}

    assert packages == {"example_interfaces", "tf2_msgs", "vision_msgs"}
    assert len(OFFICIAL) > 150


def test_type_hashes_equal_those_that_an_installed_ros_has():
    shares = [
        Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    ]
    files = [
        (name, file)
        for name in OFFERED
        for share in shares
        if (file := share / f"{name}.json").is_file()
    ]
    if not files:
        pytest.skip("AMENT_PREFIX_PATH leads to no share/PACKAGE/msg/NAME.json: no ROS 2 is there")

    for name, file in files:
        hashes = json.loads(file.read_text())["type_hashes"]
        official = {one["type_name"]: one["hash_string"] for one in hashes}
        assert hash_of(name) == official[name]


def test_all_offered_interfaces_are_found_with_all_that_they_need():
    for name in INTERFACES.known():
        message = INTERFACES.message(name)
        assert all(one.name for one in INTERFACES.needed_by(message))

    for package in ("sensor_msgs", "geometry_msgs", "nav_msgs", "vision_msgs", "std_msgs"):
        assert any(name.startswith(f"{package}/msg/") for name in OFFERED)
    assert {"tf2_msgs/msg/TFMessage", "rosgraph_msgs/msg/Clock"} <= set(OFFERED)


def test_text_is_read_with_constants_defaults_bounds_and_comments():
    text = """\
# a comment
int32 LIMIT=7
string<=10 name "a # in it"  # and a comment
float64[3] at [1.0, 2.0, 3.0]
char[<=4] letters
bool ready true
\tNested[] many
Header header
byte\tflags 0x10
"""

    fields = read_message("own/msg/Thing", text).fields

    assert fields == (
        Field("name", "string", string_bound=10, default="a # in it"),
        Field("at", "float64", Shape.ARRAY, 3, default=[1.0, 2.0, 3.0]),
        Field("letters", "uint8", Shape.BOUNDED, 4),
        Field("ready", "bool", default=True),
        Field("many", "own/msg/Nested", Shape.SEQUENCE),
        Field("header", "std_msgs/msg/Header"),
        Field("flags", "byte", default=16),
    )


@pytest.mark.parametrize("line", ["int32", "int32 1x", "a/b/c/d e", "int32 x y", "own/T t 3"])
def test_line_that_is_no_field_is_refused_with_its_number(line: str):
    with pytest.raises(InterfaceError, match=r"own/msg/Thing, line 2: "):
        read_message("own/msg/Thing", f"int8 fine\n{line}\n")


def test_unknown_interface_is_refused_with_one_of_a_similar_name():
    with pytest.raises(InterfaceError, match=r"did you mean sensor_msgs/msg/Image\?"):
        INTERFACES.message("sensor_msgs/Imag")
    with pytest.raises(InterfaceError, match="expected PACKAGE/NAME"):
        INTERFACES.message("Image")
    with pytest.raises(InterfaceError, match=r"FOLDER/own_msgs/srv/Go\.srv"):
        INTERFACES.service("own_msgs/Go")


def test_folder_of_the_user_gives_interfaces_and_takes_the_place_of_ours(tmp_path: Path):
    (tmp_path / "own_msgs/msg").mkdir(parents=True)
    (tmp_path / "own_msgs/msg/Mark.msg").write_text("geometry_msgs/Point at\nstring label\n")
    (tmp_path / "std_msgs/msg").mkdir(parents=True)
    (tmp_path / "std_msgs/msg/String.msg").write_text("string text\n")
    interfaces = Interfaces([tmp_path])

    mark = interfaces.message("own_msgs/Mark")
    needed = [one.name for one in interfaces.needed_by(mark)]

    assert needed == ["geometry_msgs/msg/Point"]
    assert [field.name for field in interfaces.message("std_msgs/String").fields] == ["text"]
    assert interfaces.message("std_msgs/Bool").fields


def test_service_and_action_have_the_parts_that_are_on_the_wire():
    service = INTERFACES.service("example_interfaces/AddTwoInts")
    action = INTERFACES.action("example_interfaces/Fibonacci")

    assert [field.name for field in service.request.fields] == ["a", "b"]
    assert [field.name for field in service.response.fields] == ["sum"]
    assert action.send_goal.name == "example_interfaces/action/Fibonacci_SendGoal"
    assert [field.name for field in action.send_goal.request.fields] == ["goal_id", "goal"]
    assert [field.name for field in action.get_result.response.fields] == ["status", "result"]
    assert [field.name for field in action.feedback_message.fields] == ["goal_id", "feedback"]


def test_service_with_a_part_missing_is_refused(tmp_path: Path):
    (tmp_path / "own/srv").mkdir(parents=True)
    (tmp_path / "own/srv/Go.srv").write_text("int32 a\n")

    with pytest.raises(InterfaceError, match="has 1 parts"):
        Interfaces([tmp_path]).service("own/Go")
