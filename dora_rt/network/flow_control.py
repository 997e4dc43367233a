"""Start, stop and loss of the machines of one dataflow: what each is told, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dora_rt.network.gateway_plan import GatewayPlan
from dora_rt.network.network_status import MachineState
from dora_rt.network.peer import Change, Peer


class FlowControl:
    """What the gateway tells its launcher and the others, beside the samples.

    A machine that is optional is not waited for, and its stop stops nothing but itself.
    """

    def __init__(
        self,
        plan: GatewayPlan,
        peers: Mapping[str, Peer],
        tell: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Begin: nobody is ready.

        Args:
            plan: of this gateway.
            peers: the other machines.
            tell: sends a message to one of them.
        """
        self.has_news = True
        """Whether the launcher is to be told something now."""
        self.has_final_counts = False
        """Whether the launcher has told counters that do not change any more."""
        self.is_final = False
        """Whether the accounts of this machine do not change any more."""
        self.has_started = False
        """Whether no machine is waited for any more."""
        self._peers = peers
        self._tell = tell
        self.is_optional = any(one.is_optional for one in plan.machines if one.name == plan.machine)
        """Whether the machine of this gateway is."""
        self._is_ready = False
        self._stop: str | None = None
        self._is_stopping = False
        self._failed: dict[str, str] = {}

    @property
    def is_stopping(self) -> bool:
        """Whether the launcher here stops."""
        return self._is_stopping

    @property
    def failed(self) -> frozenset[str]:
        """The machines that were silent for longer than the file allows."""
        return frozenset(self._failed)

    @property
    def all_are_final(self) -> bool:
        """Whether the last accounts of all machines that are there are known to both ends."""
        return all(
            (peer.is_final and peer.has_heard_final) or not peer.is_connected
            for peer in self._peers.values()
        )

    def hear_launcher(self, told: Mapping[str, Any]) -> None:
        """Take a line of the launcher here."""
        if told.get("is_ready"):
            self._is_ready = True
            self._tell_all({"is_ready": True})
        if told.get("is_final"):
            self.has_final_counts = True
        why = told.get("is_stopping")
        if why is not None and not self._is_stopping:
            self._is_stopping = True
            # Who has stopped it has told all the others itself.
            if self._stop is None and not self.is_optional:
                self._tell_all({"stop": why})

    def hear(self, name: str, told: Mapping[str, Any]) -> None:
        """Take a message of another machine."""
        if told.get("is_ready"):
            self._peers[name].is_ready = self.has_news = True
        why = told.get("stop")
        if why is not None and self._stop is None:
            self._stop = f"{name}: {why}"
            self.has_news = True

    def note(self, name: str, change: Change) -> None:
        """Note that something has happened to another machine."""
        self.has_news = True
        if change is Change.CONNECTED:
            if self._is_ready:
                self._tell(name, {"is_ready": True})
            if self._is_stopping and not self.is_optional:
                self._tell(name, {"stop": "it is stopping"})

    def note_news(self) -> None:
        """Note that the launcher and the others should hear something now."""
        self.has_news = True

    def news(self, now_ns: int) -> dict[str, Any]:
        """Return what to tell the launcher, beside what is known of all machines and streams."""
        self.has_news = False
        needed = [peer for peer in self._peers.values() if not peer.plan.is_optional]
        self.has_started |= all(peer.is_connected and peer.is_ready for peer in needed)
        for peer in self._peers.values():
            timeout_s = peer.plan.timeout_s
            status = peer.status(now_ns)
            is_lost = status.state in (MachineState.LOST, MachineState.REFUSED)
            if timeout_s is not None and is_lost and status.since_s > timeout_s:
                self._failed.setdefault(
                    peer.plan.name, f"{status.state.value} for {timeout_s:g} s: {status.why}"
                )
        return {"may_start": self.has_started, "stop": self._stop, "failed": dict(self._failed)}

    def _tell_all(self, message: dict[str, Any]) -> None:
        for name, peer in self._peers.items():
            if peer.is_connected:
                self._tell(name, message)
