"""Messages of ROS 2 as bytes: the same bytes as an independent library, and what is refused."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.ros2.cdr import CdrError, Codec
from dora_rt.nodes.ros2.interface_text import Field, InterfaceError, Message, Shape
from dora_rt.nodes.ros2.interfaces import Interfaces

rosbags_typesys = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")

INTERFACES = Interfaces()
IS_SOAK = os.environ.get("SOAK") == "1"
MESSAGES_EACH = 1000 if IS_SOAK else 50
DTYPES = {"bool": "bool", "byte": "u1", "float32": "f4", "float64": "f8"}
DTYPES |= {f"{s}int{n}": f"{'u' if s else 'i'}{n // 8}" for s in ("", "u") for n in (8, 16, 32, 64)}
TEXTS = ("", "a", "ab", "abc", "base_link", "Grüße, 世界")


def codec(name: str, interfaces: Interfaces = INTERFACES) -> Codec:
    return Codec(interfaces.message(name), interfaces)


def offered() -> dict[str, list[Message]]:
    """Give all messages, and those of services and actions, by package."""
    found: dict[str, list[Message]] = {}
    for name in INTERFACES.known():
        found.setdefault(name.split("/")[0], []).append(INTERFACES.message(name))
    for name in INTERFACES.known("srv"):
        service = INTERFACES.service(name)
        found.setdefault(name.split("/")[0], []).extend([service.request, service.response])
    for name in INTERFACES.known("action"):
        action = INTERFACES.action(name)
        parts = [action.goal, action.result, action.feedback, action.feedback_message]
        for service in (action.send_goal, action.get_result):
            parts += [service.request, service.response]
        found.setdefault(name.split("/")[0], []).extend(parts)
    return found


OFFERED = offered()


def make_store() -> Any:
    """Give the types to the library by their texts, under their full names."""
    store = rosbags_typesys.get_typestore(rosbags_typesys.Stores.EMPTY)
    types: dict[str, Any] = {}
    for messages in OFFERED.values():
        for message in messages:
            text = "\n".join(text_of(field) for field in message.fields)
            types.update(rosbags_typesys.get_types_from_msg(text, their_name(message.name)))
    store.register(types)
    return store


def their_name(name: str) -> str:
    """Return the name of a part of a service or action as the library has it."""
    return name.replace("/srv/", "/msg/").replace("/action/", "/msg/")


def text_of(field: Field) -> str:
    bound = f"<={field.string_bound}" if field.string_bound else ""
    ends = {
        Shape.SINGLE: "",
        Shape.ARRAY: f"[{field.length}]",
        Shape.BOUNDED: f"[<={field.length}]",
        Shape.SEQUENCE: "[]",
    }
    return f"{their_name(field.base)}{bound}{ends[field.shape]} {field.name}"


def random_message(message: Message, chance: random.Random) -> dict[str, Any]:
    return {field.name: random_value(field, chance) for field in message.fields}


def random_value(field: Field, chance: random.Random) -> Any:
    count = {
        Shape.ARRAY: field.length,
        Shape.BOUNDED: chance.randint(0, min(field.length, 3)),
        Shape.SEQUENCE: chance.randint(0, 3),
    }.get(field.shape)
    if field.is_primitive and field.base != "string":
        dtype = np.dtype(DTYPES[field.base])
        numbers = np.frombuffer(chance.randbytes((count or 1) * dtype.itemsize), dtype)
        if dtype.kind == "b":
            numbers = np.frombuffer(numbers.tobytes(), np.uint8) > 127
        if field.base == "byte":
            numbers = numbers & 127  # the other library takes it for signed
        if dtype.kind == "f":
            numbers = np.nan_to_num(numbers)
        return numbers[0].item() if count is None else numbers[:count]
    if field.base == "string":
        texts = [chance.choice(TEXTS) for _ in range(1 if count is None else count)]
        return texts[0] if count is None else texts
    nested = INTERFACES.message(field.base)
    if count is None:
        return random_message(nested, chance)
    return [random_message(nested, chance) for _ in range(count)]


def as_object(store: Any, message: Message, values: dict[str, Any]) -> Any:
    """Return a message as the other library has it."""
    made = {}
    for field in message.fields:
        value = values[field.name]
        if not field.is_primitive:
            nested = INTERFACES.message(field.base)
            if field.shape is Shape.SINGLE:
                value = as_object(store, nested, value)
            else:
                value = [as_object(store, nested, one) for one in value]
        made[field.name] = value
    if not message.fields:
        made["structure_needs_at_least_one_member"] = 0
    return store.types[their_name(message.name)](**made)


def plain(value: Any) -> Any:
    """Return a message without arrays, to be compared."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def store() -> Any:
    return make_store()


@pytest.mark.parametrize("package", sorted(OFFERED))
@pytest.mark.timeout(300)
def test_bytes_of_random_messages_are_those_of_an_independent_library(package: str, store: Any):
    for message in OFFERED[package]:
        chance = random.Random(message.name)
        name = their_name(message.name)
        ours = Codec(message, INTERFACES)
        for _ in range(MESSAGES_EACH):
            values = random_message(message, chance)
            theirs = bytes(store.serialize_cdr(as_object(store, message, values), name))

            encoded = bytes(ours.encode(values))

            assert encoded == theirs, (message.name, values)
            assert plain(ours.decode(theirs)) == plain(values)
            again = store.deserialize_cdr(encoded, name)
            assert bytes(store.serialize_cdr(again, name)) == theirs


def test_big_endian_messages_are_read(store: Any):
    chance = random.Random(1)
    for message in OFFERED["sensor_msgs"]:
        values = random_message(message, chance)
        theirs = as_object(store, message, values)

        written = store.serialize_cdr(theirs, their_name(message.name), little_endian=False)

        assert plain(Codec(message, INTERFACES).decode(bytes(written))) == plain(values)


def test_decoded_picture_is_a_view_of_the_bytes():
    image = codec("sensor_msgs/Image")
    content = bytes(image.encode({"height": 2, "width": 3, "data": np.arange(18, dtype=np.uint8)}))

    pixels = image.decode(content)["data"]

    assert not pixels.flags.owndata
    assert pixels.__array_interface__["data"][0] == (
        np.frombuffer(content, np.uint8).__array_interface__["data"][0] + len(content) - 18
    )


def test_fields_that_are_not_given_have_their_defaults():
    pose = codec("geometry_msgs/Pose")

    assert pose.decode(pose.encode({"position": {"x": 2.0}})) == {
        "position": {"x": 2.0, "y": 0.0, "z": 0.0},
        "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
    }


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("std_msgs/String", {"daten": "x"}, "has no field daten; its fields are: data"),
        ("std_msgs/String", {"data": 3}, "data: expected a str, got 3"),
        ("std_msgs/Int8", {"data": 128}, "data: 128: "),
        ("std_msgs/Int8", {"data": 1.5}, "data: 1.5: "),
        ("std_msgs/UInt8MultiArray", {"data": [256]}, "data: a number does not fit into uint8"),
        ("std_msgs/UInt8MultiArray", {"data": [0.5]}, "data: expected numbers of uint8"),
        ("std_msgs/UInt8MultiArray", {"data": ["a"]}, "data: expected numbers of uint8"),
        ("geometry_msgs/Twist", {"linear": {"w": 1.0}}, r"Vector3 has no field w"),
        ("geometry_msgs/Twist", {"linear": 1.0}, "linear: expected a dict"),
        ("geometry_msgs/Twist", 3, "expected a dict with the fields of geometry_msgs/msg/Twist"),
        ("geometry_msgs/PoseArray", {"poses": {"a": 1}}, "poses: expected a list"),
        ("geometry_msgs/PoseArray", {"poses": [{}, 3]}, r"poses: \[1\] expected a dict"),
        ("geometry_msgs/PoseWithCovariance", {"covariance": [0.0] * 35}, "35 values, expected 36"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_its_field(name: str, values: Any, reason: str):
    with pytest.raises(CdrError, match=reason):
        codec(name).encode(values)


def test_bounds_of_texts_and_sequences_are_kept(tmp_path: Path):
    (tmp_path / "own/msg").mkdir(parents=True)
    (tmp_path / "own/msg/Few.msg").write_text("string<=3 name\nint32[<=2] numbers\n")
    few = codec("own/Few", Interfaces([tmp_path]))

    few.encode({"name": "abc", "numbers": [1, 2]})

    with pytest.raises(CdrError, match="name: a text of 4 bytes; at most 3 are allowed"):
        few.encode({"name": "abcd"})
    with pytest.raises(CdrError, match="numbers: 3 values; at most 2 are allowed"):
        few.encode({"numbers": [1, 2, 3]})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\1",
        b"\0\7\0\0\0\0\0\0",
        b"\0\1\0\0",
        b"\0\1\0\0\xff\xff\xff\xff",
        b"\0\1\0\0\x05\0\0\0abc",
    ],
)
def test_bytes_that_are_no_message_are_refused(content: bytes):
    with pytest.raises(CdrError):
        codec("std_msgs/String").decode(content)


def test_cut_or_changed_messages_are_refused_or_read_but_never_worse():
    chance = random.Random(2)
    for message in (*OFFERED["nav_msgs"], *OFFERED["sensor_msgs"], *OFFERED["vision_msgs"]):
        ours = Codec(message, INTERFACES)
        whole = bytes(ours.encode(random_message(message, chance)))
        for _ in range(50):
            broken = bytearray(whole[: chance.randint(0, len(whole))])
            for _ in range(chance.randint(0, 3) if broken else 0):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            try:
                ours.decode(bytes(broken))
            except CdrError:
                continue


def test_sequence_that_claims_more_than_there_is_costs_no_memory():
    path = codec("nav_msgs/Path")
    content = bytearray(path.encode({}))
    content[-4:] = b"\xff\xff\xff\x7f"

    with pytest.raises(CdrError, match="2147483647 elements"):
        path.decode(bytes(content))


def test_type_that_contains_itself_or_has_wide_texts_is_refused(tmp_path: Path):
    (tmp_path / "own/msg").mkdir(parents=True)
    (tmp_path / "own/msg/Loop.msg").write_text("Loop[] loops\n")
    (tmp_path / "own/msg/Wide.msg").write_text("wstring text\n")
    interfaces = Interfaces([tmp_path])

    with pytest.raises(InterfaceError, match="own/msg/Loop contains itself"):
        codec("own/Loop", interfaces)
    with pytest.raises(InterfaceError, match="wide strings are not offered"):
        codec("own/Wide", interfaces)
