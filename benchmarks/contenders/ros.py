"""ROS 2 from Python: rclpy on Fast DDS."""

from __future__ import annotations

import array
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import Command, Contender
from benchmarks.job import Job
from benchmarks.leftovers import removed
from benchmarks.payload import NUMBER, Bytes

LEFTOVERS = ("fastrtps_*", "sem.fastrtps_*", "fastdds_*", "sem.fastdds_*", "lttng-ust-*")
"""What Fast DDS and its tracing leave in /dev/shm."""

_FORWARD, _REPLY = "forward", "reply"
_SERIALIZED_HEADER_NBYTES = 16
"""Before the bytes of a serialized UInt8MultiArray: encapsulation, layout, and their number."""
_PROFILE = """\
<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors><transport_descriptor>
    <transport_id>shm</transport_id><type>SHM</type>
    <segment_size>{nbytes}</segment_size><maxMessageSize>{nbytes}</maxMessageSize>
  </transport_descriptor></transport_descriptors>
  <participant profile_name="tuned" is_default_profile="true"><rtps>
    <userTransports><transport_id>shm</transport_id></userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
  </rtps></participant>
</profiles>
"""


class Ros(Contender):
    """Topics of UInt8MultiArray.

    As most use it: messages, a callback, an executor. Tuned: serialized bytes, taken straight from
    a wait set, and a transport of nothing but shared memory that has room for the message.
    """

    modules = ("rclpy", "rmw_fastrtps_cpp", "std_msgs")
    distribution = "ros-rclpy"
    has_loans = False

    def __init__(self, name: str, *, is_tuned: bool) -> None:
        self.name = name
        self._is_tuned = is_tuned

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Give the commands, and remove afterwards what Fast DDS and its tracing leave."""
        if self._is_tuned:
            nbytes = 4 * (job.largest_nbytes + 1024 * 1024)
            _profile(job).write_text(_PROFILE.format(nbytes=nbytes))
        with removed(*LEFTOVERS), super().prepared(job) as commands:
            yield commands

    def open_writer(self, job: Job) -> RosWriter:
        """Open the writer's end."""
        return RosWriter(_Topics(job, "writer", is_tuned=self._is_tuned), job)

    def open_reader(self, job: Job, number: int) -> RosReader:
        """Open a reader's end."""
        return RosReader(_Topics(job, f"reader{number}", is_tuned=self._is_tuned))


class _Topics:
    """One ROS node, with a publisher and a subscription."""

    def __init__(self, job: Job, name: str, *, is_tuned: bool) -> None:
        # Never over the network, and apart from whatever else runs here.
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ["ROS_DOMAIN_ID"] = str(int(job.folder.name[-8:], 16) % 100 + 1)
        os.environ["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
        os.environ["ROS_LOG_DIR"] = str(job.folder / "log")
        if is_tuned:
            os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(_profile(job))
            os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(_profile(job))
        import rclpy
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from std_msgs.msg import UInt8MultiArray

        rclpy.init()
        self.message_type = UInt8MultiArray
        self.is_tuned = is_tuned
        self.arrived: deque[Any] = deque()
        self._node = rclpy.create_node(name)
        self._profile = QoSProfile(
            history=HistoryPolicy.KEEP_ALL if job.lossless else HistoryPolicy.KEEP_LAST,
            depth=job.queue_size,
            reliability=ReliabilityPolicy.RELIABLE,
        )
        if not is_tuned:
            self._executor = rclpy.executors.SingleThreadedExecutor()
            self._executor.add_node(self._node)

    def publisher(self, name: str) -> Any:
        return self._node.create_publisher(self.message_type, name, self._profile)

    def subscribe(self, name: str) -> None:
        def arrived(message: Any) -> None:  # rclpy looks at its signature, so no bare append
            self.arrived.append(message)

        subscription = self._node.create_subscription(
            self.message_type, name, arrived, self._profile, raw=self.is_tuned
        )
        if self.is_tuned:
            self._wait_for(subscription)

    def wait(self) -> Any:
        """Give the next message."""
        while not self.arrived:
            if self.is_tuned:
                self._take()
            else:
                self._executor.spin_once()
        return self.arrived.popleft()

    def _wait_for(self, subscription: Any) -> None:
        from rclpy.impl.implementation_singleton import rclpy_implementation

        context = self._node.context.handle
        self._subscription = subscription
        self._wait_set = rclpy_implementation.WaitSet(1, 0, 0, 0, 0, 0, context)

    def _take(self) -> None:
        self._wait_set.clear_entities()
        self._wait_set.add_subscription(self._subscription.handle)
        self._wait_set.wait(-1)
        found = self._subscription.handle.take_message(self.message_type, True)
        if found is not None:
            self.arrived.append(found[0])


class RosWriter:
    """Publishes on the topic that all readers subscribe to."""

    def __init__(self, topics: _Topics, job: Job) -> None:
        self._topics = topics
        self._publisher = topics.publisher(_FORWARD)
        topics.subscribe(_REPLY)
        for _ in range(job.readers):
            self.receive_reply()  # says that it is there
        _wait_until_connected(self._publisher, job.readers)

    def send(self, source: Bytes) -> None:
        """Copy into a message, and try again as long as its readers have no room."""
        from rclpy._rclpy_pybind11 import RCLError

        message = _message(self._topics, source)
        while True:
            try:
                return self._publisher.publish(message)  # type: ignore[no-any-return]
            except RCLError:
                time.sleep(0.0001)

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Do not: rclpy has no loans."""
        raise NotImplementedError

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        return int(NUMBER.unpack_from(_bytes_of(self._topics, self._topics.wait()))[0])


class RosReader:
    """Gets what the executor, or the wait set, has."""

    def __init__(self, topics: _Topics) -> None:
        self._topics = topics
        self._publisher = topics.publisher(_REPLY)
        topics.subscribe(_FORWARD)
        _wait_until_connected(self._publisher, 1)
        self.reply(0)

    def receive(self) -> Bytes:
        """Wait for the next message."""
        array: Bytes = _bytes_of(self._topics, self._topics.wait())
        return array

    def reply(self, number: int) -> None:
        """Publish eight bytes."""
        source = np.frombuffer(NUMBER.pack(number), np.uint8)
        self._publisher.publish(_message(self._topics, source))


def _message(topics: _Topics, source: Bytes) -> Any:
    if topics.is_tuned:
        nbytes = len(source).to_bytes(4, "little")
        return b"\0\1\0\0" + bytes(8) + nbytes + source.tobytes()
    message = topics.message_type()
    message.data = array.array("B", source.tobytes())
    return message


def _bytes_of(topics: _Topics, message: Any) -> Any:
    if topics.is_tuned:
        found = np.frombuffer(message, np.uint8, offset=_SERIALIZED_HEADER_NBYTES)
        # Serialized data may be padded to a multiple of four.
        count = int.from_bytes(message[12:16], "little")
        return found[:count]
    return np.frombuffer(message.data, np.uint8)


def _wait_until_connected(publisher: Any, readers: int) -> None:
    while publisher.get_subscription_count() < readers:
        time.sleep(0.001)


def _profile(job: Job) -> Path:
    return job.folder / "fastdds.xml"
