"""Lets programs that somebody else starts be the dynamic nodes of a run, while they last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dora_rt import __version__
from dora_rt.descriptor.tree.model import RestartPolicy
from dora_rt.errors import SharedMemoryError, SharedMemoryFullError
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.starter import Starter
from dora_rt.launcher.requests import Answer, Requester
from dora_rt.launcher.supervision.attached import AttachedProcess
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.node_config import CONFIG_VERSION, to_fields


class Attaching:
    """The dynamic nodes of one run; everything in the supervisor's loop."""

    def __init__(
        self,
        nodes: Sequence[SupervisedNode],
        memory: RunMemory,
        console: Console,
        *,
        starter: Starter,
        is_stopping: Callable[[], bool],
        on_left: Callable[[SupervisedNode], None],
        clock: Callable[[], int],
    ) -> None:
        """Take the dynamic ones of `nodes`.

        Args:
            nodes: all nodes of the run.
            memory: where their shared objects are.
            console: where to tell of who comes and goes.
            starter: knows what each process of the run must have.
            is_stopping: whether the dataflow is being stopped.
            on_left: called when a node has left for good.
            clock: `time.monotonic_ns`.
        """
        self._nodes = {node.name: node for node in nodes}
        self._memory = memory
        self._console = console
        self._starter = starter
        self._is_stopping = is_stopping
        self._on_left = on_left
        self._clock = clock

    def answers(self) -> dict[str, Answer]:
        """Give the requests that are for dynamic nodes, and what answers them."""
        return {"attach": self.attach, "leave": self.leave}

    def announce(self) -> None:
        """Let the peers of the dynamic nodes not wait for them, and tell the user what to do."""
        for node in self._dynamic():
            self._memory.mark_dead(node.number, returns=True, keeps_queues=False)
            self._console.notice(
                f"node {node.name} is dynamic: start its program anywhere with "
                f'Node("{node.name}") (run {self._starter.run})'
            )

    @property
    def has_attached(self) -> bool:
        """Tell whether any dynamic node is there."""
        return any(node.is_running for node in self._dynamic())

    def close(self) -> None:
        """Let nobody wait any more for who is not there: the dataflow is being stopped."""
        for node in self._dynamic():
            if not node.is_running:
                self._memory.mark_dead(node.number, returns=False)

    def attach(self, requester: Requester, request: dict[str, Any]) -> None:
        """Answer a program that wants to be a node; until it is gone, it is that node."""
        node = self._nodes.get(str(request.get("node")))
        obstacle = self._find_obstacle(node, request.get("version"))
        if node is None or obstacle is not None:
            requester.refuse(obstacle or "there is no such node")
            return
        try:
            admitted = self._memory.admit(node.number)
        except (SharedMemoryFullError, SharedMemoryError) as error:
            # There may be room at another time; the others go on.
            self._memory.mark_dead(node.number, returns=True, keeps_queues=False)
            requester.refuse(str(error))
            return
        process = AttachedProcess(requester)
        requester.on_gone = partial(self._end, node, process)
        node.begin(process, self._clock())
        self._console.notice(f"node {node.name} is attached (process {process.pid})")
        answer = {"plan": to_fields(admitted), "links": to_fields(self._starter.links)}
        requester.reply(answer, self._starter.descriptors)

    def leave(self, requester: Requester, request: dict[str, Any]) -> None:
        """Let a program go that says goodbye: the end of its connection is the answer."""
        node = self._nodes.get(str(request.get("node")))
        process = None if node is None else node.process
        if isinstance(process, AttachedProcess) and process.is_of(requester):
            process.has_said_goodbye = True
        requester.close()

    def dismiss(self) -> None:
        """End all connections of dynamic nodes."""
        for node in self._dynamic():
            if isinstance(node.process, AttachedProcess):
                node.process.disconnect()

    def _dynamic(self) -> list[SupervisedNode]:
        return [node for node in self._nodes.values() if node.plan.is_dynamic]

    def _find_obstacle(self, node: SupervisedNode | None, version: Any) -> str | None:
        if node is None:
            return f"there is no such node; there are: {', '.join(self._nodes)}"
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
        if self._is_stopping():
            return "the dataflow is being stopped"
        if isinstance(node.process, AttachedProcess) and not node.process.has_ended():
            return (
                f"node {node.name!r} is attached to already, by process {node.process.pid}: end "
                "that one first"
            )
        return None

    def _end(self, node: SupervisedNode, process: AttachedProcess) -> None:
        policy = node.plan.supervision.restart
        returns = not self._is_stopping() and (
            policy is RestartPolicy.ALWAYS
            or (policy is RestartPolicy.ON_FAILURE and not process.has_said_goodbye)
        )
        self._memory.mark_dead(node.number, returns=returns, keeps_queues=False)
        ending = process.ending()
        node.detach(ending)
        self._console.notice(f"node {node.name} {ending.text}")
        if not returns:
            self._on_left(node)
