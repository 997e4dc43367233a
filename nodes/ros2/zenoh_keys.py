"""The layout of rmw_zenoh: keys of data and of liveliness tokens, and what goes with a message."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .ros_entities import Endpoint, Identity, Qos, RemoteEndpoint, Role

HASH_OF_HUMBLE = "TypeHashNotSupported"
_TOKENS = "@ros2_lv"
_ENCLAVE = "%"
_GID_NBYTES = 16
# Number, wall time in nanoseconds, and the sender's id behind its length.
_ATTACHMENT = struct.Struct(f"<qqB{_GID_NBYTES}s")


@dataclass(frozen=True, slots=True)
class Attachment:
    """What goes with a message, a request, or an answer, which repeats number and gid."""

    number: int
    time_ns: int
    gid: bytes

    def to_bytes(self) -> bytes:
        """Return it as it travels."""
        return _ATTACHMENT.pack(self.number, self.time_ns, _GID_NBYTES, self.gid)

    @classmethod
    def from_bytes(cls, content: bytes) -> Attachment | None:
        """Read what travelled; None if it is something else."""
        if len(content) != _ATTACHMENT.size:
            return None
        number, time_ns, length, gid = _ATTACHMENT.unpack(content)
        return cls(number, time_ns, gid) if length == _GID_NBYTES else None


def data_key(domain: int, endpoint: Endpoint) -> str:
    """Return the key of a topic's messages, or of a service's requests."""
    name = endpoint.name.strip("/")
    return f"{domain}/{name}/{dds_name(endpoint.type_name)}/{endpoint.type_hash}"


def all_tokens(domain: int) -> str:
    """Return the key of all tokens of a domain."""
    return f"{_TOKENS}/{domain}/**"


def node_token(session: str, identity: Identity) -> str:
    """Return the token of a node."""
    return _token(session, identity, "0", "NN")


def endpoint_token(session: str, number: int, identity: Identity, endpoint: Endpoint) -> str:
    """Return the token of one end of a topic or service; `number` is its own in the session."""
    return "/".join(
        (
            _token(session, identity, str(number), endpoint.role.value),
            _mangled(endpoint.name),
            dds_name(endpoint.type_name),
            endpoint.type_hash,
            qos_text(endpoint.qos),
        )
    )


def read_token(key: str) -> tuple[str, RemoteEndpoint] | None:
    """Return the session of a token and the end that it is of; None if it is of none."""
    match key.split("/"):
        case [_, _, session, _, _, role, _, space, node, name, type_name, type_hash, _]:
            pass
        case _:
            return None
    if role not in {one.value for one in Role}:
        return None
    whole_node = f"{_plain(space).rstrip('/')}/{node}"
    endpoint = RemoteEndpoint(
        Role(role), _plain(name), _plain_type(type_name), type_hash, whole_node
    )
    return session, endpoint


def qos_text(qos: Qos) -> str:
    """Return a QoS as tokens have it, where what is the default of ROS stays empty."""
    reliability = "" if qos.is_reliable else "2"
    durability = "1" if qos.is_latched else ""
    return f"{reliability}:{durability}:,{qos.depth}:,:,:,,"


def dds_name(type_name: str) -> str:
    """Return `std_msgs::msg::dds_::String_` for `std_msgs/msg/String`."""
    package, kind, name = type_name.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def _token(session: str, identity: Identity, number: str, kind: str) -> str:
    return "/".join(
        (
            *(_TOKENS, str(identity.domain), session, "0", number, kind, _ENCLAVE),
            _mangled(identity.namespace),
            identity.name,
        )
    )


def _mangled(name: str) -> str:
    """Return a name as one part of a key."""
    return name.replace("/", "%") or "%"


def _plain(part: str) -> str:
    return part.replace("%", "/")


def _plain_type(text: str) -> str:
    """Return the name of a type for people; of a type of DDS too."""
    return text.replace("::dds_::", "::").removesuffix("_").replace("::", "/")
