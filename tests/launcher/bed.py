"""A bed for the supervisor: its real loop on a simulated machine, in no time.

A test says what happens when (`at`), runs the loop to its end, and reads the history.
"""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dora_rt.descriptor import parse_descriptor
from dora_rt.errors import SharedMemoryFullError
from dora_rt.launcher.memory.counters import NOTHING, EdgeCounters
from dora_rt.launcher.requests import Answer
from dora_rt.launcher.signals import SignalRecorder
from dora_rt.launcher.supervision.run_parts import Run
from dora_rt.launcher.supervision.supervisor import Outcome, Supervisor
from dora_rt.network.gateway_plan import Security
from dora_rt.node_config import CONFIG_VERSION
from dora_rt.plan.machine_part import Membership
from dora_rt.plan.plan import Plan
from dora_rt.plan.planner import make_plan
from dora_rt.report import ProcessReport, Report
from tests.launcher.machine import Clock, FakeProcess, FakeSelector, FakeStarter, Machine, Program

CHAIN = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: filter, path: b, inputs: {in: source/out}, outputs: [out]}
      - {id: sink, path: c, inputs: {in: filter/out}}
"""
ALONE = "nodes: [{id: node, path: a, outputs: [out]}]"


def alone(**settings: object) -> str:
    """Give the dataflow of one node with these keys."""
    keys = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return f"nodes: [{{id: node, path: a, outputs: [out], {keys}}}]"


def endings(report: Report) -> dict[str, str]:
    """Say how each node of a run ended."""
    return {process.name: process.ending.text for process in report.processes}


@lru_cache(maxsize=512)
def plan_of(text: str, machine: str | None = None) -> Plan:
    """Plan a dataflow, or the part of a machine; the programs need not exist."""
    membership = None
    if machine is not None:
        membership = Membership(machine, "r7", "flow", "0" * 64, Security(is_insecure=True))
    return make_plan(
        parse_descriptor(text, "flow.yml"),
        folder=Path("/"),
        interpreter="python",
        membership=membership,
    )


class FakeMemory:
    """The shared objects as the supervisor sees them: who is there, who was told what."""

    def __init__(self, plan: Plan, starter: FakeStarter, clock: Clock) -> None:
        self.fates = {process.config.number: "alive" for process in plan.processes}
        self.told: list[tuple[int, bool]] = []
        """Who was told to stop, and whether it comes back."""
        self.marks: list[tuple[int, bool, bool]] = []
        """Who was marked dead, whether it returns, and whether its queues are kept for it."""
        self.is_full = False
        self.start_ns = 0
        self._plan = plan
        self._starter = starter
        self._clock = clock
        self._outdated_ns: list[int] = []

    def start(self) -> int:
        assert not self.start_ns, "the start is once"
        self.start_ns = self._clock.now_ns
        self._starter.kernel.log("the flow starts")
        return self.start_ns

    def tell_to_stop(self, process: int, *, comes_back: bool = False) -> None:
        self._starter.kernel.log(f"tell {self._plan.processes[process].name}")
        self.told.append((process, comes_back))
        self._starter.tell_to_stop(process)

    def last_beat_ns(self, process: int) -> int:
        return self._starter.last_beat_ns(process)

    def mark_dead(self, process: int, *, returns: bool, keeps_queues: bool = True) -> None:
        self.marks.append((process, returns, keeps_queues))
        self.fates[process] = "away" if returns else "gone"
        for plan in self._plan.processes:
            if plan.upstream and all(self.fates[number] == "gone" for number in plan.upstream):
                self._starter.tell_dry(plan.config.number)

    def admit(self, process: int) -> Any:
        if self.is_full:
            raise SharedMemoryFullError("/dev/shm is full")
        return self.renew(process)

    def renew(self, process: int) -> Any:
        self.fates[process] = "alive"
        self._outdated_ns.append(self._clock.now_ns)
        return self._plan.processes[process].config

    def note_attached(self, process: int) -> None:
        assert process in self.fates

    @property
    def has_outdated(self) -> bool:
        return bool(self._outdated_ns)

    def tidy(self, now_ns: int) -> None:
        self._outdated_ns = [one for one in self._outdated_ns if now_ns < one + 1_500_000_000]

    def present(self, number: int) -> Any:
        return self._plan.outputs[number]

    def sent(self, output: int) -> tuple[int, int]:
        return 5, 500

    def counters(self, output: object, edge: object) -> EdgeCounters | None:
        return replace(NOTHING, sent=5, delivered=3, dropped=1)


class FakeNotifier:
    """The service manager, told of the run."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def tell_ready(self) -> None:
        pass

    def tell_stopping(self) -> None:
        self._note("the stop begins")


class FakeConsole:
    """What the user reads, our own lines."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.alarms: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def alarm(self, text: str) -> None:
        self.alarms.append(text)


class FakeOutput:
    """What the nodes print."""

    def __init__(self) -> None:
        self.printed: dict[str, list[str]] = {}
        self._begun: dict[str, str] = {}
        self.closed: list[str] = []
        self.log_folder = Path("/nowhere")

    def write(self, name: str, lines: Sequence[str], *, is_interrupted: bool = False) -> None:
        is_shown = bool(lines) and self._begun.pop(name, None) == lines[0]
        self.printed.setdefault(name, []).extend(lines[is_shown:])

    def write_begun(self, name: str, begun: str) -> None:
        self._begun[name] = begun
        self.printed.setdefault(name, []).append(f"{begun}...")

    def end(self, name: str) -> None:
        pass

    def close(self, name: str) -> None:
        self.closed.append(name)

    def follow(self, requester: object, request: dict[str, Any]) -> None:
        raise AssertionError("no test of the supervisor follows")


class FakeSignals(SignalRecorder):
    """Signals that the test sends; the recorder is its own wake-up pipe."""

    def __init__(self) -> None:
        self.descriptor = self  # type: ignore[assignment]
        self._received: deque[signal.Signals] = deque()

    def has_news(self) -> bool:
        return bool(self._received)

    def take(self) -> Iterator[signal.Signals]:
        while self._received:
            yield self._received.popleft()


class FakeRequester:
    """A connection to the run; `answers` are what came back."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.on_gone: Callable[[], None] | None = None
        self.answers: list[dict[str, Any]] = []
        self.is_gone = False
        self.has_died = False
        self.unread: list[Callable[[], None]] = []
        """What it has sent, and the launcher has not looked at."""

    def read_rest(self) -> None:
        while self.unread:
            self.unread.pop(0)()

    @property
    def who(self) -> str:
        return f"process {self.pid}"

    def has_ended(self) -> bool:
        if self.has_died:
            self.close()
        return self.is_gone

    def reply(self, fields: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        self.answers.append(fields)

    def refuse(self, error: str) -> None:
        self.reply({"error": error})

    def close(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            if self.on_gone is not None:
                self.on_gone()


class FakeRequests:
    """Where requests arrive; they are answered in the supervisor's next turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.answers: dict[str, Answer] = {}

    def serve(self, selector: FakeSelector, answers: dict[str, Answer]) -> None:
        self.answers.update(answers)
        selector.register(self, 1, self._turn)

    def has_news(self) -> bool:
        return bool(self.calls)

    def _turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Bed:
    """One run on a machine of its own; times are seconds from the first start."""

    def __init__(
        self,
        text: str,
        programs: dict[str, Program | Sequence[Program]] | None = None,
        *,
        stop_after_s: float | None = None,
        seed: int = 0,
        watched_until_s: float = 0.0,
        machine: str | None = None,
    ) -> None:
        """Prepare a run, at which somebody looks from outside until `watched_until_s`.

        Without a `machine` of the dataflow, all of it runs.
        """
        self.plan = plan_of(text, machine)
        self.clock = Clock()
        self.began_ns = self.clock.now_ns
        self.signals = FakeSignals()
        self.machine = Machine(self.clock, lambda: self.signals.record(signal.SIGCHLD, None))
        self.machine.log = self._note
        self.starter = FakeStarter(
            self.machine,
            {
                name: (given,) if isinstance(given, Program) else given
                for name, given in (programs or {}).items()
            },
        )
        self.memory = FakeMemory(self.plan, self.starter, self.clock)
        self.console = FakeConsole()
        self.output = FakeOutput()
        self.requests = FakeRequests()
        self.selector = FakeSelector(self.clock)
        self.history: list[tuple[float, str]] = []
        self.run_ = Run.of(
            self.plan,
            self.memory,  # type: ignore[arg-type]
            self.starter,  # type: ignore[arg-type]
            self.console,  # type: ignore[arg-type]
            self.output,  # type: ignore[arg-type]
            FakeNotifier(self._note),  # type: ignore[arg-type]
            clock=self.clock,
            chance=random.Random(seed),
        )
        self.supervisor = Supervisor(
            self.run_,
            self.signals,
            self.requests,  # type: ignore[arg-type]
            stop_after_ns=None if stop_after_s is None else int(stop_after_s * 1e9),
            is_watched=lambda: self.now_s < watched_until_s,
            selector=self.selector,
        )

    @property
    def now_s(self) -> float:
        return round((self.clock.now_ns - self.began_ns) / 1e9, 3)

    @property
    def events(self) -> list[str]:
        """What happened, without the times."""
        return [text for _, text in self.history]

    def when(self, text: str) -> list[float]:
        """Return the times at which something happened."""
        return [at_s for at_s, event in self.history if event == text]

    def at(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> Bed:
        """Let something happen; gives the bed, so that histories read as chains."""
        self.clock.after(seconds, lambda: action(self, *arguments))
        return self

    def run(self) -> Outcome:
        outcome = self.supervisor.run()
        self.check(outcome)
        return outcome

    def process(self, name: str) -> FakeProcess:
        """Return the newest process of a node."""
        return [process for process in self.starter.started if process.name == name][-1]

    def ask(self, requester: FakeRequester, request: dict[str, Any]) -> None:
        name = request["request"]
        self.requests.calls.append(lambda: self.requests.answers[name](requester, request))

    def check(self, outcome: Outcome) -> None:
        """Hold what every run must hold."""
        started = self.starter.started
        for process in started:
            assert process.is_reaped or process.is_root, f"{process.name} is left"
        for process in self.machine.processes.values():
            assert not process.is_alive or process.is_root, f"{process.name} outlives the run"
        assert self.machine.adopted <= {one.pid for one in started if not one.is_reaped}
        for key in self.machine.pipes.values():
            assert key.is_closed
        stops = self.when("the stop begins")
        if stops:
            late = [event for at_s, event in self.history if at_s > stops[0]]
            assert not any(event.startswith("start ") for event in late), late
        self._check_report(outcome)

    def _check_report(self, outcome: Outcome) -> None:
        report, started = outcome.report, self.starter.started
        assert [one.name for one in report.processes] == [one.name for one in self.plan.processes]
        for plan, process in zip(self.plan.processes, report.processes, strict=True):
            own = [one for one in started if one.name == plan.name]
            if not plan.is_dynamic and process.usage is not None:
                reaped = [one for one in own if one.is_reaped]
                assert process.usage.cpu_s == 0.5 * len(reaped), plan.name
                assert process.usage.peak_nbytes == max((one.pid for one in reaped), default=0)
            if not plan.is_dynamic:
                assert len(own) <= process.restarts + 1, plan.name
        for failure in report.failures:
            assert isinstance(failure, ProcessReport)
            assert failure.ending.is_failure
        for edge in report.edges:
            if edge.machines is None:
                assert (edge.sent, edge.unread) == (5, 1)

    def _note(self, text: str) -> None:
        self.history.append((self.now_s, text))


# What may happen, for `Bed.at`.


def interrupt(bed: Bed, number: signal.Signals = signal.SIGINT) -> None:
    """Let the launcher be signalled."""
    bed._note(number.name)
    bed.signals.record(number, None)


def kill(bed: Bed, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Let somebody else kill the newest process of a node."""
    process = bed.process(name)
    if process.is_alive:
        process.end(-number)


def ask(
    bed: Bed,
    what: str,
    node: str | None = None,
    answers: list[Any] | None = None,
    **fields: object,
) -> None:
    """Let somebody ask to stop or restart a node, or the run."""
    requester = FakeRequester(77)
    if answers is not None:
        requester.answers = answers
    bed.ask(requester, {"request": what, "node": node, **fields})


def attach(bed: Bed, requester: FakeRequester, node: str, version: int = CONFIG_VERSION) -> None:
    """Let a program ask to be a dynamic node."""
    bed.ask(requester, {"request": "attach", "node": node, "version": version})


def leave(bed: Bed, requester: FakeRequester, node: str) -> None:
    """Let a program say goodbye."""
    bed.ask(requester, {"request": "leave", "node": node})


def vanish(bed: Bed, requester: FakeRequester) -> None:
    """Let a program that is attached die."""
    requester.has_died = True
    bed.requests.calls.append(requester.close)
