"""The node between a dataflow and a system of ROS 2: connect, and connect again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dora_rt.errors import DoraRtError, NodeClosedError
from dora_rt.event import CLOCK_KEY

from ..next_event import next_event
from ..odd_samples import OddSamples
from ..used_ports import singles
from .cdr import CdrError
from .match_report import MatchReport
from .native_values import STAMP_NS, Native, ValueMismatchError, Values, from_ns
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


class Client(Protocol):
    """A service that the node calls."""

    def call(self, request: bytes, take: Callable[[bytes | None], None], timeout_s: float) -> None:
        """Ask; `take` gets the answer once, in another thread, or None if there is none."""


class Request(Protocol):
    """A request of another node."""

    @property
    def id(self) -> str:
        """What no other request has."""

    @property
    def content(self) -> bytes:
        """The message."""

    def answer(self, response: bytes) -> None:
        """Answer it, once."""


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

    def call(self, endpoint: Endpoint) -> Client:
        """Be a client of a service."""

    def serve(self, endpoint: Endpoint, take: Callable[[Request], None]) -> None:
        """Give each request of a service to `take`."""

    def close(self) -> None:
        """Leave."""


class Exchange(Protocol):
    """What one route needs: a topic that is published, a service that is called, and so on."""

    endpoints: tuple[Endpoint, ...]
    input_ids: tuple[str, ...]

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Declare the ends; the connection is there."""

    def end(self) -> None:
        """Forget the ends; the connection is being closed."""

    def take(self, event: Event) -> bool:
        """Take a sample of one of `input_ids`; return whether it went out, False if it need not.

        Raises:
            NoConnectionError: it cannot go out now.
            ValueMismatchError: it cannot be made a message.
            CdrError: it does not fit into the message.
        """

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Answer a sample that could not be taken, if it is one that waits for an answer."""


class Outlet:
    """Where the exchanges send samples, from threads of the transport.

    Args:
        node: the node.
    """

    def __init__(self, node: NodeLike) -> None:
        self._node = node
        self._odd_messages = OddSamples("{}".format)
        self._failure: Exception | None = None
        self.received = 0

    def guarded(self, name: str, work: Callable[[], None]) -> None:
        """Do what a message of a topic or service asks for; a bad one costs only itself."""
        try:
            work()
            self.received += 1
        except (CdrError, ValueMismatchError) as error:
            self._odd_messages.add(name, error)
        except NodeClosedError:
            logger.debug("told to stop while sending")
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Let the main thread end the node by what a thread cannot go on after."""
        self._failure = error

    def send(self, output_id: str, native: Native, metadata: Values | None = None) -> None:
        """Send a value; the stamp of a capture just now is its origin."""
        captured_ns = _captured_ns(native.metadata.get(STAMP_NS))
        self._node.send_output(
            output_id,
            native.value,
            {**native.metadata, **(metadata or {})},
            captured_ns=captured_ns,
        )

    def check(self) -> None:
        """Raise what ended one of the threads, if something did."""
        if self._failure is not None:
            raise self._failure

    def summary(self) -> list[str]:
        """Return what was left out, in words."""
        return self._odd_messages.summary()


class Bridge:
    """Keep connected, and give samples to the exchanges that they are for.

    Args:
        node: the node.
        exchanges: its routes.
        connect: opens the transport, or raises `NoConnectionError`.
        title: says at the end how many messages were sent and received.
    """

    def __init__(
        self,
        node: NodeLike,
        exchanges: Sequence[Exchange],
        connect: Callable[[], Transport],
        title: Callable[[int, int], str] = "{} messages sent, {} received".format,
    ) -> None:
        self._title = title
        self._exchanges = tuple(exchanges)
        self._by_input = {name: one for one in exchanges for name in one.input_ids}
        self._connect = connect
        self._is_closing = threading.Event()
        self._failure: Exception | None = None
        self._outlet = Outlet(node)
        self._odd_inputs = OddSamples()
        self.sent = 0
        self.unsent = 0
        # A daemon: a connection that hangs must not keep the process.
        self._thread = threading.Thread(target=self._keep_connected, name="ros2", daemon=True)

    def __enter__(self) -> Bridge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._thread.join(_CLOSING_TIMEOUT_S)

    @property
    def received(self) -> int:
        """Messages that became samples."""
        return self._outlet.received

    def check(self) -> None:
        """Raise what ended one of the threads, if something did."""
        self._outlet.check()
        if self._failure is not None:
            raise self._failure

    def take(self, event: Event) -> None:
        """Send on a sample; what cannot be is left out, counted and told."""
        exchange = self._by_input.get(event.id)
        if exchange is None:
            return
        try:
            self.sent += exchange.take(event)
        except NoConnectionError as error:
            self.unsent += 1
            self._refuse(exchange, event, error)
        except (ValueMismatchError, CdrError) as error:
            self._odd_inputs.add(event.id, error)
            self._refuse(exchange, event, error)

    def _refuse(self, exchange: Exchange, event: Event, why: DoraRtError) -> None:
        try:
            exchange.refuse(event, self._outlet, str(why))
        except NodeClosedError:
            logger.debug("told to stop while sending")

    def summary(self) -> list[str]:
        """Return what was exchanged and what was left out, in words."""
        lines = [self._title(self.sent, self.received)]
        if self.unsent:
            lines.append(f"{self.unsent} samples came while there was no connection")
        return [*lines, *self._odd_inputs.summary(), *self._outlet.summary()]

    def _keep_connected(self) -> None:
        try:
            transport = self._open()
            if transport is None:
                return
            try:
                for exchange in self._exchanges:
                    exchange.begin(transport, self._outlet)
                self._watch(transport)
            finally:
                for exchange in self._exchanges:
                    exchange.end()
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

    def _watch(self, transport: Transport) -> None:
        endpoints = [endpoint for one in self._exchanges for endpoint in one.endpoints]
        report = MatchReport(endpoints, time.monotonic_ns())
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


def run(node: NodeLike, bridges: Sequence[Bridge]) -> None:
    """Exchange messages until the node's inputs or the dataflow end.

    Args:
        node: the node.
        bridges: one for each node that it is in ROS; its own comes first.

    Raises:
        DoraRtError: the transport cannot work.
    """
    with contextlib.ExitStack() as stack:
        for bridge in bridges:
            stack.enter_context(bridge)
        while True:
            for bridge in bridges:
                bridge.check()
            try:
                event = next_event(node, _LOOK_UP_S)
            except TimeoutError:
                continue
            if event is None:
                break
            for one in singles([event]):
                for bridge in bridges:
                    bridge.take(one)
    for bridge in bridges:
        for line in bridge.summary():
            logger.info("%s", line)


def header_of(event: Event, frame_id: str | None) -> Values:
    """Return the header of what a sample becomes: the moment of its capture, and its frame.

    In a dataflow with a clock the moment is one of that clock.
    """
    metadata = event.metadata
    frame = frame_id or metadata.get("frame_id")
    stamp_ns = metadata.get(STAMP_NS, metadata.get(CLOCK_KEY))
    if not isinstance(stamp_ns, int):
        stamp_ns = time.time_ns() - (time.monotonic_ns() - event.origin_ns)
    return {
        "stamp": from_ns(stamp_ns),
        "frame_id": frame if isinstance(frame, str) else event.id,
    }


def _captured_ns(stamp_ns: Any) -> int | None:
    """Return a stamp on the clock of this machine; None if it is none of a capture just now."""
    if not isinstance(stamp_ns, int):
        return None
    now_ns = time.monotonic_ns()
    age_ns = time.time_ns() - stamp_ns
    return now_ns - age_ns if 0 <= age_ns < min(_OLDEST_CAPTURE_NS, now_ns) else None
