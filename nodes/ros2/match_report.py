"""Say who is at the other end of a topic or service, and why nobody is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from enum import Enum

from .ros_entities import Endpoint, RemoteEndpoint, Role
from .zenoh_keys import HASH_OF_HUMBLE

logger = logging.getLogger(__name__)

_PATIENCE_NS = 5_000_000_000
# What is offered may well find nobody.
_OFFERS = (Role.PUBLISHER, Role.SERVER)
_WORDS = {
    Role.PUBLISHER: "publishes",
    Role.SUBSCRIPTION: "subscribes to",
    Role.SERVER: "serves",
    Role.CLIENT: "calls",
}


class Match(Enum):
    """Whether somebody is at the other end."""

    FOUND = "found"
    NOBODY = "nobody"
    WRONG = "wrong"
    """Somebody is, with another type or another hash."""


class MatchReport:
    """Log what has changed for each end that this node has; nothing twice.

    Args:
        endpoints: of this node.
        begin_ns: when it looked first: others may need a moment to show up.
    """

    def __init__(self, endpoints: Sequence[Endpoint], begin_ns: int) -> None:
        self._endpoints = endpoints
        self._begin_ns = begin_ns
        self._told: dict[Endpoint, str] = {}

    def look(self, remote: Iterable[RemoteEndpoint], now_ns: int) -> None:
        """Compare with what there is now."""
        known = list(remote)
        for endpoint in self._endpoints:
            text, match = describe_match(endpoint, known)
            is_early = now_ns - self._begin_ns < _PATIENCE_NS
            if self._told.get(endpoint) == text or (is_early and match is not Match.FOUND):
                continue
            self._told[endpoint] = text
            is_fault = match is Match.WRONG or (
                match is Match.NOBODY and endpoint.role not in _OFFERS
            )
            logger.log(logging.WARNING if is_fault else logging.INFO, "%s", text)


def describe_match(endpoint: Endpoint, remote: Sequence[RemoteEndpoint]) -> tuple[str, Match]:
    """Return in words who matches an end, or why nobody does."""
    counterpart = endpoint.role.counterpart
    verb = _WORDS[counterpart]
    there = [one for one in remote if one.name == endpoint.name and one.role is counterpart]
    matching = [
        one
        for one in there
        if (one.type_name, one.type_hash) == (endpoint.type_name, endpoint.type_hash)
    ]
    if matching:
        return f"{endpoint.name}: {_nodes(matching)} {verb} it", Match.FOUND
    same_type = [one for one in there if one.type_name == endpoint.type_name]
    if same_type:
        return _other_hash(endpoint, same_type, verb), Match.WRONG
    if there:
        types = ", ".join(sorted({one.type_name for one in there}))
        return (
            f"{endpoint.name}: {_nodes(there)} {verb} it as {types}, and this node has "
            f"{endpoint.type_name}: nothing will pass",
            Match.WRONG,
        )
    near = sorted(
        {
            one.name
            for one in remote
            if one.role is counterpart and one.type_name == endpoint.type_name
        }
    )
    hint = f"; there is {', '.join(near[:5])} of its type" if near else ""
    return f"{endpoint.name}: nobody {verb} it so far{hint}", Match.NOBODY


def _other_hash(endpoint: Endpoint, there: Sequence[RemoteEndpoint], verb: str) -> str:
    theirs = there[0].type_hash
    begin = (
        f"{endpoint.name}: {_nodes(there)} {verb} it, but its {endpoint.type_name} has another "
        f"type hash, and so nothing will pass"
    )
    if theirs == HASH_OF_HUMBLE:
        return f"{begin}: it is of ROS 2 Humble, which has none; write --distro humble"
    if endpoint.type_hash == HASH_OF_HUMBLE:
        return f"{begin}: it is newer than ROS 2 Humble; leave --distro humble out"
    return (
        f"{begin}: {theirs[:15]}... there, {endpoint.type_hash[:15]}... here; give the texts of "
        "the robot's messages (its folder share/) with --interfaces"
    )


def _nodes(endpoints: Sequence[RemoteEndpoint]) -> str:
    return ", ".join(sorted({one.node for one in endpoints}))
