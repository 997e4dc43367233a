"""Bags of ROS 2: what we record others read, and what others recorded we replay."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dora_rt.nodes.record import open_recorder, parse_options
from dora_rt.nodes.recorded import RecordingError
from dora_rt.nodes.replay import Recording
from dora_rt.nodes.ros2.bag_messages import split_text, whole_text
from dora_rt.nodes.ros2.interfaces import Interfaces

from dora_rt.event import Event
from tests.harness.flow import Flow

pytest.importorskip("mcap", reason="the extra [record] is not installed")
rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed")
from rosbags.typesys import Stores, get_typestore  # noqa: E402

STORE = get_typestore(Stores.ROS2_JAZZY)
BOXES = np.array([[0, 10, 20, 50, 0.75, 0]], np.float32)
PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def event(value: Any, metadata: dict[str, Any] | None = None, seq: int = 0) -> Event:
    now_ns = time.monotonic_ns()
    text = json.dumps(metadata).encode() if metadata else b""
    return Event("in", value, text, seq=seq, sent_ns=now_ns, origin_ns=now_ns - 5_000_000)


def record(path: Path, samples: dict[str, list[Event]], *options: str) -> str:
    parsed = parse_options(["--file", str(path), "--ros2", *options])
    with open_recorder(parsed, {}) as recorder:
        for source, events in samples.items():
            for one in events:
                recorder.add(source, one)
    return recorder.summary()


def read(path: Path) -> dict[str, list[Any]]:
    """Read a bag with an independent library, by the types that the bag itself has."""
    found: dict[str, list[Any]] = {}
    with rosbag2.Reader(path) as reader:
        for connection, _, content in reader.messages():
            message = STORE.deserialize_cdr(content, connection.msgtype)
            found.setdefault(connection.topic, []).append(message)
    return found


def test_pictures_text_and_numbers_are_messages_that_others_read(tmp_path: Path):
    path = tmp_path / "drive.mcap"
    jpeg = cv2.imencode(".jpg", PICTURE)[1].reshape(-1)

    summary = record(
        path,
        {
            "camera/image": [event(PICTURE, {"encoding": "rgb8", "frame_id": "lens"})] * 3,
            "camera/small": [event(jpeg, {"encoding": "jpeg"})],
            "talker/text": [event("Grüße".encode())],
            "camera/late": [event(PICTURE, {"encoding": "rgb8", "clock_ns": 5_000_000_007})],
            "arm/joints": [event(np.array([[1.5, 2.5], [3.5, 4.5]]))],
        },
    )

    found = read(path)
    assert len(found["/camera/image"]) == 3
    image = found["/camera/image"][0]
    assert (image.width, image.height, image.encoding, image.step) == (6, 4, "rgb8", 18)
    assert np.array_equal(image.data, PICTURE.reshape(-1))
    assert image.header.frame_id == "lens"
    stamp_ns = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
    assert 0 < time.time_ns() - stamp_ns < 60 * 10**9
    simulated = found["/camera/late"][0].header.stamp
    assert (simulated.sec, simulated.nanosec) == (5, 7), "by the clock of the dataflow"
    assert found["/camera/small"][0].format == "jpeg"
    assert found["/talker/text"][0].data == "Grüße"
    assert found["/arm/joints"][0].data.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert "camera/image: 3 samples, none lost" in summary


def test_bag_has_the_profile_schemas_and_hashes_of_ros(tmp_path: Path):
    import mcap.reader

    path = tmp_path / "drive.mcap"
    record(path, {"camera/image": [event(PICTURE, {"encoding": "bgr8"})]})

    with path.open("rb") as file:
        reader = mcap.reader.make_reader(file)
        assert reader.get_header().profile == "ros2"
        ((schema, channel, _),) = reader.iter_messages()

    assert (schema.name, schema.encoding) == ("sensor_msgs/msg/Image", "ros2msg")
    assert b"MSG: std_msgs/Header\n" in schema.data
    assert channel.message_encoding == "cdr"
    assert channel.metadata["topic_type_hash"].startswith("RIHS01_d31d41a9a4c4bc8e")
    assert "reliability: reliable" in channel.metadata["offered_qos_profiles"]


def test_type_that_cannot_be_guessed_is_said_and_topics_may_be_named(tmp_path: Path, caplog: Any):
    samples = {
        "base/speed": [event(np.array([0.5, 0.1])), event(b"no speed")],
        "base/odd": [event(np.array([True]))] * 2,
    }

    summary = record(
        tmp_path / "a.mcap", samples, "--topic", "base/speed=/cmd_vel:geometry_msgs/Twist"
    )

    found = read(tmp_path / "a.mcap")
    assert found.keys() == {"/cmd_vel"}
    assert found["/cmd_vel"][0].linear.x == 0.5
    assert "write --topic base/odd=/base/odd:PACKAGE/TYPE" in caplog.text
    assert "left out: 2 samples of base/odd" in summary
    assert "left out: 1 sample of base/speed" in summary
    with pytest.raises(RecordingError, match="--topic: 'nonsense' is not PORT=TOPIC"):
        record(tmp_path / "b.mcap", {}, "--topic", "nonsense")


def test_what_we_record_is_replayed_as_it_was(tmp_path: Path):
    path = tmp_path / "drive.mcap"
    sent = event(PICTURE, {"encoding": "bgr8"})
    boxes = event(BOXES, {"labels": ["person"]})
    record(path, {"camera/image": [sent], "detector/bbox": [boxes]})

    recording = Recording.open(path)
    samples = {one.source: one.sample for one in recording.read(recording.samples)}

    assert recording.samples == {"camera/image": 1, "detector/bbox": 1}
    image = samples["camera/image"]
    assert np.array_equal(image.value, PICTURE)
    assert json.loads(image.metadata_json)["encoding"] == "bgr8"
    age_ns = image.header["sent_ns"] - image.header["origin_ns"]
    assert age_ns == pytest.approx(5_000_000, abs=1_000_000)
    assert samples["detector/bbox"].value.tolist() == BOXES.tolist()
    assert json.loads(samples["detector/bbox"].metadata_json)["labels"] == ["person"]


def make_bag(folder: Path) -> Path:
    """Write a bag as others do, with a type that nobody here knows."""
    from rosbags.typesys import get_types_from_msg

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(
        get_types_from_msg("geometry_msgs/Point at\nfloat32 heat\n", "own_msgs/msg/Spot")
    )
    types = store.types
    plugin = rosbag2.StoragePlugin.MCAP
    with rosbag2.Writer(folder, version=9, storage_plugin=plugin) as writer:
        text = writer.add_connection("/front/text", "std_msgs/msg/String", typestore=store)
        spot = writer.add_connection("/spots", "own_msgs/msg/Spot", typestore=store)
        message = types["std_msgs/msg/String"]
        point = types["geometry_msgs/msg/Point"](x=1.0, y=2.0, z=3.0)
        begin_ns = 1_700_000_000 * 10**9
        for number in range(5):
            content = store.serialize_cdr(message(data=f"hello {number}"), "std_msgs/msg/String")
            writer.write(text, begin_ns + number * 20_000_000, content)
        hot = types["own_msgs/msg/Spot"](at=point, heat=0.5)
        writer.write(spot, begin_ns, store.serialize_cdr(hot, "own_msgs/msg/Spot"))
    return next(folder.glob("*.mcap"))


def test_bag_of_others_is_read_by_its_own_schemas(tmp_path: Path):
    pytest.importorskip("pyarrow")
    path = make_bag(tmp_path / "bag")

    recording = Recording.open(path, {"/spots": "sensor/spot"})
    found = [(one.source, one.sample.value) for one in recording.read(recording.samples)]

    assert recording.samples == {"front/text": 5, "sensor/spot": 1}
    assert ("front/text", b"hello 0") in found[:2]
    (spot,) = [value for source, value in found if source == "sensor/spot"]
    assert spot.to_pylist() == [{"at": {"x": 1.0, "y": 2.0, "z": 3.0}, "heat": 0.5}]


def test_bag_whose_end_is_missing_is_read_up_to_there(tmp_path: Path):
    path = tmp_path / "drive.mcap"
    record(path, {"camera/image": [event(PICTURE, {"encoding": "bgr8"})]})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"ros2msg")])

    with pytest.raises(RecordingError, match="no message of ROS 2"):
        Recording.open(path)
    path.write_bytes(content[:-30])
    recording = Recording.open(path)

    assert not recording.is_whole
    assert recording.samples == {"camera/image": 1}


def test_schema_is_split_as_it_was_put_together():
    interfaces = Interfaces()
    message = interfaces.message("nav_msgs/Odometry")
    text = whole_text(message, interfaces)

    again = Interfaces(texts=split_text(message.name, text))

    assert again.message(message.name).fields == message.fields
    names = [one.name for one in interfaces.needed_by(message)]
    assert [one.name for one in again.needed_by(again.message(message.name))] == names


def test_bag_replaces_a_camera_of_a_dataflow_and_a_dataflow_becomes_a_bag(flow: Flow):
    bag = make_bag(flow.folder / "bag")
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: mouth, path: mouth.py, inputs: {tick: dora/timer/secs/1}, outputs: [text]}
          - {id: ear, path: ear.py, inputs: {text: mouth/text}, outputs: [heard]}
        """,
    )
    flow.write("mouth.py", "raise SystemExit('it is replaced')\n")
    flow.write(
        "ear.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            print("heard", event.value.decode())
            node.send_output("heard", event.value)
        """,
    )
    file = str(flow.folder / "flow.yml")
    verb = [*flow.command()[:2], "dora_rt.cli"]

    replayed = flow.start(
        command=[*verb, "replay", str(bag), file, "--topic", "mouth/text=/front/text"]
    )
    out, err = replayed.communicate(timeout=30)

    assert replayed.returncode == 0, out + err
    assert [line.split("heard ")[1] for line in out.splitlines() if "heard " in line] == [
        f"hello {number}" for number in range(5)
    ]
    flow.write(
        "mouth.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("text", b"live")
            break
        """,
    )
    target = flow.folder / "live.mcap"
    recorded = flow.start(command=[*verb, "record", file, "--ros2", "-o", str(target)])
    out, err = recorded.communicate(timeout=30)

    assert recorded.returncode == 0, out + err
    assert [one.data for one in read(target)["/ear/heard"]] == ["live"]
