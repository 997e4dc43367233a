"""What a gateway tells its launcher of the other machines, and what tools read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dora_rt.node_config import to_fields


class MachineState(Enum):
    """Where another machine of the dataflow is, as seen from here."""

    AWAITED = "not there yet"
    CONNECTED = "connected, its nodes are not ready"
    READY = "ready"
    REFUSED = "refused"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Another machine of the dataflow."""

    name: str
    state: MachineState
    since_s: float
    """How long it has been in this state."""
    is_optional: bool
    why: str | None = None
    """The reason for REFUSED, LOST or ENDED."""
    clock_offset_ns: int | None = None
    """Its monotonic clock minus the one here."""
    clock_error_ns: int | None = None
    """Half of the shortest round trip: the offset is not further off than this."""
    run: Mapping[str, Any] | None = None
    """The status of its run as it told it last, as `RunStatus.to_json` makes it."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What is known of one stream, from both of its ends; None: the far end has not told.

    sent = dropped_here + network + received, where the run has come to its end at both sides.
    """

    number: int
    sent: int
    """By the program at the source."""
    dropped_here: int
    """By the ring of the sender, and by `max_hz`."""
    received: int | None
    """By the far gateway, each sample once."""
    network: int | None
    """Sent over the link, and never received."""
    in_flight: int
    """Sent over the link, and neither received nor known as lost yet."""
    delivered: Mapping[str, int] | None
    """By each input behind it."""
    dropped_there: Mapping[str, int] | None
    """By the ring of the receiver, for each input behind it."""


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The answer to what goes on between the machines of a dataflow."""

    machine: str
    """The machine that it is told on."""
    machines: tuple[MachineStatus, ...]
    """All others."""
    streams: tuple[StreamCounts, ...]
    """Those of which this machine is an end."""

    def to_json(self) -> dict[str, Any]:
        """Return the values of JSON that cross the socket of the run."""
        return dict(to_fields(self))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> NetworkStatus:
        """Read what `to_json` returned."""
        return cls(
            machine=fields["machine"],
            machines=tuple(
                MachineStatus(**{**entry, "state": MachineState(entry["state"])})
                for entry in fields["machines"]
            ),
            streams=tuple(StreamCounts(**entry) for entry in fields["streams"]),
        )
