"""One run, as its supervisor and the requests about it share it, and the ways to stop it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from dora_rt.launcher.memory.edge_totals import EdgeTotals
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.router import LineRouter
from dora_rt.launcher.processes.starter import Starter
from dora_rt.launcher.supervision.far_machines import FarMachines
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.launcher.supervision.parameter_store import ParameterStore
from dora_rt.launcher.supervision.start_barrier import StartBarrier
from dora_rt.launcher.supervision.stop_ladder import StopLadder
from dora_rt.launcher.systemd_notify import Notifier
from dora_rt.plan.plan import Plan
from dora_rt.run_status import NodeState


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of one run; all of them belong to the thread of the supervisor's loop.

    Attributes:
        plan: what runs.
        nodes: the state of each node, in the order of the plan.
        memory: the shared objects.
        starter: starts processes.
        totals: what the edges have counted.
        barrier: the start, when all nodes are ready.
        ladder: the stop, rung by rung.
        console: what the user reads.
        output: where the lines of the nodes go.
        notifier: tells systemd.
        clock: `time.monotonic_ns`.
        far: the other machines of the dataflow; None: there are none.
        parameters: the values of the nodes' parameters.
    """

    plan: Plan
    nodes: tuple[SupervisedNode, ...]
    memory: RunMemory
    starter: Starter
    totals: EdgeTotals
    barrier: StartBarrier
    ladder: StopLadder
    console: Console
    output: LineRouter
    notifier: Notifier
    clock: Callable[[], int]
    far: FarMachines | None
    parameters: ParameterStore

    @classmethod
    def of(
        cls,
        plan: Plan,
        memory: RunMemory,
        starter: Starter,
        console: Console,
        output: LineRouter,
        notifier: Notifier,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        chance: random.Random | None = None,
    ) -> Run:
        """Return the run of a plan, before its first process; `chance` is for the back-offs."""
        chance = chance or random.Random()
        nodes = tuple(SupervisedNode(process, chance) for process in plan.processes)
        totals = EdgeTotals(plan.edges, memory)
        far = None
        if plan.network is not None:
            far = FarMachines(plan.network, plan.edges, nodes, totals, console)
        return cls(
            plan,
            nodes,
            memory,
            starter,
            totals,
            StartBarrier(nodes, console, clock(), far),
            StopLadder(nodes, memory),
            console,
            output,
            notifier,
            clock,
            far,
            ParameterStore(plan.processes, memory, starter.facts.description_path),
        )

    @property
    def is_stopping(self) -> bool:
        """Whether the whole dataflow is being stopped."""
        return self.ladder.is_stopping_all


def begin_stop(run: Run, why: str) -> None:
    """Begin to stop the dataflow, unless that has begun; nothing is started any more.

    Args:
        run: the run.
        why: the reason in a few words, for the people at other machines.
    """
    if run.is_stopping:
        return
    run.ladder.stop_all(run.clock())
    if run.far is not None:
        run.far.note_stop(why)
    run.notifier.tell_stopping()
    for node in run.nodes:
        is_waiting = node.restart_at_ns is not None or node.state is NodeState.STOPPED
        if node.restart_at_ns is not None:
            node.cancel_restart()
        if is_waiting:
            run.output.close(node.name)
        if is_waiting or (node.plan.is_dynamic and not node.is_running):
            # Nobody waits any more for a node that is not there.
            run.memory.mark_dead(node.number, returns=False)
    run.barrier.open_for_stop(run.memory)


def end_flow_if_it_ends_with(run: Run, node: SupervisedNode) -> None:
    """Begin to stop the dataflow if it makes no sense without a node that is over."""
    if not run.is_stopping and node.plan.supervision.stops_all:
        run.console.notice(f"{node.name} has ended, and the dataflow ends with it")
        begin_stop(run, f"{node.name} has ended")
