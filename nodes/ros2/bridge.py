"""Topics of ROS 2 and the inputs and outputs of the node: each message on its way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dora_rt.errors import NodeClosedError

from ..next_event import next_event
from ..odd_samples import OddSamples
from ..used_ports import singles
from .cdr import CdrError, Codec
from .match_report import MatchReport
from .native_values import STAMP_NS, Converter, ValueMismatchError, from_ns
from .ros_entities import Endpoint, NoConnectionError, RemoteEndpoint

if TYPE_CHECKING:
    from dora_rt.event import Event
    from dora_rt.interface import NodeLike

logger = logging.getLogger(__name__)

_LOOK_UP_S = 0.5
_RETRY_S = 1.0
# Stamps of simulators and of machines whose clocks are wrong are no times of capture here.
_OLDEST_CAPTURE_NS = 60 * 10**9
_CLOSING_TIMEOUT_S = 3.0


class Publisher(Protocol):
    """A topic that the node publishes."""

    def is_wanted(self) -> bool:
        """Whether somebody subscribes to it."""

    def publish(self, message: bytes | bytearray) -> None:
        """Send a message."""


class Transport(Protocol):
    """A node in a system of ROS 2; `ZenohTransport` is one."""

    def has_router(self) -> bool:
        """Whether it is connected."""

    def remote_endpoints(self) -> list[RemoteEndpoint] | None:
        """Return what other nodes have; None if only the transport knows."""

    def advertise(self, endpoint: Endpoint) -> Publisher:
        """Publish a topic."""

    def subscribe(self, endpoint: Endpoint, take: Callable[[bytes], None]) -> None:
        """Give each message of a topic to `take`."""

    def close(self) -> None:
        """Leave."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and the port of the node that it belongs to."""

    port: str
    endpoint: Endpoint
    codec: Codec
    converter: Converter
    frame_id: str | None = None


class Bridge:
    """Connect, and connect again; publish what comes, and send what is received.

    Args:
        node: the node.
        published: the topics of the inputs.
        subscribed: the topics of the outputs.
        connect: opens the transport, or raises `NoConnectionError`.
    """

    def __init__(
        self,
        node: NodeLike,
        published: Sequence[Topic],
        subscribed: Sequence[Topic],
        connect: Callable[[], Transport],
    ) -> None:
        self._node = node
        self._published = {topic.port: topic for topic in published}
        self._subscribed = tuple(subscribed)
        self._connect = connect
        self._publishers: Mapping[str, Publisher] = {}
        self._is_closing = threading.Event()
        self._failure: BaseException | None = None
        self._odd_inputs = OddSamples()
        self._odd_messages = OddSamples("topic {}".format)
        self.sent = 0
        self.unsent = 0
        self.received = 0
        # A daemon: a connection that hangs must not keep the process.
        self._thread = threading.Thread(target=self._keep_connected, name="ros2", daemon=True)

    def __enter__(self) -> Bridge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._thread.join(_CLOSING_TIMEOUT_S)

    def check(self) -> None:
        """Raise what ended one of the threads, if something did."""
        if self._failure is not None:
            raise self._failure

    def publish(self, event: Event) -> None:
        """Publish a sample; what cannot be is left out, counted and told."""
        topic = self._published.get(event.id)
        if topic is None:
            return
        publisher = self._publishers.get(event.id)
        if publisher is None:
            self.unsent += 1
            return
        if not publisher.is_wanted():
            return
        try:
            publisher.publish(self._message(topic, event))
        except (ValueMismatchError, CdrError) as error:
            self._odd_inputs.add(event.id, error)
            return
        self.sent += 1

    def summary(self) -> list[str]:
        """Return what was exchanged and what was left out, in words."""
        lines = [f"{self.sent} messages published, {self.received} received"]
        if self.unsent:
            lines.append(f"{self.unsent} samples came while there was no connection")
        return [*lines, *self._odd_inputs.summary(), *self._odd_messages.summary()]

    def _message(self, topic: Topic, event: Event) -> bytearray:
        metadata = event.metadata
        frame_id = topic.frame_id or metadata.get("frame_id")
        stamp_ns = metadata.get(STAMP_NS)
        if not isinstance(stamp_ns, int):
            stamp_ns = time.time_ns() - (time.monotonic_ns() - event.origin_ns)
        header = {
            "stamp": from_ns(stamp_ns),
            "frame_id": frame_id if isinstance(frame_id, str) else event.id,
        }
        return topic.codec.encode(topic.converter.to_message(event.value, metadata, header))

    def _keep_connected(self) -> None:
        try:
            transport = self._open()
            if transport is None:
                return
            try:
                self._declare(transport)
                self._watch(transport)
            finally:
                self._publishers = {}
                transport.close()
        except Exception as error:
            # For the main thread, which ends the node by it.
            self._failure = error

    def _open(self) -> Transport | None:
        """Connect, however long that takes; None if the node ends before."""
        told = None
        while not self._is_closing.is_set():
            try:
                return self._connect()
            except NoConnectionError as error:
                if str(error) != told:
                    told = str(error)
                    logger.warning("%s; trying again until one does", error)
            self._is_closing.wait(_RETRY_S)
        return None

    def _declare(self, transport: Transport) -> None:
        for topic in self._subscribed:
            transport.subscribe(topic.endpoint, self._taker(topic))
        self._publishers = {
            port: transport.advertise(topic.endpoint) for port, topic in self._published.items()
        }

    def _watch(self, transport: Transport) -> None:
        topics = (*self._published.values(), *self._subscribed)
        report = MatchReport([topic.endpoint for topic in topics], time.monotonic_ns())
        was_connected = True
        while not self._is_closing.wait(_RETRY_S):
            is_connected = transport.has_router()
            if is_connected != was_connected:
                was_connected = is_connected
                if is_connected:
                    logger.info("the router is there again")
                else:
                    logger.warning("the router is gone; waiting for it to come back")
            remote = transport.remote_endpoints() if is_connected else None
            if remote is not None:
                report.look(remote, time.monotonic_ns())

    def _taker(self, topic: Topic) -> Callable[[bytes], None]:
        def take(message: bytes) -> None:
            try:
                self._send(topic, message)
            except (CdrError, ValueMismatchError) as error:
                self._odd_messages.add(topic.endpoint.name, error)
            except NodeClosedError:
                logger.debug("told to stop while sending")
            except Exception as error:
                self._failure = error

        return take

    def _send(self, topic: Topic, message: bytes) -> None:
        native = topic.converter.to_native(topic.codec.decode(message))
        captured_ns = _captured_ns(native.metadata.get(STAMP_NS))
        self._node.send_output(topic.port, native.value, native.metadata, captured_ns=captured_ns)
        self.received += 1


def run(node: NodeLike, bridge: Bridge) -> None:
    """Publish and receive until the node's inputs or the dataflow end.

    Raises:
        DoraRtError: the transport cannot work.
    """
    with bridge:
        while True:
            bridge.check()
            try:
                event = next_event(node, _LOOK_UP_S)
            except TimeoutError:
                continue
            if event is None:
                break
            for one in singles([event]):
                bridge.publish(one)
    for line in bridge.summary():
        logger.info("%s", line)


def _captured_ns(stamp_ns: Any) -> int | None:
    """Return a stamp on the clock of this machine; None if it is none of a capture just now."""
    if not isinstance(stamp_ns, int):
        return None
    now_ns = time.monotonic_ns()
    age_ns = time.time_ns() - stamp_ns
    return now_ns - age_ns if 0 <= age_ns < min(_OLDEST_CAPTURE_NS, now_ns) else None
