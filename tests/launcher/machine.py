"""A simulated machine: a clock, and processes that live, print and die as they are told to.

It stands where the kernel and the starter stand; the loop, the ladder, the groups and the restarts
above it are the real ones. `test_contract.py` holds it to what the real starter does.
"""

from __future__ import annotations

import heapq
import json
import selectors
import signal
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dora_rt.launcher.processes.child import NodeProcess
from dora_rt.launcher.processes.kernel import Member
from dora_rt.launcher.processes.starter import NodeStartError
from dora_rt.node_config import NodePlan, RunFacts
from dora_rt.plan.plan import ProcessPlan
from dora_rt.report import Usage
from dora_rt.transport.status_pipe import Kind

_MOST_TURNS = 200
"""At one moment: a loop that turns more often spins."""
_MOST_TURNS_OF_A_RUN = 20_000
_FIRST_PID = 1000

Status = int
Handler = tuple[float | None, Status]
"""How long a program cleans up after a signal, None: for ever; and its exit status then."""

PYTHON: dict[signal.Signals, Handler] = {signal.SIGINT: (0.01, -signal.SIGINT)}
"""What a Python program does: KeyboardInterrupt runs its `finally`."""
DEAF: dict[signal.Signals, Handler] = {signal.SIGINT: (None, 0), signal.SIGTERM: (None, 0)}


@dataclass(frozen=True)
class Program:
    """What one process does, in seconds from its beginning."""

    ready_s: float | None = 0.1
    ends_s: float | None = None
    status: Status = 0
    reads_events: bool = True
    stops_s: float | None = 0.01
    """So long after the stop event; None: it does not look."""
    drains_s: float | None = 0.01
    """So long after the last of its sources has gone."""
    handlers: dict[signal.Signals, Handler] = field(default_factory=lambda: PYTHON)
    stuck_s: float = 0.0
    """So long after SIGKILL, as in a driver that hangs."""
    beats_until_s: float | None = None
    becomes_root_s: float | None = None
    asks_stop_s: float | None = None
    sends_after_stop: bool = False
    prints: tuple[tuple[float, bytes], ...] = ()
    children: tuple[Program, ...] = ()
    """What it starts at once, in its process group."""
    why_not: str | None = None
    """Why it cannot be executed."""


CRASH = Program(ready_s=None, ends_s=0.05, status=1)
MISSING = Program(why_not="No such file or directory")
JOB = Program(ends_s=1.0)
"""Ends by itself."""
C_CALL = Program(stops_s=None, handlers=DEAF)
"""In a C call that keeps the GIL: neither the stop event nor a signal is looked at."""
PLAIN = Program(ready_s=None, handlers={})
"""Knows nothing of dora_rt, and handles no signal."""


class Clock:
    """Time that passes only when somebody waits; also the selector that waits."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def __call__(self) -> int:
        return self.now_ns

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        at_ns = self.now_ns + round(seconds * 1e9)
        heapq.heappush(self._actions, (at_ns, self._count, action))

    @property
    def next_ns(self) -> int | None:
        return self._actions[0][0] if self._actions else None

    def pass_until(self, time_ns: int) -> None:
        """Let the next things happen, those of one moment, at `time_ns` at the latest."""
        if self.next_ns is None or self.next_ns > time_ns:
            self.now_ns = max(self.now_ns, time_ns)
            return
        self.now_ns = max(self.now_ns, self.next_ns)
        while self.next_ns is not None and self.next_ns <= self.now_ns:
            heapq.heappop(self._actions)[2]()


class FakePipe:
    """The read end of a pipe; the other end is `write` and `hang_up`."""

    def __init__(self) -> None:
        self._bytes = b""
        self.writers = 1
        self.is_closed = False

    def write(self, text: bytes) -> None:
        self._bytes += text

    def has_news(self) -> bool:
        return bool(self._bytes) or not self.writers

    def fileno(self) -> int:
        raise AssertionError("only for a selector that waits in the kernel")

    def read(self, nbytes: int, /) -> bytes | None:
        taken, self._bytes = self._bytes[:nbytes], self._bytes[nbytes:]
        return taken if taken or not self.writers else None

    def close(self) -> None:
        self.is_closed = True


class FakeSelector(selectors.BaseSelector):
    """Waits on a clock that it turns; a loop that spins, or waits for nothing, is a failure."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._turns = (0, 0)
        self.turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        assert fileobj not in self._keys, "registered twice"
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._count_turn()
        until_ns = None if timeout is None else self._clock.now_ns + -int(-timeout * 1e9 // 1)
        while not (ready := self._ready()):
            if until_ns is not None and self._clock.now_ns >= until_ns:
                return []
            next_ns = self._clock.next_ns
            assert next_ns is not None or until_ns is not None, "the loop waits for ever"
            self._clock.pass_until(next_ns if until_ns is None else until_ns)
        return ready

    def get_map(self) -> dict[Any, selectors.SelectorKey]:  # type: ignore[override]
        return self._keys

    def close(self) -> None:
        self._keys.clear()

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        return [(key, key.events) for key in self._keys.values() if key.fileobj.has_news()]

    def _count_turn(self) -> None:
        now_ns, count = self._turns
        count = count + 1 if now_ns == self._clock.now_ns else 0
        self._turns = (self._clock.now_ns, count)
        self.turns += 1
        assert count < _MOST_TURNS, "the loop spins"
        assert self.turns < _MOST_TURNS_OF_A_RUN, "the run has no end"


class FakeProcess:
    """One process of the machine, of a node or of something that a node has started."""

    def __init__(
        self, machine: Machine, pid: int, group: int, parent: int, name: str, program: Program
    ) -> None:
        self.pid, self.group, self.parent, self.name = pid, group, parent, name
        self.program = program
        self.began_ns = machine.clock.now_ns
        self.exit_status: Status | None = None
        self.is_reaped = False
        self.is_root = False
        self.is_ready = False
        self.is_told = False
        self.is_dry = False
        self.received: list[signal.Signals] = []
        self._machine = machine

    @property
    def is_alive(self) -> bool:
        return self.exit_status is None

    def member(self) -> Member:
        bits = {number: 1 << (number - 1) for number in self.program.handlers}
        return Member(self.pid, self.parent, self.name, 0, sum(bits.values()))

    def end(self, status: Status) -> None:
        if self.is_alive:
            self.exit_status = status
            self._machine.on_end(self)

    def end_after(self, seconds: float, status: Status) -> None:
        self._machine.clock.after(seconds, lambda: self.end(status))

    def signal(self, number: signal.Signals) -> None:
        if not self.is_alive:
            return
        self.received.append(number)
        if number is signal.SIGKILL and self.program.stuck_s:
            self.end_after(self.program.stuck_s, -number)
        elif number not in self.program.handlers:
            self.end(-number)
        else:
            seconds, status = self.program.handlers[number]
            if seconds is not None:
                self.end_after(seconds, status)


class Machine:
    """All processes; has the part of `dora_rt.launcher.processes.kernel.Kernel`."""

    def __init__(self, clock: Clock, on_child_end: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.processes: dict[int, FakeProcess] = {}
        self.adopted: set[int] = set()
        self.scans = 0
        self.on_child_end = on_child_end
        self.log: Callable[[str], None] = lambda _: None
        self.pipes: dict[int, FakePipe] = {}
        self._scan: dict[int, list[int]] | None = None

    def begin(self, name: str, program: Program, parent: int = 1, group: int = 0) -> FakeProcess:
        pid = _FIRST_PID + len(self.processes)
        process = FakeProcess(self, pid, group or pid, parent, name, program)
        self.processes[pid] = process
        if program.ends_s is not None:
            process.end_after(program.ends_s, program.status)
        if program.becomes_root_s is not None:
            self.clock.after(program.becomes_root_s, lambda: setattr(process, "is_root", True))
        for child in program.children:
            self.begin(f"{name}'s child", child, pid, process.group)
        return process

    def on_end(self, process: FakeProcess) -> None:
        pipe = self.pipes.get(process.group)
        alive = [one for one in self.processes.values() if one.group == process.group]
        if pipe is not None:
            pipe.writers = sum(one.is_alive for one in alive)
        if process.pid == process.group:
            self.log(f"{process.name} ends {process.exit_status}")
            self.on_child_end()
        else:
            process.is_reaped = True  # by the init of this machine

    # What the launcher asks of the kernel.

    def adopt(self, pid: int, popen: object | None = None) -> None:
        self.adopted.add(pid)

    def look_again(self) -> None:
        self._scan = None

    def members(self, session: int) -> list[Member]:
        if self._scan is None:
            self.scans += 1
            self._scan = {}
            for process in self.processes.values():
                if not process.is_reaped:
                    self._scan.setdefault(process.group, []).append(process.pid)
        pids = [session, *(pid for pid in self._scan.get(session, ()) if pid != session)]
        return [self.processes[pid].member() for pid in pids if self.processes[pid].is_alive]

    def signal(self, pid: int, session: int, number: signal.Signals) -> None:
        process = self.processes[pid]
        if process.is_reaped:
            raise ProcessLookupError
        if process.is_root:
            raise PermissionError
        if pid == session and number is not signal.SIGKILL:
            self.log(f"{number.name} to {process.name}")
        process.signal(number)

    def kill_session(self, session: int) -> None:
        for process in list(self.processes.values()):
            if process.group == session and not process.is_root and process.is_alive:
                if process.pid == session:
                    self.log(f"SIGKILL to {process.name}")
                process.signal(signal.SIGKILL)

    def has_exited(self, pid: int) -> bool:
        assert not self.processes[pid].is_reaped, "its number may be another's by now"
        return not self.processes[pid].is_alive

    def reap(self, pid: int) -> tuple[int, Usage]:
        process = self.processes[pid]
        while process.exit_status is None:
            assert self.clock.next_ns is not None, "the launcher waits for ever for a child"
            self.clock.pass_until(self.clock.next_ns)
        process.is_reaped = True
        self.adopted.discard(pid)
        return process.exit_status, Usage(0.5, pid)

    def reap_orphans(self, own: Collection[int]) -> None:
        pass

    def owner_of(self, pid: int) -> str:
        return "root" if self.processes[pid].is_root else "me"


class FakeStarter:
    """Starts the programs of a machine: the n-th start of a node its n-th program, or the last."""

    def __init__(self, machine: Machine, programs: dict[str, Sequence[Program]]) -> None:
        self.kernel = machine
        self.run = "run"
        self.facts = RunFacts(self.run, "/nowhere/description.json")
        self.descriptors: tuple[int, int] = (0, 0)
        self.status_read = FakePipe()
        self.started: list[FakeProcess] = []
        self.present: dict[int, FakeProcess] = {}
        self._programs = programs

    def start(self, plan: ProcessPlan, present: NodePlan, restart_count: int) -> NodeProcess:
        programs = self._programs.get(plan.name, (Program(),))
        starts = sum(process.name == plan.name for process in self.started)
        program = programs[min(starts, len(programs) - 1)]
        if program.why_not is not None:
            raise NodeStartError(plan.name, f"{plan.argv[0]}: {program.why_not}")
        machine = self.kernel
        pipe = FakePipe()
        process = machine.begin(plan.name, program)
        pipe.writers = 1 + len(program.children)
        machine.pipes[process.pid] = pipe
        machine.adopt(process.pid)
        machine.log(f"start {plan.name}")
        for seconds, text in program.prints:
            self._later(seconds, process, lambda text=text: pipe.write(text))
        number = self._number(plan)
        self.started.append(process)
        self.present[number] = process
        if program.ready_s is not None:
            self._later(program.ready_s, process, lambda: self._tell_ready(number, process))
        if program.asks_stop_s is not None:
            asked = program.asks_stop_s
            self._later(asked, process, lambda: self._tell(number, Kind.STOP_DATAFLOW))
        return NodeProcess(process.pid, pipe, machine)  # type: ignore[arg-type]

    def note_end(self, plan: ProcessPlan) -> None:
        pass

    def read_statuses(self) -> bytes:
        return self.status_read.read(64 * 1024) or b""

    def close(self) -> None:
        pass

    def tell_to_stop(self, number: int) -> None:
        """Let the present process of a node see the stop event, if it looks."""
        process = self.present.get(number)
        if process is None or not process.is_alive or process.is_told:
            return
        process.is_told = True
        if process.is_ready:
            self._heed(number, process)

    def _heed(self, number: int, process: FakeProcess) -> None:
        program = process.program
        if program.stops_s is None or not program.reads_events:
            return
        if program.sends_after_stop:
            self._tell(number, Kind.SENT_AFTER_STOP)
        process.end_after(program.stops_s, 1 if program.sends_after_stop else 0)

    def tell_dry(self, number: int) -> None:
        """Let the present process of a node see that all its sources have gone."""
        process = self.present.get(number)
        if process is not None and not process.is_dry:
            process.is_dry = True
            if process.is_ready:
                self._drain(process)

    def _drain(self, process: FakeProcess) -> None:
        if process.program.drains_s is not None:
            process.end_after(process.program.drains_s, 0)

    def last_beat_ns(self, number: int) -> int:
        process = self.present[number]
        until_s = process.program.beats_until_s
        now_ns = self.kernel.clock.now_ns
        if until_s == 0:
            return 0  # never, so the word says what it said before
        return now_ns if until_s is None else min(now_ns, process.began_ns + int(until_s * 1e9))

    def _number(self, plan: ProcessPlan) -> int:
        return plan.config.number

    def _later(self, seconds: float, process: FakeProcess, action: Callable[[], None]) -> None:
        self.kernel.clock.after(seconds, lambda: action() if process.is_alive else None)

    def _tell_ready(self, number: int, process: FakeProcess) -> None:
        self._tell(number, Kind.READY)
        if process.program.reads_events:
            self._tell(number, Kind.READS_EVENTS)
        process.is_ready = True
        if process.is_told:
            self._heed(number, process)
        if process.is_dry:
            self._drain(process)

    def _tell(self, number: int, kind: Kind) -> None:
        line = json.dumps({"process": number, "kind": kind.value})
        self.status_read.write(line.encode() + b"\n")


def child_of(program: Program, *children: Program) -> Program:
    """A program that starts others."""
    return replace(program, children=children)
