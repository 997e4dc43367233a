"""What a run says of itself to who asks; nothing of it disturbs a node."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from dora_rt import __version__
from dora_rt.launcher.memory.edge_totals import EdgeTotals
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.processes.kernel import read_present
from dora_rt.launcher.requests import Answer, Requester
from dora_rt.launcher.supervision.node_state import State, SupervisedNode
from dora_rt.launcher.supervision.stop_ladder import StopLadder
from dora_rt.plan.plan import EdgePlan, Plan, ProcessPlan


class RunState(Enum):
    """Where a run is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


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
        """Give the requests, and what answers them."""
        return {"describe": self._describe, "status": self._status}

    def _describe(self, requester: Requester, _: dict[str, Any]) -> None:
        nodes = [
            {
                "id": node.name,
                "state": _state(node).value,
                "is_dynamic": node.plan.is_dynamic,
                "program": _program(node.plan),
            }
            for node in self._nodes
        ]
        requester.reply({"run": self._run, "file": self._file, "nodes": nodes})

    def _status(self, requester: Requester, _: dict[str, Any]) -> None:
        now_ns = time.monotonic_ns()
        start_ns = self._memory.start_ns
        requester.reply(
            {
                "run": self._run,
                "file": self._file,
                "pid": os.getpid(),
                "version": __version__,
                "state": self._state(start_ns).value,
                "began": self._began_s,
                "running_s": (now_ns - start_ns) / 1e9 if start_ns else 0,
                "now_ns": now_ns,
                "log_folder": str(self._log_folder.absolute()),
                "processes": [_process(node) for node in self._nodes],
                "outputs": [
                    self._output(process, output.number)
                    for process in self._plan.processes
                    for output in process.config.outputs
                ],
                "edges": [self._edge(edge) for edge in self._plan.edges],
                "inputs": [
                    {"target": _port(process, entry.id), "period_ns": entry.period_ns}
                    for process in self._plan.processes
                    for entry in process.config.inputs
                    if entry.period_ns is not None
                ],
            }
        )

    def _state(self, start_ns: int) -> RunState:
        if self._ladder.is_stopping_all:
            return RunState.STOPPING
        return RunState.RUNNING if start_ns else RunState.STARTING

    def _output(self, process: ProcessPlan, number: int) -> dict[str, Any]:
        config = self._memory.present(number)
        sent, nbytes = self._memory.sent(number)
        return {
            "source": _port(process, config.id),
            "config": config.for_reader().to_fields(),
            "sent": sent,
            "nbytes": nbytes,
        }

    def _edge(self, edge: EdgePlan) -> dict[str, Any]:
        counters = self._accounts.read(edge)
        fields = {
            "source": edge.source,
            "target": edge.target,
            "queue_size": edge.queue_size,
            "queue_policy": edge.queue_policy.value,
            "is_timer": False,
            "is_local": edge.edge is None,
        }
        if counters is None or edge.edge is None:
            keys = ("sent", "delivered", "dropped", "copied", "waiting", "latencies", "ages")
            return {**fields, **dict.fromkeys(keys)}
        return {
            **fields,
            "sent": counters.sent,
            "delivered": counters.delivered,
            "dropped": counters.dropped,
            "copied": counters.copied,
            "waiting": counters.waiting,
            "latencies": _histogram(counters.latencies),
            "ages": _histogram(counters.ages),
        }


def _histogram(counts: Sequence[int]) -> dict[str, int]:
    return {str(index): count for index, count in enumerate(counts) if count}


def _program(plan: ProcessPlan) -> dict[str, Any] | None:
    """Say what is started; None if somebody else starts it."""
    if plan.is_dynamic:
        return None
    return {
        "argv": plan.argv,
        "folder": plan.folder,
        "operators": [
            {"path": operator.path, "module": operator.module} for operator in plan.config.operators
        ],
    }


def _process(node: SupervisedNode) -> dict[str, Any]:
    process = node.process
    present = None
    if process is not None and process.is_running:
        present = read_present(process.pid)
    cpu_s = node.cpu_s
    if present is not None and not node.plan.is_dynamic:
        cpu_s += present.cpu_s
    elif present is not None:
        cpu_s = present.cpu_s
    operators = [operator.name for operator in node.plan.config.operators]
    return {
        "name": node.name,
        "nodes": operators or [node.name],
        "state": _state(node).value,
        "pid": None if process is None or not process.is_running else process.pid,
        "restarts": node.restarts.count,
        "is_dynamic": node.plan.is_dynamic,
        "cpu_s": cpu_s,
        "rss_nbytes": 0 if present is None else present.rss_nbytes,
        "threads": 0 if present is None else present.threads,
        "ending": None if node.ending is None else node.ending.text,
    }


def _state(node: SupervisedNode) -> State:
    # A program without inputs and outputs need not know of dora_rt, and so never says that it is
    # ready; nobody waits for it.
    if node.state is State.STARTING and node.is_running and not node.plan.has_ports:
        return State.RUNNING
    return node.state


def _port(process: ProcessPlan, port_id: str) -> str:
    # The ports of operators have the operator's name already.
    return port_id if process.config.operators else f"{process.name}/{port_id}"
