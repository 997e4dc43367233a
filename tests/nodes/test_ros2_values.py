"""Messages of ROS 2 as values of dora_rt, and back."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from dora_rt.nodes.ros2 import geometry_values, sensor_values
from dora_rt.nodes.ros2.cdr import Codec
from dora_rt.nodes.ros2.interfaces import Interfaces
from dora_rt.nodes.ros2.native_values import Converter, Form, Native, ValueMismatchError, from_ns

from dora_rt.transport.output.clock_output import read_clock_ns

INTERFACES = Interfaces()
CONVERSIONS = geometry_values.make_conversions() | sensor_values.make_conversions()
HEADER = {"stamp": from_ns(1_700_000_000_123_456_789), "frame_id": "camera"}
STAMPED = {"frame_id": "camera", "stamp_ns": 1_700_000_000_123_456_789}


def converter(name: str, form: Form = Form.NATIVE) -> Converter:
    message = INTERFACES.message(name)
    return Converter(message, INTERFACES, CONVERSIONS, form)


def sent(name: str, value: Any, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give the fields that the other side gets."""
    codec = Codec(INTERFACES.message(name), INTERFACES)
    values = converter(name).to_message(value, metadata or {}, HEADER)
    return codec.decode(bytes(codec.encode(values)))


def round_trip(name: str, value: Any, metadata: dict[str, Any] | None = None) -> Native:
    """Send a value as a message, and receive it."""
    return converter(name).to_native(sent(name, value, metadata))


def array(*numbers: float) -> Any:
    return np.array(numbers, np.float64)


POSE = array(1, 2, 3, 0, 0, 0.6, 0.8)
RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("encoding", "dtype", "shape"),
    [
        ("bgr8", "u1", (4, 6, 3)),
        ("rgb8", "u1", (4, 6, 3)),
        ("bgra8", "u1", (4, 6, 4)),
        ("mono8", "u1", (4, 6)),
        ("mono16", "u2", (4, 6)),
        ("16UC1", "u2", (4, 6)),
        ("32FC1", "f4", (4, 6)),
    ],
)
def test_picture_goes_and_comes_as_it_is(encoding: str, dtype: str, shape: tuple[int, ...]):
    picture = RANDOM.integers(0, 200, shape).astype(dtype)

    found = round_trip("sensor_msgs/Image", picture, {"encoding": encoding})

    assert np.array_equal(found.value, picture)
    assert found.value.dtype == picture.dtype
    assert found.metadata == {"encoding": encoding, "width": 6, "height": 4, **STAMPED}


def test_picture_without_an_encoding_is_bgr8_or_mono8():
    assert sent("sensor_msgs/Image", np.zeros((2, 3, 3), np.uint8))["encoding"] == "bgr8"
    assert sent("sensor_msgs/Image", np.zeros((2, 3), np.uint8))["encoding"] == "mono8"
    assert sent("sensor_msgs/Image", np.zeros((2, 3), np.uint8))["step"] == 3


def test_picture_as_a_file_is_decoded_for_image_and_kept_for_compressed_image():
    picture = np.full((8, 8, 3), 90, np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].reshape(-1)

    assert sent("sensor_msgs/Image", jpeg)["height"] == 8
    assert sent("sensor_msgs/CompressedImage", jpeg)["data"].tobytes() == jpeg.tobytes()
    made = round_trip("sensor_msgs/CompressedImage", picture)

    assert made.metadata["encoding"] == "jpeg"
    assert np.abs(cv2.imdecode(made.value, cv2.IMREAD_COLOR).astype(int) - picture).max() < 4


def test_rows_with_room_at_their_ends_and_other_byte_orders_are_read():
    image = converter("sensor_msgs/Image")
    rows = np.arange(16, dtype=np.uint8).reshape(2, 8)
    base = {"header": HEADER, "height": 2, "step": 8, "data": rows.reshape(-1)}

    padded = image.to_native({**base, "width": 2, "encoding": "bgr8", "is_bigendian": 0})
    big = image.to_native({**base, "width": 4, "encoding": "16UC1", "is_bigendian": 1})
    unknown = image.to_native({**base, "width": 4, "encoding": "yuv422", "is_bigendian": 0})

    assert padded.value.tolist() == [[[0, 1, 2], [3, 4, 5]], [[8, 9, 10], [11, 12, 13]]]
    assert big.value[0].tolist() == [0x0001, 0x0203, 0x0405, 0x0607]
    assert unknown.value.shape == (2, 8)
    with pytest.raises(ValueMismatchError, match="rows of 8 bytes; 4 pixels have 12"):
        image.to_native({**base, "width": 4, "encoding": "bgr8", "is_bigendian": 0})
    with pytest.raises(ValueMismatchError, match="an image of 16 bytes"):
        image.to_native({**base, "height": 3, "width": 2, "encoding": "bgr8", "is_bigendian": 0})


def test_format_of_image_transport_is_understood():
    found = converter("sensor_msgs/CompressedImage").to_native(
        {"header": HEADER, "format": "bgr8; jpeg compressed bgr8", "data": np.zeros(3, np.uint8)}
    )

    assert found.metadata["encoding"] == "jpeg"


@pytest.mark.parametrize("shape", [(5, 3), (5, 4), (2, 5, 3)])
def test_point_cloud_goes_and_comes(shape: tuple[int, ...]):
    points = RANDOM.random(shape).astype(np.float32)

    found = round_trip("sensor_msgs/PointCloud2", points)

    assert np.array_equal(found.value, points)
    assert found.metadata["fields"] == ["x", "y", "z", "intensity"][: shape[-1]]


def test_point_cloud_with_other_fields_is_read_as_float64():
    dtype = np.dtype(
        {"names": ["x", "t"], "formats": ["<f4", "<u4"], "offsets": [0, 8], "itemsize": 16}
    )
    points = np.zeros(2, dtype)
    points["x"], points["t"] = (1.5, 2.5), (4_000_000_001, 7)
    fields = [
        {"name": "x", "offset": 0, "datatype": 7, "count": 1},
        {"name": "t", "offset": 8, "datatype": 6, "count": 1},
    ]
    cloud = {
        "header": HEADER,
        "height": 1,
        "width": 2,
        "fields": fields,
        "is_bigendian": False,
        "point_step": 16,
        "row_step": 32,
        "data": points.view(np.uint8),
        "is_dense": True,
    }

    found = converter("sensor_msgs/PointCloud2").to_native(cloud)

    assert found.value.tolist() == [[1.5, 4_000_000_001.0], [2.5, 7.0]]
    assert found.metadata["fields"] == ["x", "t"]
    with pytest.raises(ValueMismatchError, match="fields do not fit"):
        converter("sensor_msgs/PointCloud2").to_native({**cloud, "point_step": 7})


@pytest.mark.parametrize(
    ("name", "value", "metadata"),
    [
        ("geometry_msgs/Twist", array(1, 2, 3, 4, 5, 6), {}),
        ("geometry_msgs/TwistStamped", array(1, 2, 3, 4, 5, 6), STAMPED),
        ("geometry_msgs/Pose", POSE, {}),
        ("geometry_msgs/PoseStamped", POSE, STAMPED),
        ("geometry_msgs/PoseWithCovarianceStamped", POSE, {"covariance": [2.0] * 36, **STAMPED}),
        ("geometry_msgs/PointStamped", array(1, 2, 3), STAMPED),
        ("geometry_msgs/Vector3Stamped", array(1, 2, 3), STAMPED),
        ("geometry_msgs/Quaternion", array(0, 0, 0, 1), {}),
        ("geometry_msgs/WrenchStamped", array(1, 2, 3, 4, 5, 6), STAMPED),
        ("geometry_msgs/TransformStamped", POSE, {"child_frame_id": "lens", **STAMPED}),
        ("geometry_msgs/PoseArray", np.stack([POSE, POSE]), STAMPED),
        ("nav_msgs/Path", np.stack([POSE, POSE]), STAMPED),
        (
            "nav_msgs/Odometry",
            np.concatenate([POSE, array(1, 2, 3, 4, 5, 6)]),
            {"child_frame_id": "base", "pose_covariance": [1.0] * 36, **STAMPED},
        ),
        (
            "tf2_msgs/TFMessage",
            np.stack([POSE, POSE]),
            {"frames": [["map", "odom"], ["odom", "base"]], "stamps_ns": [1, 2_000_000_001]},
        ),
        ("sensor_msgs/Imu", array(*range(10)), {"orientation_covariance": [1.0] * 9, **STAMPED}),
        ("sensor_msgs/JointState", np.ones((3, 2)), {"names": ["a", "b"], **STAMPED}),
        ("sensor_msgs/NavSatFix", array(52.5, 13.4, 30), {"status": 0, **STAMPED}),
        ("std_msgs/Int32", np.array([-7], np.int32), {}),
        ("std_msgs/Bool", np.array([True]), {}),
        ("std_msgs/Float64", array(0.5), {}),
        ("std_msgs/Float32MultiArray", np.ones((2, 3), np.float32), {}),
        ("std_msgs/Float64MultiArray", array(1, 2), {}),
        ("rosgraph_msgs/Clock", np.array([5_000_000_007]), {}),
    ],
)
def test_numbers_go_and_come(name: str, value: Any, metadata: dict[str, Any]):
    found = round_trip(name, value, metadata)

    assert np.array_equal(found.value, value)
    assert found.value.dtype == value.dtype
    assert found.metadata == metadata


def test_clock_is_one_as_a_dataflow_has_it():
    found = round_trip("rosgraph_msgs/Clock", np.array([5_000_000_007]))

    assert read_clock_ns(found.value, "output 'clock'") == 5_000_000_007


def test_text_goes_and_comes_as_bytes_and_from_arrow():
    pyarrow = pytest.importorskip("pyarrow")

    assert round_trip("std_msgs/String", "Grüße".encode()).value == "Grüße".encode()
    assert sent("std_msgs/String", pyarrow.array(["from dora"]))["data"] == "from dora"


def test_scan_goes_and_comes_with_its_angles():
    scan = {"angle_min": -1.0, "angle_max": 1.0, "angle_increment": 0.5, "range_max": 30.0}
    ranges = np.array([1, 2, np.inf, 4, 5], np.float32)

    alone = round_trip("sensor_msgs/LaserScan", ranges, scan)
    both = round_trip("sensor_msgs/LaserScan", np.stack([ranges, ranges]), scan)

    assert np.array_equal(alone.value, ranges)
    assert alone.metadata | scan == alone.metadata
    assert both.value.shape == (2, 5)
    assert sent("sensor_msgs/LaserScan", ranges)["angle_increment"] == pytest.approx(np.pi / 2)


def test_two_numbers_of_a_twist_are_forwards_and_turn():
    twist = sent("geometry_msgs/Twist", array(0.5, 0.1))

    assert twist["linear"] == {"x": 0.5, "y": 0.0, "z": 0.0}
    assert twist["angular"] == {"x": 0.0, "y": 0.0, "z": 0.1}


def test_imu_without_an_orientation_says_so():
    found = sent("sensor_msgs/Imu", array(1, 2, 3, 4, 5, 6))

    assert found["orientation_covariance"][0] == -1
    assert found["linear_acceleration"] == {"x": 4.0, "y": 5.0, "z": 6.0}


def test_joints_without_velocities_have_none():
    found = sent("sensor_msgs/JointState", array(0.1, 0.2), {"names": ["left", "right"]})

    assert found["name"] == ["left", "right"]
    assert found["position"].tolist() == [0.1, 0.2]
    assert found["velocity"].size == found["effort"].size == 0


def test_map_goes_and_comes_with_its_resolution():
    cells = np.array([[0, 100], [-1, 50], [0, 0]], np.int8)

    found = round_trip("nav_msgs/OccupancyGrid", cells, {"resolution": 0.5, "origin": [*POSE]})

    assert np.array_equal(found.value, cells)
    assert found.metadata == {"resolution": 0.5, "origin": [*POSE], **STAMPED}


def test_boxes_go_and_come_with_labels_and_ids():
    boxes = np.array([[0, 10, 20, 50, 0.75, 2], [1, 1, 3, 3, 0.5, 0]], np.float32)
    metadata = {"labels": ["person", "dog", "cat"], "ids": [7, 8]}

    message = sent("vision_msgs/Detection2DArray", boxes, metadata)
    found = round_trip("vision_msgs/Detection2DArray", boxes, metadata)

    first = message["detections"][0]
    assert first["bbox"]["center"]["position"] == {"x": 10.0, "y": 30.0}
    assert (first["bbox"]["size_x"], first["bbox"]["size_y"]) == (20.0, 40.0)
    assert first["results"][0]["hypothesis"] == {"class_id": "cat", "score": 0.75}
    assert found.value[:, :5].tolist() == boxes[:, :5].tolist()
    assert [found.metadata["labels"][int(one)] for one in found.value[:, 5]] == ["cat", "person"]
    assert found.metadata["ids"] == [7, 8]


def test_no_boxes_are_a_message_too():
    found = round_trip("vision_msgs/Detection2DArray", np.empty((0, 6), np.float32))

    assert found.value.shape == (0, 6)


def test_json_object_may_be_any_message():
    text = json.dumps({"linear": {"x": 0.5}}).encode()

    assert sent("geometry_msgs/Twist", text)["linear"]["x"] == 0.5
    assert sent("sensor_msgs/Temperature", b'{"temperature": 21.5}')["temperature"] == 21.5


def test_struct_of_arrow_may_be_any_message_and_others_become_one():
    pyarrow = pytest.importorskip("pyarrow")
    struct = pyarrow.array([{"temperature": 21.5, "variance": 0.1}])

    found = round_trip("sensor_msgs/Temperature", struct)

    assert found.value.type.field(0).name == "header"
    assert found.value.to_pylist()[0]["temperature"] == 21.5
    assert found.value.to_pylist()[0]["header"]["frame_id"] == "camera"


@pytest.mark.parametrize("name", INTERFACES.known())
def test_each_message_becomes_a_struct_of_arrow_and_the_same_message_again(name: str):
    pytest.importorskip("pyarrow")
    message = INTERFACES.message(name)
    codec = Codec(message, INTERFACES)
    whole = bytes(codec.encode(_filled(name)))

    struct = converter(name, Form.ARROW).to_native(codec.decode(whole)).value
    again = converter(name).to_message(struct, {}, HEADER)

    assert bytes(codec.encode(again)) == whole


def _filled(name: str) -> dict[str, Any]:
    """Give a message with two elements in each sequence."""
    found: dict[str, Any] = {}
    for field in INTERFACES.message(name).fields:
        if field.shape.value == "sequence":
            one: Any = "text" if field.base == "string" else 1
            one = one if field.is_primitive else _filled(field.base)
            found[field.name] = [one, one]
    return found


def test_large_struct_of_arrow_costs_no_list_of_python():
    pyarrow = pytest.importorskip("pyarrow")
    pixels = pyarrow.array(np.zeros(300_000, np.uint8))
    data = pyarrow.ListArray.from_arrays(pyarrow.array([0, 300_000], pyarrow.int32()), pixels)
    struct = pyarrow.StructArray.from_arrays([data], ["data"])

    found = converter("sensor_msgs/Image").to_message(struct, {}, HEADER)

    assert isinstance(found["data"], np.ndarray)


@pytest.mark.parametrize(
    ("name", "value", "metadata", "reason"),
    [
        ("geometry_msgs/Twist", array(1, 2, 3), {}, "expected 6 numbers, got 3"),
        ("geometry_msgs/Twist", b"fast", {}, "expected 6 numbers, got bytes"),
        ("nav_msgs/Path", array(1, 2), {}, "expected numbers of N x 7"),
        ("nav_msgs/Odometry", array(1, 2), {}, "expected 7 or 13 numbers, got 2"),
        ("std_msgs/Bool", array(1, 2), {}, "expected one number"),
        ("std_msgs/String", array(1.0), {}, "expected text, got float64"),
        ("tf2_msgs/TFMessage", np.stack([POSE]), {}, r"pairs \[parent, child\]"),
        ("geometry_msgs/TransformStamped", POSE, {}, "needs child_frame_id"),
        ("sensor_msgs/JointState", array(1, 2), {}, "2 joints need as many names"),
        ("sensor_msgs/Image", array(1.0), {}, "is no picture"),
        ("sensor_msgs/CompressedImage", array(1.0), {}, "is no picture"),
        ("sensor_msgs/PointCloud2", b"x", {}, "expected points of N x 3"),
        ("sensor_msgs/LaserScan", np.ones((3, 3)), {}, "expected N or 2 x N"),
        ("sensor_msgs/Temperature", array(1.0), {}, "a struct of Arrow or of a JSON object"),
        ("nav_msgs/OccupancyGrid", array(1.0), {}, "expected a map of H x W int8"),
        ("vision_msgs/Detection2DArray", array(1.0), {}, "are no boxes"),
        ("rosgraph_msgs/Clock", array(1.0), {}, "one number of nanoseconds"),
    ],
)
def test_value_that_is_no_such_message_is_refused(
    name: str, value: Any, metadata: dict[str, Any], reason: str
):
    with pytest.raises(ValueMismatchError, match=reason):
        converter(name).to_message(value, metadata, HEADER)
