"""The supervisor: starts the nodes of a run, watches them, restarts them, and stops them."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dora_rt.latency import BUCKETS
from dora_rt.launcher.processes.child import NodeProcess
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.starter import NodeStartError
from dora_rt.launcher.requests import Answer, Requester, RequestSocket
from dora_rt.launcher.signals import SignalRecorder
from dora_rt.launcher.supervision import (
    dynamic_nodes,
    parameter_requests,
    status,
    stop_restart,
)
from dora_rt.launcher.supervision.crossing_edges import crossing_reports
from dora_rt.launcher.supervision.far_machines import FarMachines
from dora_rt.launcher.supervision.network_requests import NetworkRequests
from dora_rt.launcher.supervision.node_state import SupervisedNode, Wish
from dora_rt.launcher.supervision.run_parts import Run, begin_stop, end_flow_if_it_ends_with
from dora_rt.launcher.supervision.unread_sources import UnreadSources
from dora_rt.log_record import readable
from dora_rt.node_config import NodePlan
from dora_rt.opencv import explain
from dora_rt.report import NO_USAGE, Ending, ProcessReport, Report
from dora_rt.transport.status_pipe import Kind, Status, StatusReader
from dora_rt.units import counted

_SECOND_NS = 1_000_000_000
# poll() counts milliseconds in 31 bits: a node may wait for its restart for longer.
_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The report of a run, and the signal that interrupted it, if one did."""

    report: Report
    interrupted_by: signal.Signals | None


class Supervisor:
    """The loop of one run, from the first process to the last, in the caller's thread."""

    def __init__(
        self,
        run: Run,
        signals: SignalRecorder,
        requests: RequestSocket,
        *,
        stop_after_ns: int | None = None,
        is_watched: Callable[[], bool] = lambda: False,
        selector: selectors.BaseSelector | None = None,
    ) -> None:
        """Prepare the loop.

        Args:
            run: what to supervise.
            signals: those that the launcher has received.
            requests: where other programs ask.
            stop_after_ns: stop so long after the first input could flow; None: never.
            is_watched: whether a program looks at the run from outside.
            selector: waits for events and until deadlines; None: the best of this system.
        """
        self._run = run
        self._signals = signals
        self._requests = requests
        self._stop_after_ns = stop_after_ns
        self._selector = selector or selectors.DefaultSelector()
        self._network_requests = NetworkRequests(run)
        self._unread = UnreadSources(run, is_watched)
        self._failures: list[ProcessReport] = []
        self._hints: set[str] = set()
        """What was said of failures: the nodes of a flow mostly share one."""
        self._status_reader = StatusReader(BUCKETS)
        self._interrupted_by: signal.Signals | None = None
        self._foreign: set[int] = set()
        """Processes of other users that the user was told of."""

    def run(self) -> Outcome:
        """Start every process, and return when the last one has ended.

        Raises:
            LaunchError: a program cannot be executed; those started before it are ended.
        """
        run = self._run
        self._requests.serve(self._selector, self._answers())
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, None)
        self._selector.register(run.starter.status_read, selectors.EVENT_READ, self._read_statuses)
        try:
            dynamic_nodes.announce(run)
            run.parameters.begin()
            self._begin_all()
            # Programs without ports never say that they are ready, so no event may come.
            self._keep_time(run.clock())
            while not self._is_over():
                self._turn()
        finally:
            self._end_at_once()
            dynamic_nodes.disconnect_all(run)
            self._read_statuses()
            self._selector.close()
        return Outcome(self._report(), self._interrupted_by)

    def _answers(self) -> dict[str, Answer]:
        run = self._run
        answers: dict[str, Answer] = {
            "describe": partial(status.describe, run),
            "status": partial(status.status, run),
            "follow": run.output.follow,
            "stop": partial(stop_restart.stop, run),
            "restart": partial(stop_restart.restart, run),
            "parameters": partial(parameter_requests.list_all, run),
            "set_parameter": partial(parameter_requests.set_value, run),
            "set_parameters": partial(parameter_requests.set_values, run),
            "delete_parameter": partial(parameter_requests.delete, run),
            "attach": partial(dynamic_nodes.attach, run),
            "leave": partial(dynamic_nodes.leave, run),
        }
        answers = self._network_requests.routed(answers)
        if run.far is not None:
            answers["network"] = partial(self._hear_far, run.far)
        return answers

    def _hear_far(self, far: FarMachines, requester: Requester, told: dict[str, Any]) -> None:
        run = self._run
        news = far.hear(requester, told)
        if requester is far.requester:
            self._network_requests.hear(requester, told)
        if news is None or run.is_stopping:
            return
        if news.stop is not None:
            run.console.notice(f"machine {news.stop}: stopping")
            begin_stop(run, news.stop)
        for machine in news.failed:
            if machine in far.plan.ends_all:
                why = f"machine {machine} has failed"
                run.console.notice(f"{why}, and the dataflow ends with it")
                begin_stop(run, why)
        if far.is_deserted and not run.is_stopping:
            why = "all other machines have ended"
            run.console.notice(f"{why}: the dataflow ends")
            begin_stop(run, why)

    def _is_over(self) -> bool:
        run = self._run
        if not all(node.is_over for node in run.nodes):
            return False
        if not run.is_stopping and all(node.plan.is_dynamic for node in run.nodes):
            return False
        if any(node.is_running for node in dynamic_nodes.dynamic_nodes(run)):
            # A program that is still attached has time to read the rest of its queues.
            begin_stop(run, "all nodes have ended")
            return False
        return True

    def _turn(self) -> None:
        run = self._run
        events = self._selector.select(self._timeout_s())
        run.starter.kernel.look_again()
        for key, _ in events:
            if isinstance(key.data, SupervisedNode):
                self._show_lines(key.data)
            elif callable(key.data):
                key.data()
        for number in self._signals.take():
            if number is signal.SIGTSTP:
                # As in `dora-launch flow.yml | tee log`: tee is suspended, and the shell waits.
                os.killpg(0, signal.SIGCONT)
                run.console.notice(
                    "Ctrl-Z does nothing while a node has the terminal, and Ctrl-C stops the "
                    "dataflow; other commands need another terminal"
                )
            elif number is not signal.SIGCHLD:
                self._interrupt(number)
        self._reap()
        self._keep_time(run.clock())

    def _timeout_s(self) -> float | None:
        deadline_ns = self._next_deadline_ns()
        if deadline_ns is None:
            return None
        return min(max(deadline_ns - self._run.clock(), 0) / 1e9, _LONGEST_WAIT_S)

    def _next_deadline_ns(self) -> int | None:
        run, now_ns = self._run, self._run.clock()
        deadlines = [node.restart_at_ns for node in run.nodes]
        deadlines += [node.begun_line.due_ns for node in run.nodes]
        deadlines.append(run.barrier.next_deadline_ns)
        deadlines.append(run.ladder.next_deadline_ns(now_ns))
        if not run.is_stopping:
            deadlines.append(self._unread.next_deadline_ns)
            started_ns = run.barrier.started_ns
            deadlines += [node.hang_deadline_ns(started_ns, run.memory) for node in run.nodes]
            if started_ns is not None and self._stop_after_ns is not None:
                deadlines.append(started_ns + self._stop_after_ns)
        if run.memory.has_outdated:
            deadlines.append(now_ns + _SECOND_NS)
        if run.far is not None:
            deadlines.append(run.far.next_deadline_ns)
        return min((time_ns for time_ns in deadlines if time_ns is not None), default=None)

    def _begin_all(self) -> None:
        nodes = [node for node in self._run.nodes if not node.plan.is_dynamic]
        try:
            for node in nodes:
                self._begin(node, node.plan.config)
        except NodeStartError:
            # Those before it may have switched something on, and shall switch it off again.
            begin_stop(self._run, "a node cannot be started")
            while any(node.is_running for node in nodes):
                self._turn()
            raise

    def _begin(self, node: SupervisedNode, present: NodePlan) -> None:
        process = self._run.starter.start(node.plan, present, node.restarts.count)
        node.begin(process, self._run.clock())
        self._selector.register(process.output, selectors.EVENT_READ, node)

    def _begin_again(self, node: SupervisedNode) -> None:
        if node.is_mended:
            # Its failure and its lines are those of another program.
            node.is_mended = False
            self._failures = [one for one in self._failures if one.name != node.name]
            node.tail.clear()
        present = self._run.memory.renew(node.number)
        try:
            self._begin(node, present)
        except NodeStartError as error:
            # Its program may just be built anew; no reason to end all others.
            node.wish = Wish.NONE
            self._settle(node, Ending(True, f"failed: cannot be started: {error.why}"), None)

    def _reap(self) -> None:
        run = self._run
        ended = [
            (node, node.child)
            for node in run.nodes
            if node.child is not None and node.child.has_exited()
        ]
        if ended:
            # A scan that began before a node had exited may lack what that node started last.
            run.starter.kernel.look_again()
        for node, process in ended:
            if process.reap(is_stopping=run.is_stopping):
                self._bury(node, process)
        own = [node.process.pid for node in run.nodes if node.process is not None]
        run.starter.kernel.reap_orphans(own)

    def _keep_time(self, now_ns: int) -> None:
        run = self._run
        run.memory.tidy(now_ns)
        for node in run.nodes:
            begun = node.begun_line.take(now_ns)
            if begun is not None:
                run.output.write_begun(node.name, begun)
        if run.far is not None:
            run.far.advance(now_ns, is_ready=run.barrier.is_ready)
        started_ns = run.barrier.started_ns
        if started_ns is None:
            if run.barrier.may_open:
                run.barrier.open(run.memory)
                run.notifier.tell_ready()
            else:
                run.barrier.tell_progress(now_ns)
        elif (
            self._stop_after_ns is not None
            and not run.is_stopping
            and now_ns >= started_ns + self._stop_after_ns
        ):
            why = f"stopping after {self._stop_after_ns / 1e9:g} s"
            run.console.notice(why)
            begin_stop(run, why)
        self._unread.advance(now_ns)
        run.ladder.advance(now_ns)
        if not run.is_stopping:
            self._restart_and_kill_hung(now_ns)
        self._leave_unreachable_behind()

    def _restart_and_kill_hung(self, now_ns: int) -> None:
        run = self._run
        for node in run.nodes:
            if node.restart_at_ns is not None and now_ns >= node.restart_at_ns:
                self._begin_again(node)
            hangs_ns = node.hang_deadline_ns(run.barrier.started_ns, run.memory)
            if hangs_ns is not None and now_ns >= hangs_ns:
                node.kill_hung()

    def _leave_unreachable_behind(self) -> None:
        """Count nodes as ended that should be dead and cannot be killed, as under another user."""
        for node in self._run.nodes:
            process = node.child
            if process is None:
                continue
            unreachable = process.out_of_reach()
            if process.pid in unreachable and process.rung is Rung.KILLED:
                process.leave_behind()
                self._bury(node, process)
                continue
            for pid in unreachable:
                if pid not in self._foreign:
                    self._foreign.add(pid)
                    where = f"node {node.name}: {process.describe_foreign(pid)}"
                    self._run.console.alarm(f"{where}; waiting for it to end by itself")

    def _read_statuses(self) -> None:
        run = self._run
        for told in self._status_reader.feed(run.starter.read_statuses()):
            if 0 <= told.process < len(run.nodes):
                self._hear(run.nodes[told.process], told)

    def _hear(self, node: SupervisedNode, told: Status) -> None:
        run, process = self._run, node.process
        if process is None:
            return
        if told.kind is Kind.READY:
            node.note_ready()
            run.memory.note_attached(node.number)
        elif told.kind is Kind.READS_EVENTS:
            process.reads_events = True
        elif told.kind is Kind.SENT_AFTER_STOP:
            process.excuse = "it sent after the stop"
        elif told.kind is Kind.CALLED_AT_STOP:
            process.excuse = "it waited for an answer"
        elif told.kind is Kind.LINK and told.link is not None:
            run.totals.add_link(told.link)
        elif not run.is_stopping:
            why = f"{node.name} asks to stop the dataflow"
            run.console.notice(why)
            begin_stop(run, why)

    def _show_lines(self, node: SupervisedNode) -> None:
        assert isinstance(node.process, NodeProcess), "registered with its process"
        self._show(node, node.process.read_lines())
        node.begun_line.note(node.process.begun_line, self._run.clock())
        if node.process.has_closed_output:
            self._selector.unregister(node.process.output)

    def _show(self, node: SupervisedNode, lines: list[str]) -> None:
        node.tail.extend(part for line in lines for part in readable(line))
        is_interrupted = node.process is not None and Rung.INTERRUPTED in node.process.rungs
        if lines:
            node.begun_line.end()
        self._run.output.write(node.name, lines, is_interrupted=is_interrupted)

    def _bury(self, node: SupervisedNode, process: NodeProcess) -> None:
        # Before its end it told that it was ready, or what its links have counted.
        self._read_statuses()
        if self._run.far is not None:
            self._run.far.read_rest(node)
        if not process.has_closed_output:
            self._selector.unregister(process.output)
        self._show(node, process.close_output())
        node.begun_line.end()
        self._run.output.end(node.name)
        self._run.starter.note_end(node.plan)
        self._settle(node, process.ending(), process)

    def _settle(self, node: SupervisedNode, ending: Ending, process: NodeProcess | None) -> None:
        run = self._run
        restart_at_ns = None
        if not run.is_stopping:
            restart_at_ns = node.next_start_ns(run.clock(), is_failure=ending.is_failure)
        waits_for_hand = node.wish is Wish.STOP and not run.is_stopping
        run.memory.mark_dead(
            node.number,
            returns=restart_at_ns is not None or waits_for_hand,
            keeps_queues=not waits_for_hand,
        )
        usage = NO_USAGE if process is None else process.usage
        node.end(ending, usage, restart_at_ns=restart_at_ns)
        self._announce_end(node, ending)
        if node.is_over:
            run.output.close(node.name)
        if restart_at_ns is None:
            end_flow_if_it_ends_with(run, node)

    def _announce_end(self, node: SupervisedNode, ending: Ending) -> None:
        is_by_hand = node.wish is not Wish.NONE
        if node.restart_at_ns is not None or (is_by_hand and not self._run.is_stopping):
            self._announce_restart(node, ending)
        elif ending.is_failure and not is_by_hand:
            self._failures.append(node.report())
            self._announce_failure(node, ending)
            self._unread.note_failure(node, self._run.clock())

    def _announce_restart(self, node: SupervisedNode, ending: Ending) -> None:
        console = self._run.console
        if node.wish is Wish.STOP:
            way_back = f"`dora-rt restart {node.name}` starts it again"
            if all(one.is_over for one in self._run.nodes):
                way_back = "no other node runs, so the dataflow ends"
            console.notice(f"node {node.name} {ending.text}; {way_back}")
        elif node.wish is Wish.RESTART:
            console.notice(f"node {node.name} {ending.text}; starting it again")
        elif node.restart_at_ns is not None:
            seconds = (node.restart_at_ns - self._run.clock()) / 1e9
            restart = f"restart {node.restarts.count} in {seconds:.1f} s"
            text = f"node {node.name} {ending.text}; {restart}"
            (console.alarm if ending.is_failure else console.notice)(text)

    def _announce_failure(self, node: SupervisedNode, ending: Ending) -> None:
        given_up = ""
        if node.restarts.by_policy and not self._run.is_stopping:
            window_s = node.plan.supervision.restart_window_s
            restarts = counted(node.restarts.by_policy, "restart")
            given_up = f"; given up after {restarts} ({window_s:g} s window)"
        self._run.console.alarm(f"node {node.name} {ending.text}{given_up}")
        # Not only in the summary: the others may go on for hours.
        hint = explain(tuple(node.tail))
        if hint is not None and hint not in self._hints:
            self._hints.add(hint)
            self._run.console.alarm(hint)

    def _interrupt(self, number: signal.Signals) -> None:
        run = self._run
        if self._interrupted_by is None:
            self._interrupted_by = number
            run.console.notice(f"{number.name}: stopping (again: at once)")
            begin_stop(run, number.name)
        else:
            rung = run.ladder.hurry(run.clock())
            means = "SIGKILL" if rung is Rung.KILLED else "a signal"
            run.console.notice(f"{number.name} again: {means} to what still runs")

    def _end_at_once(self) -> None:
        self._run.starter.kernel.look_again()
        processes = [(node, node.child) for node in self._run.nodes if node.child is not None]
        for _, process in processes:
            process.push(Rung.KILLED, None)
        for node, process in processes:
            process.wait()
            self._bury(node, process)

    def _report(self) -> Report:
        run = self._run
        # One that was stopped before all were ready has done nothing but start.
        is_cut_short = run.barrier.started_ns is None or run.barrier.is_cut_short
        since_ns = run.barrier.began_ns if is_cut_short else run.barrier.started_ns
        assert since_ns is not None, "the barrier is open"
        far, edges = run.far, run.totals.report()
        if far is not None:
            machine = far.plan.plan.machine
            edges = crossing_reports(
                run.plan.edges, edges, far.status, machine, is_settled=far.has_settled
            )
        return Report(
            file=run.plan.file,
            duration_s=(run.clock() - since_ns) / 1e9,
            processes=tuple(node.report() for node in run.nodes),
            edges=edges,
            failures=(*self._failures, *([] if far is None else far.failures)),
            notes=tuple(self._unread.notes),
            machine=None if far is None else far.plan.plan.machine,
            machines=() if far is None else far.report(),
        )
