"""The books of one gateway: what its streams, its launcher and the other machines have counted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dora_rt.network.accounts import (
    EndedRuns,
    ReceiverCounts,
    SenderCounts,
    account_of_receiver,
    account_of_sender,
)
from dora_rt.network.incoming import Incoming
from dora_rt.network.network_status import StreamCounts
from dora_rt.network.outgoing import Outgoing
from dora_rt.network.peer import Peer


class StreamBooks:
    """The launcher counts over all lives of the gateway, and this life is up to date."""

    def __init__(
        self,
        outgoing: Mapping[int, Outgoing],
        incoming: Mapping[int, Incoming],
        peers: Mapping[str, Peer],
        folder: Path,
        *,
        is_first_life: bool,
    ) -> None:
        """Begin without having heard of the launcher.

        Args:
            outgoing: the streams that leave, by number.
            incoming: the streams that come in, by number.
            peers: the other machines.
            folder: of the run; what no launcher counts is kept there, for a gateway that follows.
            is_first_life: whether this gateway was not started again.
        """
        self._folder = folder
        if not is_first_life:
            for number, one in incoming.items():
                with contextlib.suppress(FileNotFoundError):
                    kept = json.loads(self._file(number).read_text())
                    one.ended_runs = EndedRuns.from_json(kept)
        self._outgoing = outgoing
        self._incoming = incoming
        self._peers = peers
        self._told: Mapping[str, Any] = {}
        self._is_final = False

    def hear_launcher(self, counts: Mapping[str, Any]) -> None:
        """Take in what the launcher has counted of the rings here."""
        self._told = counts
        for number, one in self._incoming.items():
            one.recover(self._published(number))

    def note_new_run(self, peer: Peer) -> None:
        """Note that a machine is there again, in a new run."""
        for number, one in self._incoming.items():
            if one.stream.sender == peer.plan.name:
                one.ended_runs.add(peer.sent_before.get(number), self._received(one))
                # In one step: this process may be killed at any moment.
                draft = self._file(number).with_suffix(".draft")
                draft.write_text(json.dumps(one.ended_runs.to_json()))
                draft.replace(self._file(number))

    def told_to(self, name: str) -> dict[str, Any]:
        """Return what another machine is told of the streams between it and this one."""
        return {
            "leaving": {
                number: self._sent(one).to_json()
                for number, one in self._outgoing.items()
                if one.stream.receiver == name
            },
            "coming": {
                number: one.ended_runs.taken_from(self._received(one)).to_json()
                for number, one in self._incoming.items()
                if one.stream.sender == name
            },
        }

    def accounts(self) -> tuple[StreamCounts, ...]:
        """Return the accounts of all streams, of both ends as far as they are known."""
        accounts = []
        for number, out in self._outgoing.items():
            peer = self._peers[out.stream.receiver]
            before: Mapping[str, int] = peer.delivered_before.get(number, {})
            if out.window.is_lossless:
                before = dict.fromkeys(out.stream.targets, out.received_before)
            accounts.append(
                account_of_sender(number, self._sent(out), peer.received.get(number), before)
            )
        for number, one in self._incoming.items():
            sent = self._peers[one.stream.sender].sent.get(number)
            accounts.append(account_of_receiver(number, sent, self._received(one), one.ended_runs))
        return tuple(accounts)

    def close(self) -> None:
        """Note that what is under way now has arrived where it could, or is lost."""
        self._is_final = True

    def _file(self, number: int) -> Path:
        return self._folder / f"network-{number}.ended"

    def _sent(self, one: Outgoing) -> SenderCounts:
        told = self._told.get("leaving", {}).get(str(one.stream.number), {})
        taken = max(int(told.get("delivered", 0)), one.taken)
        ring_dropped = max(int(told.get("dropped", 0)), one.ring_dropped)
        return SenderCounts(
            sent=max(int(told.get("sent", 0)), taken + ring_dropped) + one.repeated,
            taken=taken + one.repeated,
            ring_dropped=ring_dropped,
            thrown_away=one.thrown_away,
            received_before=one.received_before,
            in_flight=one.window.in_flight,
            lost=one.window.lost,
            is_final=self._is_final or one.is_over,
        )

    def _received(self, one: Incoming) -> ReceiverCounts:
        number = one.stream.number
        told = self._told.get("coming", {}).get(str(number), {})
        return ReceiverCounts(
            received=max(one.order.received, self._published(number)),
            delivered={target: int(counts["delivered"]) for target, counts in told.items()},
            dropped={target: int(counts["dropped"]) for target, counts in told.items()},
        )

    def _published(self, number: int) -> int:
        """Return how many samples of a stream all lives of the gateway here have published."""
        told = self._told.get("coming", {}).get(str(number), {})
        return max((int(counts["sent"]) for counts in told.values()), default=0)
