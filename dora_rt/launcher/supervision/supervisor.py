"""The supervisor: starts the nodes of a run, watches them, restarts them, and stops them."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from dora_rt.latency import BUCKETS
from dora_rt.launcher.memory.edge_totals import Accounts
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.router import Output
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.orphans import reap_orphans
from dora_rt.launcher.processes.starter import NodeProcess, NodeStartError, Starter
from dora_rt.launcher.requests import RequestSocket
from dora_rt.launcher.signals import SignalRecorder
from dora_rt.launcher.supervision.dynamic_nodes import Attaching
from dora_rt.launcher.supervision.node_state import SupervisedNode, Wish
from dora_rt.launcher.supervision.patience import end_hung, patience_ends_ns
from dora_rt.launcher.supervision.reach import Reach
from dora_rt.launcher.supervision.start_barrier import Starting
from dora_rt.launcher.supervision.status import Describing
from dora_rt.launcher.supervision.stop_ladder import StopLadder
from dora_rt.launcher.supervision.stop_restart import Commanding
from dora_rt.launcher.supervision.telling import tell_failure, tell_return
from dora_rt.launcher.systemd_notify import Notifier
from dora_rt.log_record import readable
from dora_rt.node_config import NodePlan
from dora_rt.plan.plan import Plan
from dora_rt.report import NO_USAGE, Ending, ProcessReport, Report
from dora_rt.run_status import NodeState
from dora_rt.transport.status_pipe import Kind, Status, StatusReader

_SECOND_NS = 1_000_000_000


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
        output: Output,
        signals: SignalRecorder,
        notifier: Notifier,
        *,
        stop_after_ns: int | None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._plan = plan
        self._memory = memory
        self._console = console
        self._output = output
        self._signals = signals
        self._notifier = notifier
        self._stop_after_ns = stop_after_ns
        self._clock = clock
        self._nodes = [SupervisedNode(process) for process in plan.processes]
        self._failures: list[ProcessReport] = []
        self._accounts = Accounts(plan.edges, memory)
        self._selector = selectors.DefaultSelector()
        self._status_reader = StatusReader(BUCKETS)
        self._began_ns = clock()
        self._started_ns: int | None = None
        self._starting = Starting(self._nodes, console, self._began_ns)
        self._ladder = StopLadder(self._nodes, memory)
        self._reach = Reach(self._nodes, console)
        self._interrupted_by: signal.Signals | None = None

    def run(self, starter: Starter, requests: RequestSocket) -> Outcome:
        """Start every process, and return when the last one has ended.

        Raises:
            LaunchError: a program cannot be executed; those started before it are ended.
        """
        self._starter = starter
        self._attaching = Attaching(
            self._nodes,
            self._memory,
            self._console,
            starter=starter,
            is_stopping=lambda: self._is_stopping,
            on_left=self._stop_with,
            clock=self._clock,
        )
        describing = Describing(
            starter.run,
            self._plan,
            self._nodes,
            self._memory,
            self._accounts,
            self._ladder,
            log_folder=self._output.log_folder,
        )
        commanding = Commanding(
            self._nodes,
            self._ladder,
            self._memory,
            self._console,
            stop_run=self._stop,
            on_stopped=self._stop_with,
            clock=self._clock,
        )
        answers = {
            **describing.answers(),
            "follow": self._output.follow,
            **commanding.answers(),
            **self._attaching.answers(),
        }
        requests.serve(self._selector, answers)
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, None)
        self._selector.register(starter.status_read, selectors.EVENT_READ, self._read_statuses)
        try:
            self._attaching.announce()
            self._begin_all()
            while not self._is_over():
                self._turn()
        finally:
            self._end_at_once()
            self._attaching.dismiss()
            self._read_statuses()
            self._selector.close()
        return Outcome(self._report(), self._interrupted_by)

    @property
    def _is_stopping(self) -> bool:
        return self._ladder.is_stopping_all

    def _is_over(self) -> bool:
        if not all(node.is_over for node in self._nodes):
            return False
        if not self._is_stopping and all(node.plan.is_dynamic for node in self._nodes):
            return False
        if self._attaching.has_attached:
            # Who is still attached has time to read what is left for it.
            self._stop()
            return False
        return True

    def _turn(self) -> None:
        deadline_ns = self._next_deadline_ns()
        timeout_s = None
        if deadline_ns is not None:
            timeout_s = max(deadline_ns - self._clock(), 0) / 1e9
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, SupervisedNode):
                self._show_lines(key.data)
            elif callable(key.data):
                key.data()
        for number in self._signals.take():
            if number is not signal.SIGCHLD:
                self._interrupt(number)
        for node in self._nodes:
            process = node.process
            if isinstance(process, NodeProcess) and process.reap(is_stopping=self._is_stopping):
                self._bury(node, process)
        reap_orphans([node.process.pid for node in self._nodes if node.process is not None])
        self._keep_time(self._clock())

    def _begin_all(self) -> None:
        try:
            for node in self._nodes:
                if not node.plan.is_dynamic:
                    self._begin(node, node.plan.config)
        except NodeStartError:
            # Those before it may have switched something on, and shall switch it off again.
            self._stop()
            while any(node.is_running for node in self._nodes if not node.plan.is_dynamic):
                self._turn()
            raise

    def _begin(self, node: SupervisedNode, present: NodePlan) -> None:
        process = self._starter.start(node.plan, present, node.restarts.count)
        node.begin(process, self._clock())
        self._selector.register(process.output, selectors.EVENT_READ, node)

    def _begin_again(self, node: SupervisedNode) -> None:
        present = self._memory.renew(node.number)
        try:
            self._begin(node, present)
        except NodeStartError as error:
            # Its program may just be built anew; no reason to end all others.
            node.wish = Wish.NONE
            self._settle(node, Ending(True, f"failed: cannot be started: {error.why}"), None)

    def _next_deadline_ns(self) -> int | None:
        deadlines = [node.restart_at_ns for node in self._nodes]
        if self._started_ns is None:
            deadlines.append(self._starting.progress_ns)
        deadlines.append(self._ladder.next_deadline_ns(self._clock()))
        if not self._is_stopping:
            deadlines += [
                patience_ends_ns(node, self._started_ns, self._memory) for node in self._nodes
            ]
            if self._started_ns is not None and self._stop_after_ns is not None:
                deadlines.append(self._started_ns + self._stop_after_ns)
        if self._memory.has_outdated:
            deadlines.append(self._clock() + _SECOND_NS)
        return min((time_ns for time_ns in deadlines if time_ns is not None), default=None)

    def _keep_time(self, now_ns: int) -> None:
        self._memory.tidy(now_ns)
        if self._started_ns is None:
            if self._starting.is_over(now_ns):
                self._started_ns = self._memory.start()
                self._notifier.tell_ready()
        elif (
            self._stop_after_ns is not None
            and not self._is_stopping
            and now_ns >= self._started_ns + self._stop_after_ns
        ):
            self._console.notice(f"stopping after {self._stop_after_ns / 1e9:g} s")
            self._stop()
        self._ladder.advance(now_ns)
        if not self._is_stopping:
            self._keep_patience(now_ns)
        for node, process in self._reach.leave_behind():
            self._bury(node, process)

    def _keep_patience(self, now_ns: int) -> None:
        for node in self._nodes:
            if node.restart_at_ns is not None and now_ns >= node.restart_at_ns:
                self._begin_again(node)
            ends_ns = patience_ends_ns(node, self._started_ns, self._memory)
            if ends_ns is not None and now_ns >= ends_ns:
                end_hung(node)

    def _read_statuses(self) -> None:
        for status in self._status_reader.feed(self._starter.read_statuses()):
            if 0 <= status.process < len(self._nodes):
                self._hear(self._nodes[status.process], status)

    def _hear(self, node: SupervisedNode, status: Status) -> None:
        process = node.process
        if process is None:
            return
        if status.kind is Kind.READY:
            node.note_ready()
            self._memory.note_attached(node.number)
        elif status.kind is Kind.READS_EVENTS:
            process.reads_events = True
        elif status.kind is Kind.SENT_AFTER_STOP:
            process.sent_after_stop = True
        elif status.kind is Kind.LINK and status.link is not None:
            self._accounts.add_link(status.link)
        elif not self._is_stopping:
            self._console.notice(f"{node.name} asks to stop the dataflow")
            self._stop()

    def _show_lines(self, node: SupervisedNode) -> None:
        assert isinstance(node.process, NodeProcess), "registered with its process"
        self._show(node, node.process.read_lines())
        if node.process.has_closed_output:
            self._selector.unregister(node.process.output)

    def _show(self, node: SupervisedNode, lines: list[str]) -> None:
        node.tail.extend(part for line in lines for part in readable(line))
        is_interrupted = node.process is not None and Rung.INTERRUPTED in node.process.rungs
        self._output.write(node.name, lines, is_interrupted=is_interrupted)

    def _bury(self, node: SupervisedNode, process: NodeProcess) -> None:
        # What it told before it ended: that it was ready, or what its links have counted.
        self._read_statuses()
        if not process.has_closed_output:
            self._selector.unregister(process.output)
        self._show(node, process.close_output())
        self._output.end(node.name)
        self._settle(node, process.ending(), process)

    def _settle(self, node: SupervisedNode, ending: Ending, process: NodeProcess | None) -> None:
        restart_at_ns = None
        if not self._is_stopping:
            restart_at_ns = node.next_start_ns(self._clock(), is_failure=ending.is_failure)
        waits_for_hand = node.wish is Wish.STOP and not self._is_stopping
        self._memory.mark_dead(
            node.number,
            returns=restart_at_ns is not None or waits_for_hand,
            keeps_queues=not waits_for_hand,
        )
        usage = NO_USAGE if process is None else process.usage
        node.end(ending, usage, restart_at_ns=restart_at_ns)
        self._tell_end(node, ending)
        if node.is_over:
            self._output.close(node.name)
        if restart_at_ns is None:
            self._stop_with(node)

    def _stop_with(self, node: SupervisedNode) -> None:
        if not self._is_stopping and node.plan.supervision.stops_all:
            self._console.notice(f"{node.name} has ended, and the dataflow ends with it")
            self._stop()

    def _tell_end(self, node: SupervisedNode, ending: Ending) -> None:
        is_by_hand = node.wish is not Wish.NONE
        if node.restart_at_ns is not None or (is_by_hand and not self._is_stopping):
            tell_return(self._console, node, ending, self._clock())
        elif ending.is_failure and not is_by_hand:
            self._failures.append(node.report())
            tell_failure(self._console, node, is_stopping=self._is_stopping)

    def _interrupt(self, number: signal.Signals) -> None:
        if self._interrupted_by is None:
            self._interrupted_by = number
            self._console.notice(f"{number.name}: stopping (again: at once)")
            self._stop()
        else:
            rung = self._ladder.hurry(self._clock())
            means = "SIGKILL" if rung is Rung.KILLED else "a signal"
            self._console.notice(f"{number.name} again: {means} to what still runs")

    def _stop(self) -> None:
        if self._is_stopping:
            return
        self._ladder.stop_all(self._clock())
        self._notifier.tell_stopping()
        for node in self._nodes:
            if node.restart_at_ns is not None or node.state is NodeState.STOPPED:
                node.give_up()
                self._output.close(node.name)
                self._memory.mark_dead(node.number, returns=False)
        self._attaching.close()
        if self._started_ns is None:
            self._started_ns = self._memory.start()

    def _end_at_once(self) -> None:
        processes = [
            (node, node.process)
            for node in self._nodes
            if isinstance(node.process, NodeProcess) and node.is_running
        ]
        for _, process in processes:
            process.push(Rung.KILLED, None)
        for node, process in processes:
            process.wait()
            self._bury(node, process)

    def _report(self) -> Report:
        since_ns = self._started_ns if self._started_ns is not None else self._began_ns
        return Report(
            file=self._plan.file,
            duration_s=(self._clock() - since_ns) / 1e9,
            processes=tuple(node.report() for node in self._nodes),
            edges=self._accounts.report(),
            failures=tuple(self._failures),
        )
