"""Make topics of the routes that the options name, and check them against the dataflow file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dora_rt.errors import DoraRtError

from . import geometry_values, sensor_values
from .bridge import Topic
from .cdr import Codec
from .interface_text import Message
from .interfaces import Interfaces
from .native_values import Converter
from .ros_entities import Endpoint, Identity, Role
from .routes import Route
from .type_hash import type_hash
from .zenoh_keys import HASH_OF_HUMBLE


class RouteError(DoraRtError):
    """A route names a port that the dataflow file does not have, or a port has none."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What the dataflow file says of a port: whether the slower side is waited for, and a size."""

    is_blocking: bool = False
    size: int = 1

    @classmethod
    def of(cls, queues: Sequence[tuple[str, int]]) -> Queue:
        """Put together the policies and sizes of the inputs at one port."""
        return cls(
            any(policy == "block" for policy, _ in queues),
            max((size for _, size in queues), default=1),
        )


class TopicMaker:
    """Make topics of routes.

    Args:
        identity: the node in ROS 2.
        interfaces: where the types are found.
        has_hashes: False for ROS 2 Humble.
    """

    def __init__(self, identity: Identity, interfaces: Interfaces, *, has_hashes: bool) -> None:
        self._identity = identity
        self._interfaces = interfaces
        self._has_hashes = has_hashes
        self._conversions = geometry_values.make_conversions() | sensor_values.make_conversions()

    def make(self, route: Route, role: Role, queue: Queue) -> Topic:
        """Make the topic of a route.

        Raises:
            InterfaceError: its type is not known.
        """
        message = self._interfaces.message(route.type_name)
        endpoint = Endpoint(
            role,
            self._identity.resolve(route.name),
            message.name,
            self.hash_of(message),
            route.qos(queue.is_blocking, queue.size),
        )
        return Topic(
            route.port,
            endpoint,
            Codec(message, self._interfaces),
            self.converter(message, as_arrow=route.as_arrow),
            route.frame_id,
        )

    def hash_of(self, message: Message) -> str:
        """Return the hash of a type as others see it."""
        return type_hash(message, self._interfaces) if self._has_hashes else HASH_OF_HUMBLE

    def converter(self, message: Message, *, as_arrow: bool = False) -> Converter:
        """Return what converts the messages of a type."""
        return Converter(message, self._interfaces, self._conversions, as_arrow=as_arrow)


def check_ports(
    node: str, kind: str, routes: Sequence[Route], ports: Sequence[str], option: str
) -> None:
    """Check that each port has one route, and each route a port.

    Args:
        node: id of the node.
        kind: `input` or `output`.
        routes: those of the option.
        ports: of the node in the dataflow file that this option may use.
        option: its name.

    Raises:
        RouteError: it is not so.
    """
    seen: dict[str, Route] = {}
    for route in routes:
        if route.port not in ports:
            has = f"its {kind}s are: {', '.join(ports)}" if ports else f"it has no {kind}s"
            raise RouteError(
                f"node '{node}': {option} {route.port}={route.name}:{route.type_name}, and the "
                f"node has no {kind} '{route.port}'; {has}"
            )
        if route.port in seen:
            raise RouteError(f"node '{node}': two routes of {option} have the port '{route.port}'")
        seen[route.port] = route
