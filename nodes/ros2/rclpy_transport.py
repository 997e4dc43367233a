"""Speak to ROS 2 by an installed rclpy, for robots with DDS: the only module that imports it."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dora_rt.errors import DoraRtError, ExtraMissingError

from .ros_entities import Endpoint, Identity, Qos, RemoteEndpoint, Role

logger = logging.getLogger(__name__)

_CLOSING_TIMEOUT_S = 2.0
_DISCOVERY_S = 1.0
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# Their Fast DDS knows the second name only; later ones warn of it.
_OLD_DISTROS = ("humble", "iron")
_ENVIRONMENT_LOCK = threading.Lock()
# Of a type as rclpy has it.
_PARTS_OF_ACTIONS = {
    "SendGoal": "SendGoalService",
    "GetResult": "GetResultService",
    "FeedbackMessage": "FeedbackMessage",
}
_SEGMENT_NBYTES = 64 * 2**20
_MESSAGE_NBYTES = 32 * 2**20
# As it comes, Fast DDS has room for half a megabyte, and cuts a picture into hundreds of packets,
# of which one is lost.
_PROFILE = f"""\
<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>large_shm</transport_id><type>SHM</type>
      <segment_size>{_SEGMENT_NBYTES}</segment_size>
      <maxMessageSize>{_MESSAGE_NBYTES}</maxMessageSize>
    </transport_descriptor>
    <transport_descriptor><transport_id>udp</transport_id><type>UDPv4</type></transport_descriptor>
  </transport_descriptors>
  <participant profile_name="dora_rt" is_default_profile="true"><rtps>
    <userTransports>
      <transport_id>large_shm</transport_id><transport_id>udp</transport_id>
    </userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
  </rtps></participant>
</profiles>
"""


class UninstalledTypeError(DoraRtError):
    """The installed ROS has no such interface; only zenoh needs none."""


class RclpyTransport:
    """A node of rclpy.

    Messages go as the bytes that they are, so that rclpy makes no objects of them.

    Args:
        rclpy: the module.
        context: an initialized one.
        identity: the node.
    """

    def __init__(self, rclpy: Any, context: Any, identity: Identity) -> None:
        self._rclpy = rclpy
        self._context = context
        self._identity = identity
        self._node = rclpy.create_node(
            identity.name,
            namespace=identity.namespace,
            context=context,
            start_parameter_services=False,
            enable_rosout=False,
        )
        self._endpoints: list[Endpoint] = []
        self._clients: dict[Endpoint, Any] = {}
        self._executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="ros2 executor", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, identity: Identity) -> RclpyTransport:
        """Become a node of the installed ROS.

        Raises:
            ExtraMissingError: rclpy is not installed, or the shell has not sourced ROS.
        """
        rclpy = import_rclpy()
        context = rclpy.context.Context()
        with roomy_profile():
            rclpy.init(
                context=context,
                domain_id=identity.domain,
                signal_handler_options=rclpy.signals.SignalHandlerOptions.NO,
            )
            return cls(rclpy, context, identity)

    def has_router(self) -> bool:
        """DDS needs none."""
        return True

    def remote_endpoints(self) -> list[RemoteEndpoint]:
        """Return what other nodes have of the topics and services of this one."""
        found = []
        for endpoint in list(self._endpoints):
            match endpoint.role:
                case Role.PUBLISHER:
                    infos = self._node.get_subscriptions_info_by_topic(endpoint.name)
                case Role.SUBSCRIPTION:
                    infos = self._node.get_publishers_info_by_topic(endpoint.name)
                case _:
                    infos = []
            found += [self._remote(endpoint, info) for info in infos if not self._is_own(info)]
            client = self._clients.get(endpoint)
            if client is not None and client.service_is_ready():
                role, name = endpoint.role.counterpart, endpoint.name
                kind, a_hash = endpoint.type_name, endpoint.type_hash
                found.append(RemoteEndpoint(role, name, kind, a_hash, "a node"))
        return found

    def advertise(self, endpoint: Endpoint) -> RclpyPublisher:
        """Publish a topic.

        Raises:
            UninstalledTypeError: the installed ROS does not have its type.
        """

        def warn(event: Any) -> None:
            logger.warning(
                "%s: a subscriber asks for more than this topic offers (%s), and gets nothing; "
                "write reliable, or latched, behind the route",
                endpoint.name,
                _policy_name(event),
            )

        events = self._rclpy.event_handler.PublisherEventCallbacks(incompatible_qos=warn)
        publisher = self._node.create_publisher(
            interface_class(endpoint.type_name),
            endpoint.name,
            self._profile(endpoint.qos),
            event_callbacks=events,
        )
        self._endpoints.append(endpoint)
        return RclpyPublisher(publisher, is_latched=endpoint.qos.is_latched)

    def subscribe(self, endpoint: Endpoint, take: Callable[[bytes], None]) -> None:
        """Give each message of a topic to `take`.

        Raises:
            UninstalledTypeError: the installed ROS does not have its type.
        """

        def warn(event: Any) -> None:
            logger.warning(
                "%s: a publisher offers less than this route asks for (%s), and nothing passes; "
                "write best_effort, or leave latched out, behind the route",
                endpoint.name,
                _policy_name(event),
            )

        def take_raw(message: bytes) -> None:  # rclpy looks at the signature
            take(message)

        events = self._rclpy.event_handler.SubscriptionEventCallbacks(incompatible_qos=warn)
        self._node.create_subscription(
            interface_class(endpoint.type_name),
            endpoint.name,
            take_raw,
            self._profile(endpoint.qos),
            raw=True,
            event_callbacks=events,
        )
        self._endpoints.append(endpoint)

    def call(self, endpoint: Endpoint) -> RclpyClient:
        """Be a client of a service.

        Raises:
            UninstalledTypeError: the installed ROS does not have its type.
        """
        kind = interface_class(endpoint.type_name)
        client = self._node.create_client(kind, endpoint.name)
        self._endpoints.append(endpoint)
        self._clients[endpoint] = client
        return RclpyClient(client, kind)

    def serve(self, endpoint: Endpoint, take: Callable[[RclpyRequest], None]) -> None:
        """Give each request of a service to `take`.

        Raises:
            UninstalledTypeError: the installed ROS does not have its type.
        """
        kind = interface_class(endpoint.type_name)
        serialize, numbers = self._rclpy.serialization.serialize_message, itertools.count(1)
        taken: list[bytes] = []

        def keep(request: Any, response: Any) -> Any:
            taken.append(serialize(request))
            return response

        service = self._node.create_service(kind, endpoint.name, keep)
        send_response = service.send_response

        def postpone(_: Any, header: Any) -> None:
            # rclpy answers with what the callback returns; but the answer comes later, and a
            # callback that waits for it would hold up the executor, or let it spin.
            name = f"rclpy-{next(numbers)}"
            take(RclpyRequest(name, taken.pop(), kind, lambda one: send_response(one, header)))

        service.send_response = postpone
        self._endpoints.append(endpoint)

    def close(self) -> None:
        """Leave; may be called twice."""
        if not self._context.ok():
            return
        self._executor.shutdown(timeout_sec=_CLOSING_TIMEOUT_S)
        self._thread.join(_CLOSING_TIMEOUT_S)
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except self._rclpy.executors.ExternalShutdownException:
            logger.debug("rclpy was shut down")

    def _profile(self, qos: Qos) -> Any:
        policies = self._rclpy.qos
        return policies.QoSProfile(
            history=policies.HistoryPolicy.KEEP_LAST,
            depth=qos.depth,
            reliability=getattr(
                policies.ReliabilityPolicy, "RELIABLE" if qos.is_reliable else "BEST_EFFORT"
            ),
            durability=getattr(
                policies.DurabilityPolicy, "TRANSIENT_LOCAL" if qos.is_latched else "VOLATILE"
            ),
        )

    def _remote(self, endpoint: Endpoint, info: Any) -> RemoteEndpoint:
        node = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        # DDS compares no hashes.
        a_hash = endpoint.type_hash
        return RemoteEndpoint(
            endpoint.role.counterpart, endpoint.name, info.topic_type, a_hash, node
        )

    def _is_own(self, info: Any) -> bool:
        own = (self._identity.name, self._identity.namespace)
        return (info.node_name, info.node_namespace) == own


class RclpyPublisher:
    """A topic that this node publishes."""

    def __init__(self, publisher: Any, *, is_latched: bool) -> None:
        self._publisher = publisher
        self._is_latched = is_latched

    def is_wanted(self) -> bool:
        """Whether somebody subscribes to it, or may later and still get what is sent now."""
        return self._is_latched or self._publisher.get_subscription_count() > 0

    def publish(self, message: bytes | bytearray) -> None:
        """Send a message."""
        self._publisher.publish(bytes(message))


class RclpyClient:
    """A service that this node calls."""

    def __init__(self, client: Any, kind: Any) -> None:
        self._client = client
        self._kind = kind

    def call(self, request: bytes, take: Callable[[bytes | None], None], timeout_s: float) -> None:
        """Ask; `take` gets the answer once, or None if nobody gives one in time."""
        if self._client.service_is_ready():
            self._ask(request, take, timeout_s)
            return

        def ask_late() -> None:
            # Who has just started may not know of the server yet.
            if self._client.wait_for_service(min(_DISCOVERY_S, timeout_s)):
                self._ask(request, take, timeout_s)
            else:
                take(None)

        threading.Thread(target=ask_late, name="ros2 call", daemon=True).start()

    def _ask(self, request: bytes, take: Callable[[bytes | None], None], timeout_s: float) -> None:
        from rclpy.serialization import deserialize_message, serialize_message

        future = self._client.call_async(deserialize_message(request, self._kind.Request))
        waiting = [take]

        def hand_on(answer: bytes | None) -> None:
            try:
                waiting.pop()(answer)  # one step, also for several threads
            except IndexError:
                return

        def give_up() -> None:
            self._client.remove_pending_request(future)
            hand_on(None)

        def done(one: Any) -> None:
            timer.cancel()
            result = None if one.cancelled() else one.result()
            hand_on(None if result is None else serialize_message(result))

        timer = threading.Timer(timeout_s, give_up)
        timer.daemon = True
        timer.start()
        future.add_done_callback(done)


class RclpyRequest:
    """A request of another node.

    Attributes:
        id: what no other request of the service has.
        content: the message.
    """

    def __init__(self, name: str, content: bytes, kind: Any, send: Callable[[Any], None]) -> None:
        self.id = name
        self.content = content
        self._kind = kind
        self._send = send

    def answer(self, response: bytes) -> None:
        """Answer it, once."""
        from rclpy.serialization import deserialize_message

        self._send(deserialize_message(response, self._kind.Response))


def _policy_name(event: Any) -> str:
    """Return what does not fit: reliability or durability."""
    from rclpy.qos import qos_policy_name_from_kind

    return str(qos_policy_name_from_kind(event.last_policy_kind)).lower()


def interface_class(type_name: str) -> Any:
    """Return the class of an interface in the installed ROS.

    Raises:
        UninstalledTypeError: it has none.
    """
    package, kind, name = type_name.split("/")
    action, _, part = name.rpartition("_")
    try:
        module = importlib.import_module(f"{package}.{kind}")
        if kind == "action" and part in _PARTS_OF_ACTIONS:
            return getattr(getattr(module, action).Impl, _PARTS_OF_ACTIONS[part])
        return getattr(module, name)
    except (ImportError, AttributeError) as error:
        raise UninstalledTypeError(
            f"the installed ROS has no {type_name} ({error}): install ros-...-"
            f"{package.replace('_', '-')}, or build and source the package"
        ) from error


def import_rclpy() -> Any:
    """Return the module of rclpy with the parts that are used here.

    Raises:
        ExtraMissingError: it is not installed, or the shell has not sourced ROS.
    """
    try:
        import rclpy
        import rclpy.context
        import rclpy.event_handler
        import rclpy.executors
        import rclpy.qos
        import rclpy.serialization
        import rclpy.signals
    except ImportError as error:
        raise ExtraMissingError(
            f"rclpy is needed for --transport rclpy: source /opt/ros/.../setup.bash before you "
            f"start, with the Python of that ROS ({error})"
        ) from error
    return rclpy


@contextmanager
def roomy_profile() -> Iterator[None]:
    """Let Fast DDS send pictures through shared memory, unless the user has a profile.

    One thread at a time: the environment is that of all, and one would take the profile of
    another, which is about to be removed, for the user's.
    """
    with _ENVIRONMENT_LOCK:
        if any(os.environ.get(name) for name in _PROFILE_VARIABLES):
            yield
        else:
            with _own_profile():
                yield


@contextmanager
def _own_profile() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="dora_rt_ros2_") as folder:
        path = Path(folder) / "fastdds.xml"
        path.write_text(_PROFILE, encoding="utf-8")
        is_old = os.environ.get("ROS_DISTRO") in _OLD_DISTROS
        variable = _PROFILE_VARIABLES[is_old]
        os.environ[variable] = str(path)
        try:
            yield
        finally:
            del os.environ[variable]
