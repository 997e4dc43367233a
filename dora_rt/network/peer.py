"""Another machine of the dataflow, as its gateway makes itself known here. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from dora_rt.network.accounts import ReceiverCounts, SenderCounts
from dora_rt.network.clocks import ClockOffset
from dora_rt.network.gateway_plan import MachinePlan
from dora_rt.network.network_status import MachineState, MachineStatus
from dora_rt.network.wire import WIRE_VERSION

HELLO_PERIOD_NS = 500_000_000
SILENCE_NS = 4_000_000_000
"""A gateway tells something once a second at least; one that is silent for so long is lost."""


class Change(Enum):
    """What a peer's words have changed."""

    CONNECTED = auto()
    LOST = auto()
    REFUSED = auto()
    ENDED = auto()


class Peer:
    """What is known of the gateway of one other machine.

    Two gateways are connected when each has heard that the other knows its present life and link.
    A link that is lost has a new number when it is there again, at the end that noticed.

    Where two launchers say that they are the same machine, the first one stays connected until it
    is gone. The other one is told nothing but that, and waits.
    """

    def __init__(self, plan: MachinePlan, *, life: int, run: str, file_sha256: str) -> None:
        """Begin without having heard of it.

        Args:
            plan: of that machine.
            life: of the gateway here.
            run: the name of the run here.
            file_sha256: of the dataflow file here.
        """
        self.plan = plan
        self.clock = ClockOffset()
        self.is_connected = False
        self.life = 0
        """Of its gateway; 0: it was not heard of."""
        self.run = ""
        self.is_ready = False
        """Whether its nodes are ready."""
        self.has_ended = False
        """Whether it has said that its run is over."""
        self.sent: dict[int, SenderCounts] = {}
        """What it has counted of the streams that come from it."""
        self.received: dict[int, ReceiverCounts] = {}
        """What it has counted of the streams that it gets."""
        self.is_new_run = False
        """Whether it was started again, and nobody has taken note of that yet."""
        self.sent_before: dict[int, SenderCounts] = {}
        """What it had counted in the run before this one."""
        self.delivered_before: dict[int, Counter[str]] = {}
        """By streams: what the inputs of runs of it that are over had taken, as it told last."""
        self.is_final = False
        """Whether those do not change any more."""
        self.has_heard_final = False
        """Whether it has heard that those of this machine do not change any more."""
        self.why: str | None = None
        self._mine = {"version": WIRE_VERSION, "file": file_sha256, "run": run, "life": life}
        self._link = 1
        self._its_link = 0
        self._is_refused = False
        self._rival = ""
        self._taken_ns: int | None = None
        self._was_connected = False
        self._hello_ns = 0
        self._heard_ns = 0
        self._since_ns: int | None = None

    def hello(self) -> dict[str, Any]:
        """Return what is told to it until it has answered."""
        return {
            **self._mine,
            "link": self._link,
            "sees": [self.life, self._its_link],
            "is_connected": self.is_connected,
        }

    def hello_due(self, now_ns: int) -> bool:
        """Return whether to say hello now; then it is taken as said."""
        if self.is_connected or now_ns < self._hello_ns:
            return False
        self._hello_ns = now_ns + HELLO_PERIOD_NS
        return True

    @property
    def hello_ns(self) -> int | None:
        """When to say hello next; None: it is not necessary."""
        return None if self.is_connected else self._hello_ns

    def hear_hello(self, told: Mapping[str, Any], now_ns: int) -> list[Change]:
        """Take in a hello; the caller answers it with one if `needs_answer` says so."""
        changes: list[Change] = []
        life, link = int(told["life"]), int(told["link"])
        if self._is_of_rival(told):
            return changes
        self._heard_ns = now_ns
        if (life, link) != (self.life, self._its_link):
            if life != self.life:
                self.has_ended = self.is_ready = self._is_refused = False
                self.is_final = self.has_heard_final = False
                self.clock = ClockOffset()
            if self.is_connected:
                changes += self._lose("its gateway was started again", now_ns)
            run = str(told["run"])
            if run != self.run:
                self.is_new_run = bool(self.run)
                for number, counts in self.received.items():
                    before = self.delivered_before.setdefault(number, Counter())
                    before.update(counts.delivered)
                self.received.clear()
                self.sent_before, self.sent = self.sent, {}
            self.life, self._its_link, self.run = life, link, run
            self._hello_ns = 0
        if not self._is_taken(told):
            self._taken_ns = None
        elif self._taken_ns is None:
            self._taken_ns = now_ns
        refusal = self._refusal(told, now_ns)
        if refusal is not None:
            if not self._is_refused:
                self._is_refused, self.why, self._since_ns = True, refusal, now_ns
                changes.append(Change.REFUSED)
            return changes
        self._is_refused = False
        if self._taken_ns is not None:
            return changes  # no haste: it answers each hello, and does not take this side
        if tuple(told["sees"]) != (self._mine["life"], self._link):
            self._hello_ns = 0  # it does not know of this side yet
        elif not self.is_connected:
            self.is_connected = self._was_connected = True
            self.why, self._since_ns = None, now_ns
            changes.append(Change.CONNECTED)
        return changes

    def needs_answer(self, told: Mapping[str, Any]) -> bool:
        """Return whether a hello shows that its sender has not heard what it waits for."""
        if self._is_taken(told):
            return False  # it would answer, and so for ever
        if tuple(told["sees"]) != (self._mine["life"], self._link):
            return True
        # Two that refuse each other would answer for ever.
        return not self._is_refused and not told["is_connected"]

    def note_rival(self, told: Mapping[str, Any]) -> bool:
        """Return whether a hello is the first one of another launcher that is this machine, too."""
        is_first = self._is_of_rival(told) and self._rival != told["run"]
        if is_first:
            self._rival = str(told["run"])
        return is_first

    def hear_end(self, why: str, now_ns: int) -> list[Change]:
        """Note that its run is over."""
        self.has_ended = self.is_final = True
        self._lose(why, now_ns)
        return [Change.ENDED]

    def hear_counts(self, told: Mapping[str, Any]) -> bool:
        """Take in what it has counted; return whether it is nearer to its end than before."""
        counts = told["counts"]
        for number, fields in counts["leaving"].items():
            self.sent[int(number)] = SenderCounts.from_json(fields)
        for number, fields in counts["coming"].items():
            self.received[int(number)] = ReceiverCounts.from_json(fields)
        before = self.is_final, self.has_heard_final
        self.is_final, self.has_heard_final = bool(told["is_final"]), bool(told["heard_final"])
        return (self.is_final, self.has_heard_final) != before

    def obstacle(self) -> str | None:
        """Return why it cannot be asked anything; None if it can."""
        if self.is_connected:
            return None
        why = "" if self.why is None else f", {self.why}"
        return f"machine {self.plan.name} is not connected: {self._state().value}{why}"

    def hear(self, now_ns: int) -> None:
        """Note that something came from it."""
        self._heard_ns = now_ns

    def hear_gone(self, life: int, now_ns: int) -> list[Change]:
        """Note that the link to a life of its gateway is gone."""
        if life != self.life or not self.is_connected:
            return []
        return self._lose("the link is gone", now_ns)

    def look(self, now_ns: int) -> list[Change]:
        """Look whether it has been silent for too long."""
        if self.is_connected and now_ns - self._heard_ns > SILENCE_NS:
            return self._lose(f"silent for {SILENCE_NS / 1e9:.0f} s", now_ns)
        return []

    def status(self, now_ns: int) -> MachineStatus:
        """Return what the launcher here is told of it."""
        if self._since_ns is None:
            self._since_ns = now_ns
        return MachineStatus(
            name=self.plan.name,
            state=self._state(),
            since_s=round((now_ns - self._since_ns) / 1e9, 1),
            is_optional=self.plan.is_optional,
            why=self.why,
            clock_offset_ns=self.clock.offset_ns,
            clock_error_ns=self.clock.error_ns,
        )

    def _state(self) -> MachineState:
        if self._is_refused:
            return MachineState.REFUSED
        if self.is_connected:
            return MachineState.READY if self.is_ready else MachineState.CONNECTED
        if self.has_ended:
            return MachineState.ENDED
        return MachineState.LOST if self._was_connected else MachineState.AWAITED

    def _is_of_rival(self, told: Mapping[str, Any]) -> bool:
        # A gateway that was started again is of the same run, and its forerunner is gone.
        return self.is_connected and told["run"] != self.run

    def _is_taken(self, told: Mapping[str, Any]) -> bool:
        """Whether it is connected with another gateway that says it is the machine here."""
        return bool(told["is_connected"]) and told["sees"][0] != self._mine["life"]

    def _refusal(self, told: Mapping[str, Any], now_ns: int) -> str | None:
        if told["version"] != WIRE_VERSION:
            return (
                f"its dora_rt speaks version {told['version']} of the protocol between machines, "
                f"the one here version {WIRE_VERSION}: install the same dora_rt on both"
            )
        if told["file"] != self._mine["file"]:
            return (
                "its dataflow file is not the same as the one here: copy it "
                f"(`dora-rt deploy {self.plan.name}`), and start both with the same arguments"
            )
        # Shorter than that, it may not have noticed the end of the gateway before this one.
        if self._taken_ns is not None and now_ns - self._taken_ns > SILENCE_NS:
            return (
                "it has a link to another launcher that runs as the machine here: stop one of them"
            )
        return None

    def _lose(self, why: str, now_ns: int) -> list[Change]:
        was_connected, self.is_connected = self.is_connected, False
        # A machine that has told its last accounts has nothing more to say, and its goodbye may
        # be cut off.
        has_ended = self.is_final and was_connected
        self.has_ended |= has_ended
        self.why, self._since_ns = "its run has ended" if has_ended else why, now_ns
        if not was_connected:
            return []
        self._link += 1
        self._hello_ns = 0
        return [Change.ENDED if has_ended else Change.LOST]
