"""A deterministic scheduler: processes are greenlets, and every access to shared memory is a step.

A thread runs until its grant of steps is used up; then the random numbers of the schedule say who
goes on. So what happens depends on the seed alone, and one seed is one interleaving. A process can
be killed, interrupted (an exception comes out of a signal handler) or made to let go of a view
before any of its steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Protocol

from greenlet import GreenletExit, getcurrent, greenlet

from tests.protocol.interrupts import Interrupter

MOST_STEPS = 60_000
_DRAWS = 256


class ViolationError(Exception):
    """A schedule in which something happened that must never happen."""


class Waitable(Protocol):
    """What a thread can be blocked on: it goes on when the count is not 0."""

    count: int


class Act(Enum):
    """What can befall a process before one of its steps."""

    KILL = "kill"
    INTERRUPT = "interrupt"
    LET_GO = "let go"


@dataclass(slots=True)
class Befalls:
    """One thing that befalls a process when it has taken so many steps."""

    step: int
    act: Act
    points: int = 0
    """INTERRUPT: after how many more of the points where a signal handler may run."""


@dataclass(slots=True, eq=False)
class Process:
    """One life of a process: its threads, and what it is certain to see of the shared memory."""

    name: str
    number: int
    """As in the plan; -1 for the launcher and for observers."""
    life: int
    """Counts the processes of the schedule: the index of its clock."""
    befalls: list[Befalls] = field(default_factory=list)
    """Next one last."""
    posts_to_live: int = 0
    """If not 0: it is killed right behind so many posts of what it has given back."""
    let_go: Callable[[], None] = lambda: None
    is_alive: bool = True
    is_open: bool = False
    """Whether it has attached to everything: who is interrupted before that ends."""
    steps: int = 0
    # Of the weak memory: see `tests.protocol.memory`.
    clock: list[int] = field(default_factory=list)
    writes: int = 0
    acquired: list[int] | None = None
    released: list[int] | None = None
    ahead: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Thread:
    """One thread of a process."""

    name: str
    process: Process
    greenlet: greenlet = field(init=False)
    blocked_on: Waitable | None = None
    has_deadline: bool = False


class Scheduler:
    """Runs the threads of one schedule in turns."""

    def __init__(self, rng: Random, switch: float) -> None:
        """Begin with no thread.

        Args:
            rng: decides everything.
            switch: how likely another thread goes on after a step.
        """
        self.rng = rng
        self.left = 0
        """Steps that the running thread may still take: each access takes one away."""
        self.threads: list[Thread] = []
        self.steps = 0
        self.kills: list[tuple[str, int]] = []
        self.interrupts: list[str] = []
        self.killed: Callable[[Process], None] = lambda _: None
        self.process: Process | None = None
        """Whose thread runs; None: the one who set the schedule up, whose accesses are no steps."""
        self._thread: Thread | None = None
        self._main = getcurrent()
        self._granted = 0
        self._patient = 0
        """Threads that are blocked until a deadline."""
        self._bursts = _bursts(switch)
        self._failure: BaseException | None = None
        self._is_closing = False
        self._remains: list[greenlet] = []
        self.interrupter = Interrupter(self.is_running)

    def spawn(self, name: str, process: Process, run: Callable[[], None]) -> None:
        """Add a thread; it runs as soon as it is chosen."""
        thread = Thread(name, process)

        def body() -> None:
            try:
                run()
            except GreenletExit:
                pass
            except BaseException as error:
                self._failure = self._failure or error
            if thread in self.threads:
                self.threads.remove(thread)
            if not self._is_closing:
                self._count_steps(thread)

        thread.greenlet = greenlet(body, parent=self._main)
        self.threads.append(thread)

    def run(self) -> None:
        """Let the threads run until all are blocked.

        Raises:
            ViolationError: something happened that must not, or it never ends.
        """
        while (thread := self._choose()) is not None:
            self._grant(thread)
            thread.greenlet.switch()
            self.process = self._thread = None
            if self._failure is not None:
                raise self._failure
            if self.steps > MOST_STEPS:
                raise ViolationError(f"no end after {self.steps} steps")

    def step(self) -> None:
        """Take a step that is no access."""
        self.left -= 1
        if self.left < 0:
            self.pause()

    def pause(self) -> None:
        """Let others go on; the accesses call this when nothing is left of the grant."""
        thread = self._thread
        if thread is None:
            self.left = 0  # who sets up
            return
        self._count_steps(thread)
        process = thread.process
        if process.befalls and process.befalls[-1].step <= process.steps:
            self._befall(thread, process.befalls.pop())
        self._hand_over(thread)

    def block(self, waitable: Waitable, *, has_deadline: bool) -> bool:
        """Block the running thread until there is something to take; False: its time is up."""
        thread = self._thread
        if thread is None:
            raise ViolationError("who sets the schedule up would have to wait")
        thread.blocked_on, thread.has_deadline = waitable, has_deadline
        self._patient += has_deadline
        try:
            self._count_steps(thread)
            self._hand_over(thread)
        finally:
            self._patient -= has_deadline
            thread.blocked_on, thread.has_deadline = None, False
        return waitable.count > 0

    def fail(self, message: str) -> None:
        """End the schedule as a violation, whatever the running thread would catch."""
        self._failure = self._failure or ViolationError(message)
        if self._thread is None:
            raise self._failure
        self._main.switch()
        raise GreenletExit

    def kill(self, process: Process) -> None:
        """Let a process take no step any more; its threads are told only when the schedule ends."""
        process.is_alive = False
        self.kills.append((process.name, process.steps))
        # Kept, because a greenlet that nobody knows unwinds at once, and a killed process does not.
        ended = [thread for thread in self.threads if thread.process is process]
        self._remains += [thread.greenlet for thread in ended]
        self._patient -= sum(thread.has_deadline for thread in ended)
        self.threads = [thread for thread in self.threads if thread.process is not process]
        self.interrupter.forget(process)
        self.killed(process)

    def kill_next(self, process: Process) -> None:
        """Kill the running process before its next step."""
        process.befalls.append(Befalls(0, Act.KILL))
        self._granted -= self.left
        self.left = 0

    def is_running(self, process: Process) -> bool:
        """Tell whether the running thread is one of this process."""
        return self.process is process

    @property
    def thread(self) -> Thread | None:
        """Give the running thread."""
        return self._thread

    def close(self) -> None:
        """End all greenlets that are left, wherever they are."""
        self._is_closing = True
        self.left = 1 << 60
        self.process = self._thread = None
        self.interrupter.stop()
        for left in [*self._remains, *(thread.greenlet for thread in self.threads)]:
            while left and not left.dead:
                left.throw(GreenletExit)

    def _befall(self, thread: Thread, what: Befalls) -> None:
        process = thread.process
        if what.act is Act.LET_GO:
            process.let_go()
        elif what.act is Act.INTERRUPT:
            if not process.is_open:
                what.step += 20
                process.befalls.append(what)
                process.befalls.sort(key=lambda it: -it.step)
                return
            self.interrupts.append(process.name)
            self.interrupter.start(process, what.points)
        else:
            self.kill(process)
            self._hand_over(thread)

    def _hand_over(self, thread: Thread) -> None:
        chosen = self._choose()
        if chosen is thread:
            self._grant(thread)
            return
        if chosen is None or self.steps > MOST_STEPS or self._failure is not None:
            self._main.switch()
        else:
            self._grant(chosen)
            chosen.greenlet.switch()
        if self._is_closing:
            raise GreenletExit

    def _choose(self) -> Thread | None:
        random = self.rng.random
        ready = [
            thread
            for thread in self.threads
            if (blocked_on := thread.blocked_on) is None or blocked_on.count
        ]
        # Time runs out seldom while others have something to do, and surely if they have not.
        if self._patient and (not ready or random() < 0.02):
            ready = [it for it in self.threads if it.has_deadline] or ready
        if not ready:
            return None
        return ready[int(random() * len(ready))]

    def _grant(self, thread: Thread) -> None:
        self._thread = thread
        self.process = process = thread.process
        burst = self._bursts[int(self.rng.random() * _DRAWS)]
        if process.befalls:
            until = process.befalls[-1].step - process.steps - 1
            if until < burst:
                burst = until if until > 0 else 0
        self.left = self._granted = burst

    def _count_steps(self, thread: Thread) -> None:
        taken = self._granted - self.left
        self._granted = self.left
        thread.process.steps += taken
        self.steps += taken


def _bursts(switch: float) -> list[int]:
    """Give lengths of bursts, equally likely, so that a thread is left after a step so often."""
    if switch >= 1:
        return [0] * _DRAWS
    stay = math.log(1 - switch)
    return [int(math.log((draw + 0.5) / _DRAWS) / stay) for draw in range(_DRAWS)]
