"""The accounts of a stream, put together from what both of its ends have counted. Pure.

sent = dropped_here + received + network, in the end: what the ring has given to the gateway and
nobody has received was lost on the way, whatever happened to either gateway meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dora_rt.network.network_status import StreamCounts


@dataclass(slots=True)
class SenderCounts:
    """What is counted at the end that a stream leaves."""

    sent: int = 0
    """By the program at the source."""
    taken: int = 0
    """From the ring, by all lives of the gateway."""
    ring_dropped: int = 0
    thrown_away: int = 0
    """By the gateway: nobody wants them, or they cannot cross."""
    in_flight: int = 0
    lost: int = 0
    """As far as it is known while the stream flows."""
    is_final: bool = False
    """Whether nothing comes any more, and what was under way has arrived or is lost."""

    def to_json(self) -> dict[str, Any]:
        """Return what is told to the other end."""
        return {
            "sent": self.sent,
            "taken": self.taken,
            "ring_dropped": self.ring_dropped,
            "thrown_away": self.thrown_away,
            "in_flight": self.in_flight,
            "lost": self.lost,
            "is_final": self.is_final,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SenderCounts:
        """Read what the other end has told."""
        return cls(
            sent=int(fields["sent"]),
            taken=int(fields["taken"]),
            ring_dropped=int(fields["ring_dropped"]),
            thrown_away=int(fields["thrown_away"]),
            in_flight=int(fields["in_flight"]),
            lost=int(fields["lost"]),
            is_final=bool(fields["is_final"]),
        )


@dataclass(slots=True)
class ReceiverCounts:
    """What is counted at the end that a stream reaches."""

    received: int = 0
    """By all lives of the gateway, each sample once."""
    delivered: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    """By each input that reads the stream."""

    def to_json(self) -> dict[str, Any]:
        """Return what is told to the other end."""
        return {
            "received": self.received,
            "delivered": dict(self.delivered),
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ReceiverCounts:
        """Read what the other end has told."""
        return cls(
            received=int(fields["received"]),
            delivered={str(name): int(count) for name, count in fields["delivered"].items()},
            dropped={str(name): int(count) for name, count in fields["dropped"].items()},
        )


def whole_account(
    number: int, sender: SenderCounts | None, receiver: ReceiverCounts | None
) -> StreamCounts:
    """Put both ends together; one that has not told anything yet is None."""
    sender = sender or SenderCounts()
    received = None if receiver is None else receiver.received
    forwarded = sender.taken - sender.thrown_away
    network: int | None = sender.lost
    if sender.is_final and received is not None:
        network = max(forwarded - received, 0)
    elif received is None:
        network = None
    return StreamCounts(
        number=number,
        sent=sender.sent,
        dropped_here=sender.ring_dropped + sender.thrown_away,
        received=received,
        network=network,
        in_flight=sender.in_flight,
        delivered=None if receiver is None else receiver.delivered,
        dropped_there=None if receiver is None else receiver.dropped,
    )
