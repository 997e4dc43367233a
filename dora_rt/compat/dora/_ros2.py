"""dora's bridge to ROS 2 for programs, on the transports of the ready node `ros2`."""

from __future__ import annotations

import atexit
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

from dora_rt.errors import ExtraMissingError
from dora_rt.nodes.ros2.action_exchange import ServedAction
from dora_rt.nodes.ros2.bridge import Outlet, Transport
from dora_rt.nodes.ros2.interfaces import InterfaceError, Interfaces
from dora_rt.nodes.ros2.native_values import Form
from dora_rt.nodes.ros2.parameter_services import ParameterServices
from dora_rt.nodes.ros2.rclpy_transport import RclpyTransport, import_rclpy
from dora_rt.nodes.ros2.ros_entities import Identity, NoConnectionError, Role
from dora_rt.nodes.ros2.routes import Route
from dora_rt.nodes.ros2.service_exchange import CalledService, ServedService
from dora_rt.nodes.ros2.topic_exchange import Publication, Subscription
from dora_rt.nodes.ros2.topics import Queue, TopicMaker
from dora_rt.nodes.ros2.zenoh_transport import ZenohTransport

from ._ros2_ends import (
    ACTION_PORTS,
    PORT,
    Ros2ActionClient,
    Ros2ActionServer,
    Ros2Error,
    Ros2Publisher,
    Ros2ServiceClient,
    Ros2ServiceServer,
    Ros2Subscription,
)
from ._ros2_parameters import OwnParameters

__all__ = [
    "Ros2ActionClient",
    "Ros2ActionServer",
    "Ros2Context",
    "Ros2Durability",
    "Ros2Liveliness",
    "Ros2Node",
    "Ros2NodeOptions",
    "Ros2Publisher",
    "Ros2QosPolicies",
    "Ros2ServiceClient",
    "Ros2ServiceServer",
    "Ros2Subscription",
    "Ros2Topic",
    "Ros2Transport",
]

_logger = logging.getLogger("dora")

_ROUTER = "tcp/127.0.0.1:7447"
_CONFIG_VARIABLE = "ZENOH_SESSION_CONFIG_URI"
"""With which rmw_zenoh finds its router elsewhere."""
_CONNECT_S = 30.0
_RETRY_S = 0.5
_MOST_DEPTH = 10_000
_COMPATIBILITIES = ("humble", "rep2016")


class Ros2Transport:
    """How messages travel: `Ros2Transport.dds()` or `Ros2Transport.zenoh(...)`."""

    def __init__(self, kind: str, compatibility: str = "", config_uri: str | None = None) -> None:
        self._kind = kind
        self._compatibility = compatibility
        self._config_uri = config_uri

    @staticmethod
    def dds() -> Ros2Transport:
        """Return that of an installed rclpy, or zenoh where none is."""
        return Ros2Transport("dds")

    @staticmethod
    def zenoh(compatibility: str, config_uri: str | None = None) -> Ros2Transport:
        """Return that of rmw_zenoh.

        Args:
            compatibility: `rep2016`, or `humble`, which has no type hashes.
            config_uri: a file for zenoh's session; None: $ZENOH_SESSION_CONFIG_URI, or else the
                router of this machine.

        Raises:
            ValueError: there is no such compatibility.
        """
        if compatibility not in _COMPATIBILITIES:
            raise ValueError("compatibility must be `humble` or `rep2016`")
        return Ros2Transport("zenoh", compatibility, config_uri)

    @property
    def kind(self) -> str:
        """`dds` or `zenoh`."""
        return self._kind

    def found(self) -> Ros2Transport:
        """Return the one that works here."""
        if self._kind == "zenoh":
            return self
        try:
            import_rclpy()
        except ExtraMissingError as error:
            _logger.warning("ROS 2 by zenoh, since rclpy is not there (%s)", error.__cause__)
            return Ros2Transport.zenoh("rep2016")
        return self

    @property
    def has_hashes(self) -> bool:
        """Whether types have hashes there."""
        return self._compatibility != "humble"

    def opener(self, identity: Identity) -> Callable[[], Transport]:
        """Return what opens it for a node, or raises `NoConnectionError`."""
        if self._kind == "dds":
            return partial(RclpyTransport.open, identity)
        uri = self._config_uri or os.environ.get(_CONFIG_VARIABLE)
        config = Path(uri.removeprefix("file://")) if uri else None
        return partial(ZenohTransport.open, _ROUTER, identity, config)


class Ros2Durability(IntEnum):
    """Whether who comes later gets the last messages."""

    Volatile = 0
    TransientLocal = 1
    Transient = 2
    Persistent = 3


class Ros2Liveliness(IntEnum):
    """How a node shows that it is there; each way has the same effect here."""

    Automatic = 0
    ManualByParticipant = 1
    ManualByTopic = 2


class Ros2QosPolicies:
    """How messages are delivered; without arguments best effort, and the newest only."""

    def __init__(
        self,
        durability: Ros2Durability | None = None,
        liveliness: Ros2Liveliness | None = None,
        reliable: bool | None = None,
        keep_all: bool | None = None,
        lease_duration: float | None = None,
        max_blocking_time: float | None = None,
        keep_last: int | None = None,
    ) -> None:
        self.durability = Ros2Durability.Volatile if durability is None else durability
        self.liveliness = Ros2Liveliness.Automatic if liveliness is None else liveliness
        self.reliable = bool(reliable)
        self.keep_all = bool(keep_all)
        self.lease_duration = float("inf") if lease_duration is None else lease_duration
        self.max_blocking_time = max_blocking_time or 0.0
        self.keep_last = 1 if keep_last is None else keep_last

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return _MOST_DEPTH if self.keep_all else min(max(self.keep_last, 1), _MOST_DEPTH)


class Ros2NodeOptions:
    """Options of a node; what programs log is not sent to /rosout."""

    def __init__(self, rosout: bool | None = None) -> None:
        self.rosout = bool(rosout)


class Ros2Topic:
    """The name, the type and the QoS of a topic."""

    def __init__(self, name: str, type_name: str, qos: Ros2QosPolicies) -> None:
        self.name = name
        self.type_name = type_name
        self.qos = qos

    def route(self, qos: Ros2QosPolicies | None) -> Route:
        """Return it as the exchanges know it, perhaps with another QoS."""
        qos = self.qos if qos is None else qos
        is_latched = qos.durability != Ros2Durability.Volatile
        return Route(
            PORT,
            self.name,
            self.type_name,
            is_reliable=qos.reliable,
            is_latched=is_latched,
            depth=qos.depth,
            form=Form.ARROW,
        )


class Ros2Context:
    """What the nodes of a program have in common: types, domain and transport.

    Args:
        ros_paths: where texts of messages are, PATH/share/PACKAGE/msg/NAME.msg; None:
            AMENT_PREFIX_PATH. The usual messages come along.
        transport: None: an installed rclpy, or else zenoh.
        domain_id: None: ROS_DOMAIN_ID, or else 0.

    Raises:
        Ros2Error: the domain is none (a RuntimeError).
        ExtraMissingError: what the transport or values need is not installed (an ImportError).
    """

    def __init__(
        self,
        ros_paths: Sequence[str] | None = None,
        transport: Ros2Transport | None = None,
        domain_id: int | None = None,
    ) -> None:
        if ros_paths is None:
            ros_paths = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        folders = [Path(path) / "share" for path in ros_paths if path]
        self._interfaces = Interfaces(folders)
        self._domain = _domain() if domain_id is None else _checked_domain(domain_id)
        self._transport = (transport or Ros2Transport.dds()).found()

    @property
    def transport_kind(self) -> str:
        """The transport that is used: `dds` or `zenoh`."""
        return self._transport.kind

    def new_node(
        self,
        name: str,
        namespace: str,
        options: Ros2NodeOptions,
        parameters: Mapping[str, Any] | None = None,
    ) -> Ros2Node:
        """Become a node, and wait for the router of zenoh if it takes one.

        Raises:
            Ros2Error: a name or a parameter cannot be, or no router answers (a RuntimeError).
        """
        if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
            raise Ros2Error(f"invalid node name: {name!r}")
        if re.fullmatch(r"/?|(/[A-Za-z_]\w*)+", namespace, re.ASCII) is None:
            raise Ros2Error(f"invalid namespace: {namespace!r}, expected / or /robot1")
        store = None if parameters is None else OwnParameters(parameters)
        identity = Identity(name, namespace or "/", self._domain)
        transport = _opened(self._transport.opener(identity))
        maker = TopicMaker(identity, self._interfaces, has_hashes=self._transport.has_hashes)
        return Ros2Node(identity, maker, transport, store)


class Ros2Node:
    """A node of ROS; a context makes it."""

    def __init__(
        self,
        identity: Identity,
        maker: TopicMaker,
        transport: Transport,
        parameters: OwnParameters | None,
    ) -> None:
        self._maker = maker
        self._transport = transport
        self._parameters = OwnParameters({}) if parameters is None else parameters
        self._services: ParameterServices | None = None
        if parameters is not None:
            self._services = ParameterServices(identity.full_name, maker, parameters)
            self._services.begin(transport, Outlet(_NoNode()))
        # Before Python ends: what waits in zenoh then would take the process along.
        atexit.register(self.close)

    def create_topic(self, name: str, message_type: str, qos: Ros2QosPolicies) -> Ros2Topic:
        """Name a topic.

        Raises:
            InterfaceError: its type is not known (a RuntimeError).
        """
        topic = Ros2Topic(name, _type_name(message_type), qos)
        self._maker.make(topic.route(None), Role.PUBLISHER, Queue())
        return topic

    def create_publisher(
        self, topic: Ros2Topic, qos: Ros2QosPolicies | None = None
    ) -> Ros2Publisher:
        """Publish a topic."""
        made = self._maker.make(topic.route(qos), Role.PUBLISHER, Queue())
        return Ros2Publisher(Publication(made), self._transport)

    def create_subscription(
        self, topic: Ros2Topic, qos: Ros2QosPolicies | None = None
    ) -> Ros2Subscription:
        """Subscribe to a topic."""
        made = self._maker.make(topic.route(qos), Role.SUBSCRIPTION, Queue())
        return Ros2Subscription(Subscription(made), self._transport, made.endpoint.qos.depth)

    def create_service_client(
        self, service_name: str, service_type: str, qos: Ros2QosPolicies
    ) -> Ros2ServiceClient:
        """Become a client of a service, and wait up to 10 s until somebody serves it.

        Raises:
            Ros2Error: nobody does (a RuntimeError).
            InterfaceError: its type is not known.
        """
        made = self._maker.make_service(_service(service_name, service_type), Role.CLIENT)
        return Ros2ServiceClient(CalledService(made), self._transport)

    def create_service_server(
        self, service_name: str, service_type: str, qos: Ros2QosPolicies
    ) -> Ros2ServiceServer:
        """Serve a service.

        Raises:
            InterfaceError: its type is not known (a RuntimeError).
        """
        made = self._maker.make_service(_service(service_name, service_type), Role.SERVER)
        return Ros2ServiceServer(ServedService(made), self._transport)

    def create_action_client(
        self, action_name: str, action_type: str, qos: Ros2QosPolicies
    ) -> Ros2ActionClient:
        """Become a client of an action.

        Raises:
            InterfaceError: its type is not known (a RuntimeError).
        """
        route = _service(action_name, action_type)
        made = self._maker.make_action(route, is_served=False, ports=ACTION_PORTS)
        return Ros2ActionClient(made, self._transport)

    def create_action_server(
        self, action_name: str, action_type: str, qos: Ros2QosPolicies
    ) -> Ros2ActionServer:
        """Serve an action.

        Raises:
            InterfaceError: its type is not known (a RuntimeError).
        """
        route = _service(action_name, action_type)
        made = self._maker.make_action(route, is_served=True, ports=ACTION_PORTS)
        return Ros2ActionServer(ServedAction(made), self._transport)

    def set_parameter(self, name: str, value: Any) -> None:
        """Set a parameter that the node has.

        Raises:
            ParameterRefusedError: it has none of this name, or of another type (a RuntimeError).
        """
        # A look before, so that the one behind finds the difference.
        self._look()
        self._parameters.write({name: value})
        self._look()

    def get_parameter(self, name: str) -> Any:
        """Return the value of a parameter; None if there is none."""
        return self._parameters.values().get(name)

    def list_parameters(self) -> list[str]:
        """Return the names of all parameters."""
        return list(self._parameters.values())

    def has_parameter(self, name: str) -> bool:
        """Whether the node has a parameter of this name."""
        return name in self._parameters.values()

    def close(self) -> None:
        """Leave, which dora's nodes do with their program; may be called twice."""
        atexit.unregister(self.close)
        if self._services is not None:
            self._services.end()
        self._transport.close()

    def _look(self) -> None:
        if self._services is not None:
            self._services.look()


class _NoNode:
    """In the place of a node: parameters send nothing on."""


def _opened(connect: Callable[[], Transport]) -> Transport:
    deadline = time.monotonic() + _CONNECT_S
    is_told = False
    while True:
        try:
            return connect()
        except NoConnectionError as error:
            if time.monotonic() > deadline:
                raise Ros2Error(f"{error}: ros2 run rmw_zenoh_cpp rmw_zenohd starts one") from error
            if not is_told:
                _logger.warning("%s; trying again for %g s", error, _CONNECT_S)
            is_told = True
        time.sleep(_RETRY_S)


def _service(name: str, type_name: str) -> Route:
    # Calls have a time of their own; this one is longer than any.
    return Route(PORT, name, _type_name(type_name), form=Form.ARROW, timeout_s=86_400.0)


def _type_name(text: str) -> str:
    """Return the name of a type: programs for dora write `/` or `::` in it."""
    name = text.replace("::", "/")
    if name.count("/") not in (1, 2):
        raise InterfaceError(
            f"expected a type such as std_msgs/UInt8 or std_msgs::UInt8, got {text!r}"
        )
    return name


def _domain() -> int:
    text = os.environ.get("ROS_DOMAIN_ID", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise Ros2Error(f"invalid ROS_DOMAIN_ID {text!r}: expected a number from 0 to 232")
    return _checked_domain(int(text))


def _checked_domain(domain: int) -> int:
    if not 0 <= domain <= 232:
        raise Ros2Error(f"invalid domain {domain}: expected a number from 0 to 232")
    return domain
