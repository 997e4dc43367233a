"""A node as the supervisor sees it: the process it is now, and what became of earlier ones."""

from __future__ import annotations

import random
from collections import deque
from enum import Enum

from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.starter import TAIL_LINES, NodeProcess
from dora_rt.launcher.supervision.attached import AttachedProcess
from dora_rt.launcher.supervision.restart_policy import Restarts
from dora_rt.plan.plan import ProcessPlan
from dora_rt.report import Ending, ProcessReport, Usage
from dora_rt.run_status import NodeState


class Wish(Enum):
    """What somebody asked for, by hand, to become of a node."""

    NONE = "nothing"
    STOP = "stop"
    RESTART = "restart"


class SupervisedNode:
    """One node of the plan, over all its restarts."""

    def __init__(self, plan: ProcessPlan) -> None:
        self.plan = plan
        self.number = plan.config.number
        self.process: NodeProcess | AttachedProcess | None = None
        self.state = NodeState.ABSENT if plan.is_dynamic else NodeState.STARTING
        self.wish = Wish.NONE
        self.began_ns = 0
        self.restart_at_ns: int | None = None
        self.restarts = Restarts(plan.supervision, random.Random())
        self.ending: Ending | None = None
        self.has_fallen = False
        """Whether a process of it has ended, unless somebody asked for that."""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.cpu_s = 0.0
        """Used by its earlier processes."""
        self._peak_nbytes = 0

    @property
    def name(self) -> str:
        """Give the node's name."""
        return self.plan.name

    @property
    def is_running(self) -> bool:
        """Tell whether there is a process that was not reaped yet."""
        return self.process is not None and self.process.is_running

    @property
    def is_over(self) -> bool:
        """Tell whether the run need not go on for it."""
        return self.plan.is_dynamic or self.state in (
            NodeState.STOPPED,
            NodeState.ENDED,
            NodeState.FAILED,
        )

    @property
    def rung(self) -> Rung:
        """Tell how far the present process was pushed to end."""
        return Rung.NONE if self.process is None else self.process.rung

    def begin(self, process: NodeProcess | AttachedProcess, now_ns: int) -> None:
        """Be this process from now on."""
        # -> STARTING, from the beginning or from BACKOFF or ABSENT
        self.wish = Wish.NONE
        self.process = process
        self.state = NodeState.STARTING
        self.began_ns = now_ns
        self.restart_at_ns = None

    def note_ready(self) -> None:
        """Learn that the process asks for inputs, or sends."""
        # STARTING -> RUNNING
        if self.state is NodeState.STARTING:
            self.state = NodeState.RUNNING

    def next_start_ns(self, now_ns: int, *, is_failure: bool) -> int | None:
        """Decide when to start it again whose process has just ended; None: not by itself."""
        if self.wish is Wish.RESTART:
            return now_ns
        if self.wish is Wish.STOP:
            return None
        delay_ns = self.restarts.delay_ns(now_ns, is_failure=is_failure)
        return None if delay_ns is None else now_ns + delay_ns

    def end(self, ending: Ending, usage: Usage, *, restart_at_ns: int | None) -> None:
        """Note how the present process ended, and when there will be another one."""
        self.ending = ending
        self.has_fallen = self.has_fallen or self.wish is Wish.NONE
        self.cpu_s += usage.cpu_s
        self._peak_nbytes = max(self._peak_nbytes, usage.peak_nbytes)
        self.restart_at_ns = restart_at_ns
        # STARTING or RUNNING -> BACKOFF if it is started again, else the end
        if restart_at_ns is not None:
            self.state = NodeState.BACKOFF
        elif self.wish is Wish.STOP:
            self.state = NodeState.STOPPED
        else:
            self.state = NodeState.FAILED if ending.is_failure else NodeState.ENDED

    def restart_by_hand(self, now_ns: int) -> None:
        """Let it be started again at once, without a process or after the present one."""
        # STOPPED, ENDED or FAILED -> BACKOFF, or in BACKOFF; else the end of the process decides
        if self.state is not NodeState.BACKOFF:
            self.restarts.begin_anew()
        if not self.is_running:
            self.state = NodeState.BACKOFF
            self.restart_at_ns = now_ns

    def detach(self, ending: Ending) -> None:
        """Note how the program ended that was this dynamic node; another one may follow."""
        # STARTING or RUNNING -> ABSENT
        self.process = None
        self.ending = ending
        self.state = NodeState.ABSENT

    def give_up(self) -> None:
        """Start it no more: it or the dataflow is being stopped."""
        # BACKOFF -> STOPPED, ENDED or FAILED
        self.restart_at_ns = None
        if self.wish is Wish.STOP:
            self.state = NodeState.STOPPED
        elif self.ending is not None:
            self.state = NodeState.FAILED if self.ending.is_failure else NodeState.ENDED

    def report(self) -> ProcessReport:
        """Sum the node up."""
        if self.plan.is_dynamic:
            ending = self.ending or Ending(False, "was never attached")
            return ProcessReport(self.name, ending, 0, None, ())
        ending = self.ending or Ending(False, "not started")
        usage = Usage(self.cpu_s, self._peak_nbytes) if self.ending is not None else None
        return ProcessReport(self.name, ending, self.restarts.count, usage, tuple(self.tail))
