"""The supervisor: starts the nodes of a run, watches them, and ends them in rungs."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from dora_rt.console import Console
from dora_rt.latency import BUCKETS
from dora_rt.memory import RunMemory
from dora_rt.plan import EdgePlan, Plan, ProcessPlan
from dora_rt.process import NodeProcess, Rung
from dora_rt.signals import SignalRecorder
from dora_rt.status import Kind, LinkCounters, Status, StatusReader
from dora_rt.summary import EdgeReport, ProcessReport, Report

_SECOND_NS = 1_000_000_000
STOP_GRACE_NS = 3 * _SECOND_NS
STARTUP_TIMEOUT_NS = 120 * _SECOND_NS
_FIRST_PROGRESS_NS = 5 * _SECOND_NS
_PROGRESS_NS = 10 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the run came to: its report, and the signal that interrupted it, if one did."""

    report: Report
    interrupted_by: signal.Signals | None


class Supervisor:
    """One run, from the first process to the last. Everything happens in the caller's thread."""

    def __init__(
        self,
        plan: Plan,
        memory: RunMemory,
        console: Console,
        signals: SignalRecorder,
        *,
        stop_after_ns: int | None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._plan = plan
        self._memory = memory
        self._console = console
        self._signals = signals
        self._stop_after_ns = stop_after_ns
        self._clock = clock
        self._processes: list[NodeProcess] = []
        self._failed: list[NodeProcess] = []
        self._links: dict[int, LinkCounters] = {}
        self._selector = selectors.DefaultSelector()
        self._status_reader = StatusReader(BUCKETS)
        self._began_ns = clock()
        self._started_ns: int | None = None
        self._progress_ns = self._began_ns + _FIRST_PROGRESS_NS
        self._stopping_since_ns: int | None = None
        self._interrupted_by: signal.Signals | None = None

    def run(self, *, run: str, environ: dict[str, str]) -> Outcome:
        """Start every process, and return when the last one has ended.

        Raises:
            LaunchError: a program cannot be executed; those started before it are ended.
        """
        status_read, status_write = os.pipe()
        os.set_blocking(status_read, False)
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, None)
        self._selector.register(status_read, selectors.EVENT_READ, status_read)
        try:
            for plan in self._plan.processes:
                process = NodeProcess.start(plan, run=run, status_fd=status_write, environ=environ)
                self._processes.append(process)
                self._selector.register(process.output, selectors.EVENT_READ, process)
            while any(process.is_running for process in self._processes):
                self._turn(status_read)
        finally:
            self._end_at_once()
            self._read_statuses(status_read)
            self._selector.close()
            os.close(status_read)
            os.close(status_write)
        return Outcome(self._report(), self._interrupted_by)

    def _turn(self, status_read: int) -> None:
        deadline_ns = self._next_deadline_ns()
        timeout_s = None
        if deadline_ns is not None:
            timeout_s = max(deadline_ns - self._clock(), 0) / 1e9
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, NodeProcess):
                self._show_lines(key.data)
            elif key.data == status_read:
                self._read_statuses(status_read)
        for number in self._signals.take():
            if number is not signal.SIGCHLD:
                self._interrupt(number)
        for process in self._processes:
            if process.reap():
                self._bury(process)
        self._keep_time()

    def _next_deadline_ns(self) -> int | None:
        deadlines = [
            process.rung_deadline_ns
            for process in self._processes
            if process.is_running and process.rung_deadline_ns is not None
        ]
        if self._started_ns is None:
            deadlines += [self._progress_ns, self._began_ns + STARTUP_TIMEOUT_NS]
        if self._stopping_since_ns is not None:
            if any(p.is_running and p.rung is Rung.NONE for p in self._processes):
                deadlines.append(self._stopping_since_ns + STOP_GRACE_NS)
        elif self._started_ns is not None and self._stop_after_ns is not None:
            deadlines.append(self._started_ns + self._stop_after_ns)
        return min(deadlines, default=None)

    def _keep_time(self) -> None:
        now_ns = self._clock()
        if self._started_ns is None:
            self._start_when_ready(now_ns)
        elif (
            self._stop_after_ns is not None
            and self._stopping_since_ns is None
            and now_ns >= self._started_ns + self._stop_after_ns
        ):
            self._console.notice(f"stopping after {self._stop_after_ns / 1e9:g} s")
            self._stop()
        if self._stopping_since_ns is not None:
            self._stop_more(now_ns)

    def _start_when_ready(self, now_ns: int) -> None:
        waiting = [
            process
            for process in self._processes
            if process.is_running and process.plan.has_ports and not process.is_ready
        ]
        names = ", ".join(process.plan.name for process in waiting)
        waited_s = (now_ns - self._began_ns) / 1e9
        if waiting and now_ns < self._began_ns + STARTUP_TIMEOUT_NS:
            if now_ns >= self._progress_ns:
                self._progress_ns += _PROGRESS_NS
                self._console.notice(f"waiting for {names} to be ready ({waited_s:.0f} s)")
            return
        if waiting:
            self._console.alarm(
                f"starting without {names}: not ready after {waited_s:.0f} s "
                "(a node is ready when it asks for its first input, or sends)"
            )
        self._started_ns = self._memory.start()

    def _read_statuses(self, descriptor: int) -> None:
        while True:
            try:
                received = os.read(descriptor, 64 * 1024)
            except BlockingIOError:
                return
            if not received:
                return
            for status in self._status_reader.feed(received):
                self._hear(status)

    def _hear(self, status: Status) -> None:
        process = self._processes[status.process]
        if status.kind is Kind.READY:
            process.is_ready = True
        elif status.kind is Kind.READS_EVENTS:
            process.reads_events = True
        elif status.kind is Kind.SENT_AFTER_STOP:
            process.sent_after_stop = True
        elif status.kind is Kind.LINK and status.link is not None:
            self._links[status.link.number] = status.link
        elif self._stopping_since_ns is None:
            self._console.notice(f"{process.plan.name} asks to stop the dataflow")
            self._stop()

    def _show_lines(self, process: NodeProcess) -> None:
        for line in process.read_lines():
            self._console.node_line(process.plan.name, line)
        if process.has_closed_output:
            self._selector.unregister(process.output)

    def _bury(self, process: NodeProcess) -> None:
        self._memory.mark_dead(process.number)
        if not process.has_closed_output:
            self._selector.unregister(process.output)
        for line in process.close_output():
            self._console.node_line(process.plan.name, line)
        ending = process.ending()
        if ending.is_failure:
            self._failed.append(process)
            self._console.alarm(f"node {process.plan.name} {ending.text}")

    def _interrupt(self, number: signal.Signals) -> None:
        if self._interrupted_by is None:
            self._interrupted_by = number
            self._console.notice(f"{number.name}: stopping (again: at once)")
            self._stop()
            return
        was_terminated = all(
            process.rung in (Rung.TERMINATED, Rung.KILLED)
            for process in self._processes
            if process.is_running
        )
        rung = Rung.KILLED if was_terminated else Rung.TERMINATED
        self._console.notice(f"{number.name} again: {rung.name.lower()} what still runs")
        for process in self._processes:
            if process.is_running:
                self._push(process, rung, self._clock())

    def _stop(self) -> None:
        if self._stopping_since_ns is None:
            self._stopping_since_ns = self._clock()
            if self._started_ns is None:
                self._started_ns = self._memory.start()

    def _stop_more(self, now_ns: int) -> None:
        assert self._stopping_since_ns is not None
        running = {process.number for process in self._processes if process.is_running}
        grace_is_over = now_ns >= self._stopping_since_ns + STOP_GRACE_NS
        for process in self._processes:
            if not process.is_running:
                continue
            if process.rung is Rung.NONE:
                if grace_is_over or _is_first_to_stop(process.plan, running):
                    self._push(process, Rung.TOLD, now_ns)
            elif process.rung_deadline_ns is not None and now_ns >= process.rung_deadline_ns:
                is_told = process.rung is Rung.TOLD
                self._push(process, Rung.TERMINATED if is_told else Rung.KILLED, now_ns)

    def _push(self, process: NodeProcess, rung: Rung, now_ns: int) -> None:
        self._memory.stop(process.number)
        if rung is Rung.TOLD and not process.reads_events:
            rung = Rung.TERMINATED
        process.push(rung, None if rung is Rung.KILLED else now_ns + STOP_GRACE_NS)

    def _end_at_once(self) -> None:
        for process in self._processes:
            if process.is_running:
                process.push(Rung.KILLED, None)
        for process in self._processes:
            if process.is_running:
                process.wait()
                self._bury(process)

    def _report(self) -> Report:
        reports = {process.number: _process_report(process) for process in self._processes}
        since_ns = self._started_ns if self._started_ns is not None else self._began_ns
        return Report(
            file=self._plan.file,
            duration_s=(self._clock() - since_ns) / 1e9,
            processes=tuple(reports.values()),
            edges=tuple(self._edge_report(edge) for edge in self._plan.edges),
            failures=tuple(reports[process.number] for process in self._failed),
        )

    def _edge_report(self, plan: EdgePlan) -> EdgeReport:
        counters = (
            self._memory.counters(plan.output, plan.edge)
            if plan.output is not None and plan.edge is not None
            else self._links.get(plan.number)
        )
        if counters is None:
            return EdgeReport(plan.source, plan.target, None, None, None, ())
        return EdgeReport(
            plan.source,
            plan.target,
            counters.sent,
            counters.delivered,
            counters.dropped,
            counters.latencies,
        )


def _is_first_to_stop(plan: ProcessPlan, running: set[int]) -> bool:
    """Tell whether a process is a source now, or in a circle that nothing feeds any more.

    All others read what is left for them, and end by themselves when their sources are gone.
    """
    if not plan.upstream:
        return True
    return len(plan.cycle) > 1 and not (plan.upstream - plan.cycle) & running


def _process_report(process: NodeProcess) -> ProcessReport:
    return ProcessReport(process.plan.name, process.ending(), 0, process.usage, tuple(process.tail))
