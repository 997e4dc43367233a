"""Make topics of the routes that the options name, and check them against the dataflow file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dora_rt.errors import DoraRtError

from . import geometry_values, sensor_values
from .action_exchange import ActionPort
from .cdr import Codec
from .interface_text import Message
from .interfaces import Interfaces
from .native_values import Converter, Form
from .ros_entities import Endpoint, Identity, Qos, Role
from .routes import Route
from .service_exchange import MessageForm, ServicePort
from .topic_exchange import Topic
from .type_hash import type_hash
from .zenoh_keys import HASH_OF_HUMBLE

logger = logging.getLogger(__name__)


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
            self.converter(message, route.form),
            route.frame_id,
        )

    def make_service(self, route: Route, role: Role) -> ServicePort:
        """Make the service of a route.

        Raises:
            InterfaceError: its type is not known.
        """
        service = self._interfaces.service(route.type_name)
        endpoint = Endpoint(
            role,
            self._identity.resolve(route.name),
            service.name,
            self.hash_of(service.whole),
        )
        request, response = (
            MessageForm(Codec(one, self._interfaces), self.converter(one, route.form))
            for one in (service.request, service.response)
        )
        return ServicePort(*route.ports, endpoint, request, response, route.timeout_s)

    def make_action(self, route: Route, *, is_served: bool, ports: Collection[str]) -> ActionPort:
        """Make the action of a route; `ports` are those of the node in the dataflow file.

        Raises:
            InterfaceError: its type is not known.
        """
        action = self._interfaces.action(route.type_name)
        cancel = self._interfaces.service("action_msgs/CancelGoal")
        status = self._interfaces.message("action_msgs/GoalStatusArray")
        services = {
            "send_goal": action.send_goal,
            "get_result": action.get_result,
            "cancel_goal": cancel,
        }
        topics = {"feedback": action.feedback_message, "status": status}
        name = f"{self._identity.resolve(route.name)}/_action"
        service_role = Role.SERVER if is_served else Role.CLIENT
        topic_role = Role.PUBLISHER if is_served else Role.SUBSCRIPTION
        latched = Qos(is_latched=True, depth=1)
        endpoints = {
            part: Endpoint(service_role, f"{name}/{part}", one.name, self.hash_of(one.whole))
            for part, one in services.items()
        }
        for part, message in topics.items():
            qos = latched if part == "status" else Qos()
            endpoints[part] = Endpoint(
                topic_role, f"{name}/{part}", message.name, self.hash_of(message), qos
            )
        codecs = {part: Codec(message, self._interfaces) for part, message in topics.items()}
        for part, one in services.items():
            codecs[f"{part}_request"] = Codec(one.request, self._interfaces)
            codecs[f"{part}_response"] = Codec(one.response, self._interfaces)
        goal, result, feedback = (
            self.converter(message, route.form)
            for message in (action.goal, action.result, action.feedback)
        )
        return ActionPort(route.port, frozenset(ports), endpoints, codecs, goal, result, feedback)

    def hash_of(self, message: Message) -> str:
        """Return the hash of a type as others see it."""
        return type_hash(message, self._interfaces) if self._has_hashes else HASH_OF_HUMBLE

    def converter(self, message: Message, form: Form) -> Converter:
        """Return what converts the messages of a type."""
        return Converter(message, self._interfaces, self._conversions, form)


def check_ports(
    node: str, kind: str, needed: Sequence[str], may_be: Collection[str], ports: Sequence[str]
) -> None:
    """Check that each route has ports of its own; a port without a route is told.

    Args:
        node: id of the node.
        kind: `input` or `output`.
        needed: the ports of the routes.
        may_be: those that are used if they are there.
        ports: those of the node in the dataflow file.

    Raises:
        RouteError: one is missing, or two routes have the same.
    """
    for number, port in enumerate(needed):
        if port not in ports:
            has = f"its {kind}s are: {', '.join(ports)}" if ports else f"it has no {kind}s"
            raise RouteError(
                f"node '{node}': a route needs the {kind} '{port}', and the node has none; {has}"
            )
        if port in needed[:number]:
            raise RouteError(f"node '{node}': two routes have the {kind} '{port}'")
    for port in ports:
        if port not in needed and port not in may_be:
            logger.warning("%s '%s' is not used: no route has it", kind, port)
