"""Dynamic nodes, whose programs somebody else starts: the requests `attach` and `leave`."""

from __future__ import annotations

from functools import partial
from typing import Any

from dora_rt import __version__
from dora_rt.descriptor.tree.model import RestartPolicy
from dora_rt.errors import SharedMemoryError, SharedMemoryFullError
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.requests import Requester
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.launcher.supervision.run_parts import Run, end_flow_if_it_ends_with
from dora_rt.node_config import CONFIG_VERSION, to_fields
from dora_rt.report import Ending


class AttachedProcess:
    """A process that is a dynamic node while it is connected.

    It is never signalled, as it may be a notebook or run in a debugger: a process that does not
    leave in time is only disconnected.
    """

    def __init__(self, requester: Requester) -> None:
        self.reads_events = False
        self.excuse = ""
        self.rungs: list[Rung] = []
        self.rung_deadline_ns: int | None = None
        self.has_said_goodbye = False
        self.requester = requester

    @property
    def pid(self) -> int:
        """Its number, for printing."""
        return self.requester.pid

    @property
    def rung(self) -> Rung:
        """The last rung that it was pushed to."""
        return self.rungs[-1] if self.rungs else Rung.NONE

    @property
    def is_running(self) -> bool:
        """Whether it is still connected."""
        return not self.requester.is_gone

    def gentlest_rung(self) -> Rung:
        """Return the rung that comes after the stop event."""
        return Rung.TERMINATED

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Push it to a rung: it is told to end, and disconnected at any later rung."""
        self.rungs.append(rung)
        self.rung_deadline_ns = deadline_ns
        if rung is not Rung.TOLD:
            self.requester.close()

    def ending(self) -> Ending:
        """Say how it ended, which is never a failure of the dataflow."""
        if self.rung not in (Rung.NONE, Rung.TOLD):
            return Ending(False, "was still attached")
        return Ending(False, "left" if self.has_said_goodbye else "left without a goodbye")


def dynamic_nodes(run: Run) -> list[SupervisedNode]:
    """Return the dynamic nodes of a run."""
    return [node for node in run.nodes if node.plan.is_dynamic]


def announce(run: Run) -> None:
    """Tell the peers of the dynamic nodes not to wait for them, and the user what to do."""
    for node in dynamic_nodes(run):
        run.memory.mark_dead(node.number, returns=True, keeps_queues=False)
        run.console.notice(
            f"node {node.name} is dynamic: start its program anywhere with "
            f'Node("{node.name}") (run {run.starter.run})'
        )


def disconnect_all(run: Run) -> None:
    """End all connections of dynamic nodes: at their other ends the dataflow is over."""
    for node in dynamic_nodes(run):
        if isinstance(node.process, AttachedProcess):
            node.process.requester.close()


def attach(run: Run, requester: Requester, request: dict[str, Any]) -> None:
    """Answer a program that wants to be a node; it is that node until its connection ends."""
    node = _find(run, request)
    if node is None:
        known = ", ".join(node.name for node in run.nodes)
        requester.refuse(f"there is no such node; there are: {known}")
        return
    obstacle = _find_obstacle(run, node, request.get("version"))
    if obstacle is not None:
        requester.refuse(obstacle)
        return
    try:
        admitted = run.memory.admit(node.number)
    except (SharedMemoryFullError, SharedMemoryError) as error:
        # There may be room at another time; the others go on.
        run.memory.mark_dead(node.number, returns=True, keeps_queues=False)
        requester.refuse(str(error))
        return
    process = AttachedProcess(requester)
    requester.on_gone = partial(_detach, run, node, process)
    node.begin(process, run.clock())
    run.console.notice(f"node {node.name} is attached (process {process.pid})")
    answer = {"plan": to_fields(admitted), "run": to_fields(run.starter.facts)}
    requester.reply(answer, run.starter.descriptors)


def leave(run: Run, requester: Requester, request: dict[str, Any]) -> None:
    """Let a program go that says goodbye: the end of its connection is the answer."""
    node = _find(run, request)
    process = None if node is None else node.process
    if not isinstance(process, AttachedProcess) or process.requester is not requester:
        requester.refuse(f"this connection is not attached to a node {request.get('node')!r}")
        return
    process.has_said_goodbye = True
    requester.close()


def _find(run: Run, request: dict[str, Any]) -> SupervisedNode | None:
    name = str(request.get("node"))
    return next((node for node in run.nodes if node.name == name), None)


def _find_obstacle(run: Run, node: SupervisedNode, version: Any) -> str | None:
    if not node.plan.is_dynamic:
        return (
            f"node {node.name!r} is started by dora-launch; only nodes with `path: dynamic` "
            "are attached to"
        )
    if version != CONFIG_VERSION:
        return (
            f"the launcher is dora_rt {__version__} and speaks version {CONFIG_VERSION} of the "
            f"node configuration, this program's dora_rt speaks version {version}: install "
            "the same dora_rt for both"
        )
    if run.is_stopping:
        return "the dataflow is being stopped"
    # One that has just ended makes room first: `_detach` is then done.
    if isinstance(node.process, AttachedProcess) and not node.process.requester.has_ended():
        return (
            f"node {node.name!r} is attached to already, by process {node.process.pid}: end "
            "that one first"
        )
    return None


def _detach(run: Run, node: SupervisedNode, process: AttachedProcess) -> None:
    policy = node.plan.supervision.restart
    returns = not run.is_stopping and (
        policy is RestartPolicy.ALWAYS
        or (policy is RestartPolicy.ON_FAILURE and not process.has_said_goodbye)
    )
    run.memory.mark_dead(node.number, returns=returns, keeps_queues=False)
    ending = process.ending()
    node.detach(ending)
    run.console.notice(f"node {node.name} {ending.text}")
    if not returns:
        end_flow_if_it_ends_with(run, node)
