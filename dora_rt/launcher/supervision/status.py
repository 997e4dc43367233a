"""Answers `describe` and `status` from the launcher's own mappings; no node is interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dora_rt import __version__
from dora_rt.launcher.memory.edge_totals import EdgeTotals
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.processes.kernel import read_present
from dora_rt.launcher.requests import Answer, Requester
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.launcher.supervision.stop_ladder import StopLadder
from dora_rt.plan.plan import EdgePlan, Plan, ProcessPlan
from dora_rt.run_status import (
    EdgeCounts,
    EdgeStatus,
    NodeDescription,
    NodeState,
    OperatorProgram,
    OutputStatus,
    ProcessStatus,
    Program,
    RunDescription,
    RunState,
    RunStatus,
    TimerStatus,
)


class Describing:
    """The requests `describe` and `status`; everything in the supervisor's loop.

    `describe` has what a program needs to find its place; `status` has all counters, read from the
    launcher's own mappings of the shared memory.
    """

    def __init__(
        self,
        run: str,
        plan: Plan,
        nodes: Sequence[SupervisedNode],
        memory: RunMemory,
        accounts: EdgeTotals,
        ladder: StopLadder,
        *,
        log_folder: Path,
    ) -> None:
        self._run = run
        self._plan = plan
        self._nodes = nodes
        self._memory = memory
        self._accounts = accounts
        self._log_folder = log_folder
        self._ladder = ladder
        self._began_s = time.time()
        self._file = str(Path(plan.file).absolute())

    def answers(self) -> dict[str, Answer]:
        """Return the requests and their answers."""
        return {"describe": self._describe, "status": self._status}

    def _describe(self, requester: Requester, _: dict[str, Any]) -> None:
        description = RunDescription(
            run=self._run,
            file=self._file,
            version=__version__,
            nodes=tuple(
                NodeDescription(node.name, _state(node), node.plan.is_dynamic, _program(node.plan))
                for node in self._nodes
            ),
        )
        requester.reply(description.to_json())

    def _status(self, requester: Requester, _: dict[str, Any]) -> None:
        now_ns = time.monotonic_ns()
        start_ns = self._memory.start_ns
        status = RunStatus(
            run=self._run,
            file=self._file,
            pid=os.getpid(),
            version=__version__,
            state=self._state(start_ns),
            began=self._began_s,
            running_s=(now_ns - start_ns) / 1e9 if start_ns else 0,
            now_ns=now_ns,
            log_folder=str(self._log_folder.absolute()),
            processes=tuple(map(_process, self._nodes)),
            outputs=tuple(
                self._output(process, output.number)
                for process in self._plan.processes
                for output in process.config.outputs
            ),
            edges=tuple(map(self._edge, self._plan.edges)),
            inputs=tuple(
                TimerStatus(_port(process, entry.id), entry.period_ns)
                for process in self._plan.processes
                for entry in process.config.inputs
                if entry.period_ns is not None
            ),
        )
        requester.reply(status.to_json())

    def _state(self, start_ns: int) -> RunState:
        if self._ladder.is_stopping_all:
            return RunState.STOPPING
        return RunState.RUNNING if start_ns else RunState.STARTING

    def _output(self, process: ProcessPlan, number: int) -> OutputStatus:
        config = self._memory.present(number)
        sent, nbytes = self._memory.sent(number)
        return OutputStatus(_port(process, config.id), config.for_reader(), sent, nbytes)

    def _edge(self, edge: EdgePlan) -> EdgeStatus:
        counters = self._accounts.read(edge)
        counts = None
        if counters is not None:
            counts = EdgeCounts(
                sent=counters.sent,
                delivered=counters.delivered,
                dropped=counters.dropped,
                copied=counters.copied,
                waiting=counters.waiting,
                latencies=_histogram(counters.latencies),
                ages=_histogram(counters.ages),
            )
        return EdgeStatus(
            edge.source,
            edge.target,
            edge.queue_size,
            edge.queue_policy,
            is_local=edge.edge is None,
            counts=counts,
        )


def _histogram(counts: Sequence[int]) -> dict[int, int]:
    return {index: count for index, count in enumerate(counts) if count}


def _program(plan: ProcessPlan) -> Program | None:
    """Return what the run starts; None if somebody else starts it."""
    if plan.is_dynamic:
        return None
    operators = plan.config.operators
    return Program(
        plan.argv,
        plan.folder,
        tuple(OperatorProgram(operator.path, operator.module) for operator in operators),
    )


def _process(node: SupervisedNode) -> ProcessStatus:
    process = node.process
    present = None
    if process is not None and process.is_running:
        present = read_present(process.pid)
    cpu_s = node.cpu_s
    if present is not None and not node.plan.is_dynamic:
        cpu_s += present.cpu_s
    elif present is not None:
        cpu_s = present.cpu_s
    operators = tuple(operator.name for operator in node.plan.config.operators)
    return ProcessStatus(
        name=node.name,
        nodes=operators or (node.name,),
        state=_state(node),
        pid=None if process is None or not process.is_running else process.pid,
        restarts=node.restarts.count,
        is_dynamic=node.plan.is_dynamic,
        cpu_s=cpu_s,
        rss_nbytes=0 if present is None else present.rss_nbytes,
        threads=0 if present is None else present.threads,
        ending=None if node.ending is None else node.ending.text,
    )


def _state(node: SupervisedNode) -> NodeState:
    # A program without inputs and outputs need not know of dora_rt, and so never says that it is
    # ready; nobody waits for it.
    if node.state is NodeState.STARTING and node.is_running and not node.plan.has_ports:
        return NodeState.RUNNING
    return node.state


def _port(process: ProcessPlan, port_id: str) -> str:
    # The ports of operators have the operator's name already.
    return port_id if process.config.operators else f"{process.name}/{port_id}"
