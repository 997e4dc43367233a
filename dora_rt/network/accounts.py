"""The accounts of a stream, put together from what both of its ends have counted. Pure.

sent = dropped_here + received + network, in the end: what the ring has given to the gateway and
nobody has received was lost on the way, whatever happened to either gateway meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    received_before: int = 0
    """By runs of the receiver that are over."""
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
            "received_before": self.received_before,
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
            received_before=int(fields["received_before"]),
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


def account_of_sender(
    number: int,
    sender: SenderCounts,
    receiver: ReceiverCounts | None,
    delivered_before: Mapping[str, int],
) -> StreamCounts:
    """Put both ends together, as the sender sees them.

    Args:
        number: of the stream.
        sender: what is counted here.
        receiver: what the other end has told; None: nothing yet.
        delivered_before: by each input, in runs of the receiver that are over.
    """
    if receiver is None:
        return _account(number, sender, None)
    before = sender.received_before
    known = {target: delivered_before.get(target, 0) for target in receiver.delivered}
    whole = ReceiverCounts(
        receiver.received + before,
        {target: count + known[target] for target, count in receiver.delivered.items()},
        # What was in the rings of a machine that was killed is lost with it.
        {
            target: count + max(before - known.get(target, 0), 0)
            for target, count in receiver.dropped.items()
        },
    )
    return _account(number, sender, whole)


@dataclass(slots=True)
class EndedRuns:
    """What a stream has brought from runs of its sender that are over: it was started again."""

    sent: int = 0
    received: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    """Of what was received, by each input, when the last of them was over."""

    def add(self, told: SenderCounts | None, receiver: ReceiverCounts) -> None:
        """Note that a run of the sender is over.

        Args:
            told: what it had told of itself last.
            receiver: what was counted of the stream here, of all runs.
        """
        told = told or SenderCounts()
        received = receiver.received
        new = received - self.received
        self.delivered, self.dropped = dict(receiver.delivered), dict(receiver.dropped)
        # It was killed at an unknown moment behind that, with what its ring had.
        self.sent += max(told.sent - told.received_before, new)
        self.received = received

    def taken_from(self, receiver: ReceiverCounts) -> ReceiverCounts:
        """Return what was counted of the run of the sender that goes on, which knows no other."""
        delivered, dropped = {}, {}
        for target, count in receiver.delivered.items():
            before = self.delivered.get(target, 0)
            dropped_before = self.dropped.get(target, 0)
            # What was in the ring then comes first out of it.
            waiting = max(self.received - before - dropped_before, 0)
            late = min(waiting, max(count - before, 0))
            delivered[target] = max(count - before - late, 0)
            dropped_late = receiver.dropped.get(target, 0) - dropped_before
            dropped[target] = max(dropped_late - (waiting - late), 0)
        return ReceiverCounts(max(receiver.received - self.received, 0), delivered, dropped)

    def to_json(self) -> dict[str, Any]:
        """Return what a gateway that is started again has to know."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EndedRuns:
        """Read what `to_json` returned."""
        return cls(**fields)


def account_of_receiver(
    number: int, sender: SenderCounts | None, receiver: ReceiverCounts, ended: EndedRuns
) -> StreamCounts:
    """Put both ends together, as the receiver sees them: only what was sent to this run.

    Args:
        number: of the stream.
        sender: what the other end has told; None: nothing yet.
        receiver: what is counted here.
        ended: what earlier runs of the sender have sent.
    """
    sender = sender or SenderCounts()
    before = ended.received - sender.received_before
    own = replace(
        sender,
        sent=sender.sent + ended.sent - sender.received_before,
        taken=sender.taken + before,
        ring_dropped=sender.ring_dropped + ended.sent - ended.received,
    )
    return _account(number, own, receiver)


def _account(number: int, sender: SenderCounts, receiver: ReceiverCounts | None) -> StreamCounts:
    network: int | None = sender.lost
    if receiver is None:
        network = None
    elif sender.is_final:
        network = max(sender.taken - sender.thrown_away - receiver.received, 0)
    return StreamCounts(
        number=number,
        sent=sender.sent,
        dropped_here=sender.ring_dropped + sender.thrown_away,
        received=None if receiver is None else receiver.received,
        network=network,
        in_flight=sender.in_flight,
        delivered=None if receiver is None else receiver.delivered,
        dropped_there=None if receiver is None else receiver.dropped,
    )
