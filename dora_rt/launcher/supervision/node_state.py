"""State of one node across its restarts: present process, wish, last ending, usage."""

from __future__ import annotations

import random
from collections import deque
from enum import Enum
from typing import Protocol

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.processes.child import TAIL_LINES, NodeProcess
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.supervision.begun_line import BegunLine
from dora_rt.launcher.supervision.restart_policy import Restarts
from dora_rt.plan.plan import ProcessPlan
from dora_rt.report import Ending, ProcessReport, Usage
from dora_rt.run_status import NodeState


class Wish(Enum):
    """The request by hand that a node has not fulfilled yet."""

    NONE = "nothing"
    STOP = "stop"
    RESTART = "restart"


class Process(Protocol):
    """The part of a process that stopping knows, whoever has started it."""

    reads_events: bool
    excuse: str
    rung_deadline_ns: int | None

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def is_running(self) -> bool:
        """Whether it is still there."""

    @property
    def rung(self) -> Rung:
        """The last rung that it was pushed to."""

    @property
    def rungs(self) -> list[Rung]:
        """All rungs that it was pushed to."""

    def gentlest_rung(self) -> Rung:
        """Return the rung that comes after the stop event."""

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Push it to a rung; until the deadline it has time to end."""


class SupervisedNode:
    """One node of the plan, over all its restarts."""

    def __init__(self, plan: ProcessPlan, chance: random.Random) -> None:
        """Take the plan of the node; `chance` is for its back-off."""
        self.plan = plan
        self.number = plan.config.number
        self.process: Process | None = None
        self.state = NodeState.ABSENT if plan.is_dynamic else NodeState.STARTING
        self.wish = Wish.NONE
        self.began_ns = 0
        self.restart_at_ns: int | None = None
        self.restarts = Restarts(plan.supervision, chance)
        self.ending: Ending | None = None
        self.has_fallen = False
        """Whether a process of it has ended without having been asked to."""
        self.is_mended = False
        """Whether its files have been changed since its last process began."""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.begun_line = BegunLine()
        """The line that its process has begun to print."""
        self.cpu_s = 0.0
        """CPU seconds of its earlier processes."""
        self._peak_nbytes = 0

    @property
    def name(self) -> str:
        """The node's name."""
        return self.plan.name

    @property
    def is_running(self) -> bool:
        """Whether there is a process that was not reaped yet."""
        return self.process is not None and self.process.is_running

    @property
    def child(self) -> NodeProcess | None:
        """The present process if the launcher has started it and it was not reaped yet."""
        if isinstance(self.process, NodeProcess) and self.process.is_running:
            return self.process
        return None

    @property
    def is_over(self) -> bool:
        """Whether the run need not go on for it."""
        return self.plan.is_dynamic or self.state in (
            NodeState.STOPPED,
            NodeState.ENDED,
            NodeState.FAILED,
        )

    @property
    def rung(self) -> Rung:
        """The last rung that the present process was pushed to."""
        return Rung.NONE if self.process is None else self.process.rung

    def begin(self, process: Process, now_ns: int) -> None:
        """Take its next process."""
        # -> STARTING, from the beginning or from BACKOFF or ABSENT
        self.wish = Wish.NONE
        self.process = process
        self.begun_line = BegunLine(is_prompt=self.plan.resources.has_terminal)
        self.state = NodeState.STARTING
        self.began_ns = now_ns
        self.restart_at_ns = None

    def note_ready(self) -> None:
        """Note that the process asks for inputs, or sends."""
        # STARTING -> RUNNING
        if self.state is NodeState.STARTING:
            self.state = NodeState.RUNNING

    def next_start_ns(self, now_ns: int, *, is_failure: bool) -> int | None:
        """Return when to start the next process after one that just ended; None: not by itself."""
        if self.wish is Wish.RESTART:
            return now_ns
        if self.wish is Wish.STOP:
            return None
        delay_ns = self.restarts.delay_ns(now_ns, is_failure=is_failure)
        return None if delay_ns is None else now_ns + delay_ns

    def end(self, ending: Ending, usage: Usage, *, restart_at_ns: int | None) -> None:
        """Note how the present process ended, and when the next one starts."""
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
        """Start it again at once, or as soon as its present process has ended."""
        # STOPPED, ENDED or FAILED -> BACKOFF, or in BACKOFF; else the end of the process decides
        if self.state is not NodeState.BACKOFF:
            self.restarts.begin_anew()
        if not self.is_running:
            self.state = NodeState.BACKOFF
            self.restart_at_ns = now_ns

    def detach(self, ending: Ending) -> None:
        """Note how the program of a dynamic node has left; another one may come."""
        # STARTING or RUNNING -> ABSENT
        self.process = None
        self.ending = ending
        self.state = NodeState.ABSENT

    def cancel_restart(self) -> None:
        """Drop a restart that is pending: the node or the dataflow is being stopped."""
        # BACKOFF -> STOPPED or ENDED
        self.restart_at_ns = None
        self.state = NodeState.STOPPED if self.wish is Wish.STOP else NodeState.ENDED
        if self.ending is not None:
            self.ending = Ending(False, f"was waiting for its restart ({self.ending.text})")

    def hang_deadline_ns(self, started_ns: int | None, memory: RunMemory) -> int | None:
        """Return when the node counts as hung, without readiness or a heartbeat; None: never.

        Args:
            started_ns: when the first input could flow; None: not yet.
            memory: where its heartbeats are.
        """
        supervision = self.plan.supervision
        if self.child is None or self.rung is not Rung.NONE:
            return None
        if self.state is NodeState.STARTING and self.plan.has_ports:
            return self.began_ns + int(supervision.startup_timeout_s * 1e9)
        timeout_s = supervision.heartbeat_timeout_s
        if self.state is not NodeState.RUNNING or timeout_s is None:
            return None
        if started_ns is None and not supervision.beats_before_start:
            return None
        last_ns = max(started_ns or 0, self.began_ns, memory.last_beat_ns(self.number))
        return last_ns + int(timeout_s * 1e9)

    def kill_hung(self) -> None:
        """Kill the process of a node that counts as hung; its ending says why."""
        assert self.child is not None, "only what the launcher started can hang"
        supervision = self.plan.supervision
        if self.state is NodeState.STARTING:
            why = f"not ready within {supervision.startup_timeout_s:g} s"
        else:
            why = f"hung: no heartbeat for {supervision.heartbeat_timeout_s:g} s"
        self.child.kill_because(why)

    def report(self) -> ProcessReport:
        """Return the summary of the node."""
        if self.plan.is_dynamic:
            ending = self.ending or Ending(False, "was never attached")
            return ProcessReport(self.name, ending, 0, None, ())
        ending = self.ending or Ending(False, "not started")
        usage = Usage(self.cpu_s, self._peak_nbytes) if self.ending is not None else None
        return ProcessReport(self.name, ending, self.restarts.count, usage, tuple(self.tail))
