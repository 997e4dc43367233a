"""The other machines of a dataflow, as the gateway of this one tells them; the request `network`.

The gateway is a node of the run, and connects to the run's socket like any program. It tells what
it knows of the others at each change, and is told when the nodes here are ready, that the dataflow
is being stopped, and what the edges have counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dora_rt.launcher.memory.edge_totals import EdgeTotals
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.requests import Requester
from dora_rt.launcher.supervision.crossing_edges import crossing_counts
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.network.network_status import MachineState, MachineStatus, NetworkStatus
from dora_rt.plan.plan import EdgePlan, NetworkPlan
from dora_rt.report import Ending, MachineReport, ProcessReport

_SECOND_NS = 1_000_000_000
# Answers of other launchers are in it, such as a status with the histograms of all edges.
_LONGEST_NBYTES = 16 * 1024**2
# Machines that are started together are there by then.
_FIRST_PROGRESS_NS = _SECOND_NS
_PROGRESS_NS = 10 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class FarNews:
    """What a line of the gateway means for this run.

    Attributes:
        stop: why another machine stops the dataflow; None: it does not.
        failed: machines that have just failed.
    """

    stop: str | None
    failed: tuple[str, ...]


class FarMachines:
    """What is known of the other machines, and what their gateway was told of this one."""

    def __init__(
        self,
        plan: NetworkPlan,
        edges: Sequence[EdgePlan],
        nodes: Sequence[SupervisedNode],
        totals: EdgeTotals,
        console: Console,
    ) -> None:
        """Begin without a gateway."""
        self.plan = plan
        self.status: NetworkStatus | None = None
        """What was told last, also by a gateway that is gone."""
        self.has_settled = False
        """Whether the gateway has told its last accounts; not if it was killed before."""
        self.failures: list[ProcessReport] = []
        """Machines that count as failed."""
        self._edges = edges
        self._others = [node for node in nodes if node.number != plan.gateway]
        self._gateway = nodes[plan.gateway]
        self._totals = totals
        self._console = console
        self._requester: Requester | None = None
        self._may_start = False
        self._told_ready = self._told_final = False
        self._why_stopping: str | None = None
        self._has_told_stop = False
        self._count_at_ns = 0
        self._progress_ns: int | None = None
        self._awaited_ns: int | None = None

    @property
    def requester(self) -> Requester | None:
        """The connection of the gateway that was admitted last."""
        return self._requester

    @property
    def may_start(self) -> bool:
        """Whether no machine is waited for any more."""
        return self._may_start

    @property
    def next_deadline_ns(self) -> int | None:
        """When `advance` has something to do that no event announces; None: never."""
        return self._count_at_ns if self._is_connected and not self._told_final else None

    @property
    def next_progress_ns(self) -> int | None:
        """When `tell_progress` has something to tell; None: at no known time."""
        return self._progress_ns

    def hear(self, requester: Requester, told: dict[str, Any]) -> FarNews | None:
        """Take a line of the gateway; return what it means for the run, or None."""
        if requester is not self._requester and not self._admit(requester):
            return None
        if "network" not in told:
            return None
        before = self.status
        self.status = NetworkStatus.from_json(told["network"])
        self.has_settled = bool(told.get("has_settled"))
        self._may_start = bool(told.get("may_start"))
        self._tell_changes(before)
        return FarNews(told.get("stop"), self._note_failed(told.get("failed") or {}))

    def has_left(self, name: str) -> bool:
        """Return whether a machine has ended or failed, and nobody waits for it."""
        if any(failure.name == name for failure in self.failures):
            return True
        machines = () if self.status is None else self.status.machines
        return any(
            one.name == name and not one.is_optional and one.state is MachineState.ENDED
            for one in machines
        )

    @property
    def is_deserted(self) -> bool:
        """Whether all others have ended, and here is nothing that could end by itself."""
        if not all(node.plan.is_dynamic for node in self._others) or self.status is None:
            return False
        return all(one.state is MachineState.ENDED for one in self.status.machines)

    def read_rest(self, node: SupervisedNode) -> None:
        """Take the last accounts of the gateway, if it is this node that has just ended."""
        if node is self._gateway and self._requester is not None:
            self._requester.read_rest()

    def note_stop(self, why: str) -> None:
        """Note that the dataflow is being stopped here, and why."""
        self._why_stopping = why

    def advance(self, now_ns: int, *, is_ready: bool) -> None:
        """Tell the gateway what is new here; `is_ready`: whether all nodes here are ready."""
        requester = self._requester
        if requester is None or requester.is_gone:
            return
        if is_ready and not self._told_ready:
            self._told_ready = True
            requester.reply({"is_ready": True})
        if self._why_stopping is not None and not self._has_told_stop:
            self._has_told_stop = True
            requester.reply({"is_stopping": self._why_stopping})
        is_final = self._is_final()
        if self._told_final or not (is_final or now_ns >= self._count_at_ns):
            return
        self._told_final = is_final
        self._count_at_ns = now_ns + _SECOND_NS
        counts = crossing_counts(self._edges, self._totals, self.plan.plan.machine)
        requester.reply({"counts": counts, "is_final": is_final})

    def tell_progress(self, now_ns: int) -> None:
        """Name the machines that are waited for: soon, and then every now and then."""
        if self._awaited_ns is None:
            self._awaited_ns = now_ns
            self._progress_ns = now_ns + _FIRST_PROGRESS_NS
        if self._progress_ns is None or now_ns < self._progress_ns:
            return
        self._progress_ns = now_ns + _PROGRESS_NS
        waited_s = (now_ns - self._awaited_ns) / 1e9
        for text in self._obstacles():
            self._console.notice(f"waiting for {text} ({waited_s:.0f} s)")

    def report(self) -> tuple[MachineReport, ...]:
        """Return how each of the other machines was known last."""
        machines = () if self.status is None else self.status.machines
        return tuple(
            MachineReport(
                machine.name,
                _where(machine),
                machine.clock_offset_ns,
                machine.clock_error_ns,
            )
            for machine in machines
        )

    @property
    def _is_connected(self) -> bool:
        return self._requester is not None and not self._requester.is_gone

    def _admit(self, requester: Requester) -> bool:
        process = self._gateway.process
        if process is None or process.pid != requester.pid:
            requester.refuse("only the gateway of this run tells of other machines")
            return False
        requester.longest_nbytes = _LONGEST_NBYTES
        # One that was started again knows nothing.
        self._requester = requester
        self._told_ready = self._told_final = self._has_told_stop = False
        self._count_at_ns = 0
        return True

    def _is_final(self) -> bool:
        """Whether nothing is sent or read here any more."""
        # Programs that may attach at any time keep nothing going, and end nothing either.
        can_end = self._why_stopping is not None or not all(
            node.plan.is_dynamic for node in self._others
        )
        return can_end and all(node.is_over and not node.is_running for node in self._others)

    def _obstacles(self) -> list[str]:
        if self.status is None:
            return ["the gateway to the other machines"]
        texts = []
        for machine in self.status.machines:
            if machine.is_optional or machine.state is MachineState.READY:
                continue
            details = {
                MachineState.CONNECTED: ", whose nodes are not ready",
                MachineState.REFUSED: f", which was refused: {machine.why}",
                MachineState.LOST: f", which was lost: {machine.why}",
            }
            texts.append(f"machine {machine.name}{details.get(machine.state, '')}")
        return texts

    def _tell_changes(self, before: NetworkStatus | None) -> None:
        assert self.status is not None, "just taken"
        known = {} if before is None else {one.name: one for one in before.machines}
        for machine in self.status.machines:
            earlier = known.get(machine.name)
            was = MachineState.AWAITED if earlier is None else earlier.state
            if machine.state is not was:
                self._tell_change(machine, was)

    def _tell_change(self, machine: MachineStatus, was: MachineState) -> None:
        why = "" if machine.why is None else f": {machine.why}"
        name = f"machine {machine.name}"
        match machine.state:
            case MachineState.REFUSED:
                self._console.alarm(f"{name} is refused{why}")
            case MachineState.LOST:
                tell = self._console.notice if machine.is_optional else self._console.alarm
                tell(f"{name} is lost{why}")
            case MachineState.ENDED:
                self._console.notice(f"{name} has ended{why}")
            case MachineState.CONNECTED if was is MachineState.LOST:
                self._console.notice(f"{name} is back")
            case MachineState.READY if was in (MachineState.LOST, MachineState.ENDED):
                self._console.notice(f"{name} is back")
            case MachineState.READY:
                self._console.notice(f"{name} is ready")
            case _:
                pass

    def _note_failed(self, failed: dict[str, str]) -> tuple[str, ...]:
        known = {failure.name for failure in self.failures}
        fresh = tuple(name for name in failed if name not in known)
        for name in fresh:
            self._console.alarm(f"machine {name} failed: {failed[name]}")
            ending = Ending(True, f"failed: {failed[name]}")
            self.failures.append(ProcessReport(name, ending, 0, None, (), is_machine=True))
        return fresh


def _where(machine: MachineStatus) -> str:
    if machine.state is MachineState.READY:
        return "there to the end"
    why = "" if machine.why is None else f": {machine.why}"
    return f"{machine.state.value}{why}"
