"""A program of the benchmark ros2: ros2_worker.py camera|publish|subscribe [WAY], in its folder."""

from __future__ import annotations

import array
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import percentile

TOLD, BEGUN, SENT, RECEIVED = "told.json", "begun", "sent.json", "received.json"
TOPIC, TYPE_NAME = "/camera/image", "sensor_msgs/Image"
HEIGHT, WIDTH = 1080, 1920

Picture = NDArray[np.uint8]

_STAMP_NBYTES = 8
_SILENT_S = 1.0
"""Behind the last picture nothing comes for so long."""
_UNMATCHED_S = 30.0


def main() -> None:
    """Send or receive until all is over, and write what was found."""
    told = json.loads(Path(TOLD).read_text())
    {
        ("camera",): _send_by_dora_rt,
        ("publish", "rclpy"): _publish_by_rclpy,
        ("publish", "zenoh"): _publish_by_zenoh,
        ("subscribe", "rclpy"): _subscribe_by_rclpy,
        ("subscribe", "zenoh"): _subscribe_by_zenoh,
    }[tuple(sys.argv[1:])](told)


def _produce(told: dict[str, Any], send: Callable[[Picture], None]) -> None:
    """Send pictures at their rate, once the reader gets some; what is late is left out.

    The first ones have no stamp, and do not count.
    """
    picture = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    stamp = picture.reshape(-1)[:_STAMP_NBYTES]
    period_ns = 1_000_000_000 // told["hz"]
    began = time.monotonic_ns()
    stamp[:] = 0
    while not Path(BEGUN).exists():
        send(picture)
        time.sleep(period_ns / 1e9)
        if time.monotonic_ns() - began > _UNMATCHED_S * 1e9:
            raise TimeoutError(f"no picture arrived within {_UNMATCHED_S:g} s")
    began = time.monotonic_ns()
    sent = 0
    for number in range(told["seconds"] * told["hz"]):
        due = began + number * period_ns
        late = time.monotonic_ns() - due
        if late > period_ns:
            continue
        time.sleep(max(0, -late) / 1e9)
        stamp[:] = np.frombuffer(time.monotonic_ns().to_bytes(_STAMP_NBYTES, "little"), np.uint8)
        send(picture)
        sent += 1
    _write(SENT, {"sent": sent})
    while not Path(RECEIVED).exists():
        time.sleep(0.05)


class _Ages:
    """The ages of the pictures that have come."""

    def __init__(self) -> None:
        self._ages: list[int] = []
        self._last = time.monotonic()
        self._has_begun = False

    def take(self, pixels: Picture) -> None:
        """Note a picture, which begins with the time at which it was sent."""
        sent_ns = int.from_bytes(pixels.reshape(-1)[:_STAMP_NBYTES].tobytes(), "little")
        now_ns = time.monotonic_ns()
        if not self._has_begun:
            self._has_begun = True
            Path(BEGUN).touch()
        if sent_ns:
            self._ages.append(now_ns - sent_ns)
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Whether all was sent, and nothing more is on its way."""
        return Path(SENT).exists() and time.monotonic() > self._last + _SILENT_S

    def write(self) -> None:
        """Write what was found."""
        ordered = sorted(self._ages)
        found: dict[str, Any] = {"received": len(ordered)}
        if ordered:
            found["p50_ms"] = percentile(ordered, 0.5) / 1e6
            found["p99_ms"] = percentile(ordered, 0.99) / 1e6
        _write(RECEIVED, found)


def _write(name: str, found: dict[str, Any]) -> None:
    # In one step: the other programs look for the file.
    part = Path(f"{name}.part")
    part.write_text(json.dumps(found))
    part.rename(name)


def _send_by_dora_rt(told: dict[str, Any]) -> None:
    from dora_rt import Node

    node = Node()
    _produce(told, lambda picture: node.send_output("image", picture))


def _publish_by_rclpy(told: dict[str, Any]) -> None:
    """Publish messages of rclpy, or serialized ones with the segment of our transport."""
    import rclpy
    from dora_rt.nodes.ros2.rclpy_transport import roomy_profile
    from sensor_msgs.msg import Image

    if told["is_tuned"]:
        with roomy_profile():
            rclpy.init()
            publisher = _rclpy_publisher(rclpy, told)
        encode = _encoder()
        _produce(told, lambda picture: publisher.publish(bytes(encode(picture))))
    else:
        rclpy.init()
        publisher = _rclpy_publisher(rclpy, told)

        def send(picture: Picture) -> None:
            message = Image()
            message.header.frame_id = "camera"
            message.height, message.width = HEIGHT, WIDTH
            message.encoding, message.step = "bgr8", WIDTH * 3
            message.data = array.array("B", picture.tobytes())
            publisher.publish(message)

        _produce(told, send)
    rclpy.shutdown()


def _rclpy_publisher(rclpy: Any, told: dict[str, Any]) -> Any:
    from sensor_msgs.msg import Image

    return rclpy.create_node("camera").create_publisher(Image, TOPIC, _rclpy_qos(told))


def _rclpy_qos(told: dict[str, Any]) -> Any:
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    policy = ReliabilityPolicy
    kind = policy.RELIABLE if told["is_reliable"] else policy.BEST_EFFORT
    return QoSProfile(depth=5, reliability=kind)


def _subscribe_by_rclpy(told: dict[str, Any]) -> None:
    """Subscribe as most programs do: messages, a callback, an executor."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("reader")
    ages = _Ages()

    def take(image: Any) -> None:
        ages.take(np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, -1))

    node.create_subscription(Image, TOPIC, take, _rclpy_qos(told))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ages.is_over():
        executor.spin_once(timeout_sec=0.1)
    ages.write()
    rclpy.shutdown()


def _publish_by_zenoh(told: dict[str, Any]) -> None:
    from dora_rt.nodes.ros2.ros_entities import Role
    from dora_rt.nodes.ros2.zenoh_transport import Router

    router = Router.open(told["router"], shares_memory=told["shares_memory"])
    transport, topic = _zenoh_end(told, "camera", Role.PUBLISHER)
    publisher = transport.advertise(topic.endpoint)
    encode = _encoder()
    _produce(told, lambda picture: publisher.publish(encode(picture)))
    transport.close()
    router.close()


def _subscribe_by_zenoh(told: dict[str, Any]) -> None:
    from dora_rt.nodes.ros2.ros_entities import Role

    transport, topic = _zenoh_end(told, "reader", Role.SUBSCRIPTION)
    ages = _Ages()

    def take(message: bytes) -> None:
        ages.take(topic.converter.to_native(topic.codec.decode(message)).value)

    transport.subscribe(topic.endpoint, take)
    while not ages.is_over():
        time.sleep(0.05)
    ages.write()
    transport.close()


def _zenoh_end(told: dict[str, Any], name: str, role: Any) -> tuple[Any, Any]:
    """Connect to the router, as soon as it is there; return transport and topic."""
    from dora_rt.nodes.ros2.ros_entities import Identity, NoConnectionError
    from dora_rt.nodes.ros2.zenoh_transport import ZenohTransport

    # As the node ros2 in the dataflow has it.
    identity = Identity(name, domain=int(os.environ["ROS_DOMAIN_ID"]))
    deadline = time.monotonic() + _UNMATCHED_S
    while True:
        try:
            transport = ZenohTransport.open(
                told["router"], identity, shares_memory=told["shares_memory"]
            )
        except NoConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return transport, _topic(identity, role)


def _topic(identity: Any, role: Any) -> Any:
    from dora_rt.nodes.ros2.interfaces import Interfaces
    from dora_rt.nodes.ros2.routes import parse_routes
    from dora_rt.nodes.ros2.topics import Queue, TopicMaker

    (route,) = parse_routes(f"image={TOPIC}:{TYPE_NAME}")
    maker = TopicMaker(identity, Interfaces(), has_hashes=True)
    return maker.make(route, role, Queue())


def _encoder() -> Callable[[Picture], bytearray]:
    """Return what makes a message of a picture: the codec of the node ros2."""
    from dora_rt.nodes.ros2.native_values import from_ns
    from dora_rt.nodes.ros2.ros_entities import Identity, Role

    topic = _topic(Identity("camera"), Role.PUBLISHER)

    def encode(picture: Picture) -> bytearray:
        header = {"stamp": from_ns(time.time_ns()), "frame_id": "camera"}
        values = topic.converter.to_message(picture, {"encoding": "bgr8"}, header)
        message: bytearray = topic.codec.encode(values)
        return message

    return encode


if __name__ == "__main__":
    main()
