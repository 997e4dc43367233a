"""Sources that no node reads any more, and what is told when a flow goes on after a failure.

A flow of which only such sources are left films for nobody, so it ends. It does not end while
anybody may still read: a dynamic node, a node that is started again or was stopped by hand, a
program that looks at the run from outside. Nodes with inputs go on: they may move a robot.

Nodes that only have timers end with the clock of the dataflow: no tick comes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dora_rt.descriptor.tree.model import RestartPolicy
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.launcher.supervision.run_parts import Run, begin_stop
from dora_rt.plan.machine_part import GATEWAY
from dora_rt.run_status import NodeState

GRACE_S = 3  # a source that ends by itself does so
# Between two looks whether somebody still watches from outside.
_LOOK_NS = 500_000_000
# A failure takes others along, at once; what is left then goes on.
_AFTERMATH_NS = 1_000_000_000


class UnreadSources:
    """Ends a flow that nobody reads, and tells what goes on after a failure."""

    def __init__(self, run: Run, is_watched: Callable[[], bool]) -> None:
        """Begin with nothing to tell.

        Args:
            run: the run.
            is_watched: whether a program looks at it from outside.
        """
        self.notes: list[str] = []
        """What the summary says of sources that were ended, and of nodes that went on."""
        self._run = run
        self._is_watched = is_watched
        self._end_at_ns: int | None = None
        self._tell_at_ns: int | None = None
        self._failed: list[SupervisedNode] = []

    @property
    def next_deadline_ns(self) -> int | None:
        """When `advance` has something to do that no event announces; None: never."""
        deadlines = [self._end_at_ns, self._tell_at_ns]
        return min((time_ns for time_ns in deadlines if time_ns is not None), default=None)

    def note_failure(self, node: SupervisedNode, now_ns: int) -> None:
        """Note that a node has failed for good while the flow goes on."""
        if self._run.is_stopping:
            return
        self._failed.append(node)
        if self._tell_at_ns is None:
            self._tell_at_ns = now_ns + _AFTERMATH_NS

    def advance(self, now_ns: int) -> None:
        """Tell what is due, and end the flow once only sources without readers are left."""
        run = self._run
        if run.is_stopping:
            self._end_at_ns = self._tell_at_ns = None
            return
        if run.plan.clock is not None:
            _end_with_clock(run, now_ns)
        if self._tell_at_ns is not None and now_ns >= self._tell_at_ns:
            self._tell_at_ns = None
            self._tell()
        unread = find_unread(run)
        if not unread:
            self._end_at_ns = None
        elif self._end_at_ns is None:
            self._end_at_ns = now_ns + GRACE_S * 1_000_000_000
        elif now_ns >= self._end_at_ns:
            if self._is_watched():
                self._end_at_ns = now_ns + _LOOK_NS
            else:
                self._end(unread)

    def _tell(self) -> None:
        # By now one may have been started again, by hand.
        failed = _names([node for node in self._failed if node.is_over])
        self._failed.clear()
        going_on = _names(_running(self._run))
        if not failed or not going_on or (find_unread(self._run) and not self._is_watched()):
            # In the second case the flow ends soon, and says so then.
            return
        way_out = f"`on_exit: stop_all` at {failed[0]} ends the dataflow with it"
        self._run.console.notice(
            f"{_listing(failed)} {_verb(failed, 'has', 'have')} failed, and "
            f"{_listing(going_on)} {_verb(going_on, 'goes', 'go')} on; Ctrl-C stops the dataflow, "
            f"{way_out}"
        )
        self.notes.append(
            f"{_listing(going_on)} went on when {_listing(failed)} had failed; {way_out}"
        )

    def _end(self, unread: list[SupervisedNode]) -> None:
        names = _names(unread)
        readers = self._reader_names(unread)
        why = (
            f"no node reads {_listing(names)} any more, since {_listing(readers)} "
            f"{_verb(readers, 'has', 'have')} ended"
        )
        way_out = f"`without_readers: go_on` at {names[0]} lets it go on"
        self._run.console.notice(f"{why}: the dataflow ends ({way_out})")
        self.notes.append(f"the dataflow was ended: {why} ({way_out})")
        begin_stop(self._run, why)

    def _reader_names(self, unread: Sequence[SupervisedNode]) -> list[str]:
        numbers = sorted({number for node in unread for number in _readers(node)})
        readers = [self._run.nodes[number] for number in numbers]
        names = [node.name for node in readers if not _is_gateway(node)]
        machines = {one for node in unread for one in _receivers(self._run, node)}
        return [*names, *(f"machine {name}" for name in sorted(machines))]


def find_unread(run: Run) -> list[SupervisedNode]:
    """Return the sources without readers if nothing else is left of a flow; else nothing."""
    if run.barrier.started_ns is None:
        return []
    if any(node.state is NodeState.STOPPED for node in run.nodes):
        # Stopped by hand: somebody works on this flow, and may start it again.
        return []
    # What reads from the gateway goes on by itself, and keeps the flow going.
    running = [node for node in _running(run) if not _is_gateway(node)]
    if any(not _is_unread(run, node) for node in running):
        return []
    return [node for node in running if not node.plan.config.is_relay]


def _end_with_clock(run: Run, now_ns: int) -> None:
    """Tell the nodes to end for which only ticks of a clock could come whose source is over."""
    clock = next((node for node in run.nodes if _has_clock(node)), None)
    # One that was stopped by hand may be started again.
    if clock is None or clock.state not in (NodeState.ENDED, NodeState.FAILED):
        return
    for node in run.nodes:
        inputs = node.plan.config.inputs
        if (
            node.is_running
            and node.rung is Rung.NONE
            and any(entry.follows_clock for entry in inputs)
            # Answers and logs keep no node going that has other inputs.
            and all(entry.follows_clock or not entry.keeps_alive for entry in inputs)
            # Else it would be started again, and told again.
            and node.plan.supervision.restart is not RestartPolicy.ALWAYS
        ):
            why = f"{clock.name}, which was the clock, has ended"
            run.console.notice(f"{why}: {node.name}, which only has timers, ends as well")
            run.ladder.push(node, Rung.TOLD, now_ns)


def _has_clock(node: SupervisedNode) -> bool:
    """Whether one of the outputs of a node is the clock of the dataflow."""
    clock = node.plan.config.clock
    return clock is not None and clock.output is not None


def _running(run: Run) -> list[SupervisedNode]:
    """Return the nodes that run, or will be started again."""
    return [node for node in run.nodes if not node.is_over or node.is_running]


def _is_unread(run: Run, node: SupervisedNode) -> bool:
    plan = node.plan
    if plan.is_dynamic or plan.supervision.goes_on_unread:
        return False
    has_inputs = any(entry.period_ns is None for entry in plan.config.inputs)
    if has_inputs and not plan.config.is_relay:
        return False
    readers = _readers(node)
    return bool(readers) and all(_is_gone(run, run.nodes[number], node) for number in readers)


def _is_gateway(node: SupervisedNode) -> bool:
    return node.name == GATEWAY


def _is_gone(run: Run, node: SupervisedNode, source: SupervisedNode) -> bool:
    if run.far is not None and _is_gateway(node):
        return all(map(run.far.has_left, _receivers(run, source)))
    return not node.plan.is_dynamic and node.state in (NodeState.ENDED, NodeState.FAILED)


def _readers(node: SupervisedNode) -> set[int]:
    edges = (edge for output in node.plan.config.outputs for edge in output.edges)
    return {edge.reader for edge in edges} - {node.number}


def _receivers(run: Run, node: SupervisedNode) -> set[str]:
    """Return the other machines that read a node."""
    return {
        edge.stream.receiver
        for edge in run.plan.edges
        if edge.stream is not None and edge.edge is not None and edge.edge.writer == node.number
    }


def _names(nodes: Sequence[SupervisedNode]) -> list[str]:
    own = [node for node in nodes if not node.plan.config.is_relay and not _is_gateway(node)]
    return [node.name for node in own]


def _listing(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _verb(names: Sequence[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several
