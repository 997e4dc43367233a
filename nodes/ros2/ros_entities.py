"""What takes part in a system of ROS 2: nodes, and their ends of topics and services."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dora_rt.errors import DoraRtError


class NoConnectionError(DoraRtError):
    """Nobody answers; somebody may later."""


class Role(Enum):
    """What a node is for a topic or service; the values are those of rmw_zenoh."""

    PUBLISHER = "MP"
    SUBSCRIPTION = "MS"
    SERVER = "SS"
    CLIENT = "SC"

    @property
    def counterpart(self) -> Role:
        """The role that it exchanges messages with."""
        return _COUNTERPARTS[self]


_COUNTERPARTS = {
    Role.PUBLISHER: Role.SUBSCRIPTION,
    Role.SUBSCRIPTION: Role.PUBLISHER,
    Role.SERVER: Role.CLIENT,
    Role.CLIENT: Role.SERVER,
}


@dataclass(frozen=True, slots=True)
class Qos:
    """How messages are delivered.

    Attributes:
        is_reliable: none is left out because its way is too slow; else the newest go first.
        is_latched: who comes later gets the last `depth` messages (transient local).
        depth: messages that may wait.
    """

    is_reliable: bool = True
    is_latched: bool = False
    depth: int = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """A node of ROS 2: its name, its namespace such as `/` or `/robot1`, and its domain."""

    name: str
    namespace: str = "/"
    domain: int = 0

    def resolve(self, name: str) -> str:
        """Return the whole name of a topic or service that may be relative to the node."""
        if name.startswith("/"):
            return name
        if name.startswith("~"):
            return f"{self.full_name}{name[1:]}"
        return f"{self.namespace.rstrip('/')}/{name}"

    @property
    def full_name(self) -> str:
        """The name with its namespace."""
        return f"{self.namespace.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a topic or service.

    Attributes:
        role: what the node is for it.
        name: the whole name of the topic or service.
        type_name: such as `std_msgs/msg/String`.
        type_hash: its RIHS01 hash, or what stands in its place in ROS 2 Humble.
        qos: how messages are delivered.
    """

    role: Role
    name: str
    type_name: str
    type_hash: str
    qos: Qos = Qos()


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """An end that another node has."""

    role: Role
    name: str
    type_name: str
    type_hash: str
    node: str
