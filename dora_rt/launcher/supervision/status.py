"""Answers `describe` and `status` from the launcher's own mappings; no node is interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dora_rt import __version__
from dora_rt.launcher.processes.kernel import read_present
from dora_rt.launcher.requests import Asker
from dora_rt.launcher.supervision.crossing_edges import crossing_statuses
from dora_rt.launcher.supervision.node_state import SupervisedNode
from dora_rt.launcher.supervision.run_parts import Run
from dora_rt.plan.plan import EdgePlan, ProcessPlan
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


def describe(run: Run, asker: Asker, _: dict[str, Any]) -> None:
    """Answer with what a program needs to find its place in the run."""
    description = RunDescription(
        run=run.starter.run,
        file=_file(run),
        version=__version__,
        nodes=tuple(
            NodeDescription(node.name, _state(node), node.plan.is_dynamic, _program(node.plan))
            for node in run.nodes
        ),
    )
    asker.reply(description.to_json())


def status(run: Run, asker: Asker, _: dict[str, Any]) -> None:
    """Answer with the state of every process, and all counters."""
    asker.reply(read_status(run).to_json())


def read_status(run: Run) -> RunStatus:
    """Return the state of every process, and all counters."""
    now_ns = run.clock()
    started_ns = run.barrier.started_ns
    return RunStatus(
        run=run.starter.run,
        file=_file(run),
        pid=os.getpid(),
        version=__version__,
        state=_run_state(run),
        began=time.time() - (now_ns - run.barrier.began_ns) / 1e9,
        running_s=0 if started_ns is None else (now_ns - started_ns) / 1e9,
        now_ns=now_ns,
        log_folder=str(run.output.log_folder.absolute()),
        processes=tuple(_process(run, node) for node in run.nodes),
        outputs=tuple(
            _output(run, process, output.number)
            for process in run.plan.processes
            for output in process.config.outputs
        ),
        edges=tuple(status for edge in run.plan.edges for status in _edge(run, edge)),
        inputs=tuple(
            TimerStatus(_port(process, entry.id), entry.period_ns)
            for process in run.plan.processes
            for entry in process.config.inputs
            if entry.period_ns is not None
        ),
        network=None if run.far is None else run.far.status,
    )


def _file(run: Run) -> str:
    return str(Path(run.plan.file).absolute())


def _run_state(run: Run) -> RunState:
    if run.is_stopping:
        return RunState.STOPPING
    return RunState.STARTING if run.barrier.started_ns is None else RunState.RUNNING


def _output(run: Run, process: ProcessPlan, number: int) -> OutputStatus:
    config = run.memory.present(number)
    sent, nbytes = run.memory.sent(number)
    source = _port(process, config.id)
    network = run.plan.network
    if network is not None and process.config.number == network.gateway:
        # What comes from another machine has the name that it has there.
        source = next(one.source for one in network.plan.streams if one.port == config.id)
    return OutputStatus(source, config.for_reader(), sent, nbytes)


def _edge(run: Run, edge: EdgePlan) -> list[EdgeStatus]:
    own = _own_edge(run, edge)
    if edge.stream is None or run.far is None:
        return [own]
    return crossing_statuses(own, edge.stream, run.far.status, run.far.plan.plan.machine)


def _own_edge(run: Run, edge: EdgePlan) -> EdgeStatus:
    counters = run.totals.read(edge)
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


def _process(run: Run, node: SupervisedNode) -> ProcessStatus:
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
        machine=None if run.plan.network is None else run.plan.network.plan.machine,
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
