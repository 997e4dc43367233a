"""The simulated machine of the bed behaves as the real one: one contract, four starters."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dora_rt.launcher.cleanup.guard import RunGuard
from dora_rt.launcher.cleanup.run_directory import Manifest, new_run_name
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.router import LineRouter
from dora_rt.launcher.processes.child import NodeProcess
from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.kernel import Kernel
from dora_rt.launcher.processes.starter import NodeStartError, Starter
from dora_rt.launcher.requests import Requester
from dora_rt.launcher.systemd_notify import Notifier
from dora_rt.node_config import RunFacts
from dora_rt.runs import namespace_of
from tests.harness.waiting import eventually
from tests.launcher.bed import (
    FakeConsole,
    FakeMemory,
    FakeNotifier,
    FakeOutput,
    FakeRequester,
    plan_of,
)
from tests.launcher.machine import DEAF, PYTHON, Clock, FakeStarter, Machine, Program

BEGIN = """
import json, os, signal, subprocess, sys, time
def tell(kind):
    config = json.loads(os.environ["DORA_RT_NODE_CONFIG"])
    line = json.dumps({"process": config["number"], "kind": kind}).encode() + b"\\n"
    os.write(config["status_fd"], line)
def handle(number, action):
    signal.signal(number, action)
def rest():
    # A signal that comes just before one long sleep begins would not be handled until its end.
    while True:
        time.sleep(0.05)
"""


@dataclass(frozen=True)
class Behaviour:
    """One program, for the real machine and for the simulated one."""

    script: str
    program: Program


BEHAVIOURS = {
    "job": Behaviour(
        "print('one'); print('two'); print('part', end=''); sys.exit(3)",
        Program(ready_s=None, ends_s=0.1, status=3, prints=((0.01, b"one\ntwo\npart"),)),
    ),
    "segfault": Behaviour(
        "os.kill(os.getpid(), signal.SIGSEGV)",
        Program(ready_s=None, ends_s=0.1, status=-signal.SIGSEGV),
    ),
    "node": Behaviour(
        "tell('ready'); tell('reads_events'); rest()",
        Program(handlers=PYTHON),
    ),
    "plain": Behaviour(
        "handle(signal.SIGINT, signal.SIG_DFL); tell('ready'); rest()",
        Program(reads_events=False, handlers={}),
    ),
    "cleaning": Behaviour(
        "handle(signal.SIGTERM, lambda *_: sys.exit(0)); tell('ready'); rest()",
        Program(reads_events=False, handlers={**PYTHON, signal.SIGTERM: (0.01, 0)}),
    ),
    "deaf": Behaviour(
        "handle(signal.SIGINT, lambda *_: None); handle(signal.SIGTERM, lambda *_: None)\n"
        "tell('ready')\nwhile True: rest()",
        Program(reads_events=False, handlers=DEAF),
    ),
    "parent": Behaviour(
        "child = 'import time; print(\"here\", flush=True); time.sleep(60)'\n"
        "with subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE) as it:\n"
        "    it.stdout.readline(); tell('ready'); time.sleep(0.2); os._exit(0)",
        Program(
            reads_events=False,
            ends_s=0.3,
            children=(Program(ready_s=None, handlers=PYTHON),),
        ),
    ),
}


class Stage:
    """Starts behaviours, and lets time pass until something is so."""

    def __init__(self, starter: Any, until: Callable[[Callable[[], object]], None]) -> None:
        self.starter = starter
        self.until = until
        self.folder = ""
        self.env: tuple[tuple[str, str], ...] = ()
        self.argv: Callable[[str], tuple[str, ...]] = lambda _: ("missing",)
        self.statuses: list[dict[str, Any]] = []

    def start(self, name: str) -> NodeProcess:
        (plan,) = plan_of(f"nodes: [{{id: {name}, path: missing, outputs: [out]}}]").processes
        plan = replace(plan, argv=self.argv(name), folder=self.folder, env=self.env)
        process: NodeProcess = self.starter.start(plan, plan.config, 0)
        if name not in ("job", "segfault"):
            self.until(lambda: "ready" in self.kinds())
        return process

    def kinds(self) -> list[str]:
        lines = self.starter.read_statuses().splitlines()
        self.statuses += [json.loads(line) for line in lines]
        return [status["kind"] for status in self.statuses]

    def end(self, process: NodeProcess, *, is_stopping: bool = False) -> list[str]:
        """Reap a process that ends; gives what it printed."""

        def reap() -> bool:
            self.starter.kernel.look_again()
            return process.has_exited() and process.reap(is_stopping=is_stopping)

        self.until(reap)
        return process.close_output()


@contextlib.contextmanager
def _real(folder: Path, *, is_warm: bool, is_server_gone: bool = False) -> Iterator[Stage]:
    for name, behaviour in BEHAVIOURS.items():
        (folder / f"{name}.py").write_text(BEGIN + behaviour.script + "\n")
    environ = dict(os.environ)
    run = new_run_name(namespace_of(environ))
    manifest = Manifest(run, "flow.yml", os.getpid(), "now", "test", ("node",))
    base = folder / "runs"
    base.mkdir(mode=0o700)
    argv = (sys.executable, "-u")
    (plan,) = plan_of("nodes: [{id: node, path: missing, outputs: [out]}]").processes
    plans = [replace(plan, argv=argv)] * (2 if is_warm else 0)
    with (
        RunGuard.create(base, manifest, environ=environ) as guard,
        Starter(guard, environ, plans, facts=RunFacts(guard.run, "/nowhere")) as starter,
    ):
        if is_server_gone:
            assert starter._warm_start is not None
            os.killpg(starter._warm_start.session, signal.SIGKILL)
        stage = Stage(starter, eventually)
        stage.folder = str(folder)
        # Whatever begins with PYTHON is read at the start of an interpreter only.
        stage.env = () if is_warm else (("PYTHONNODEBUGRANGES", ""),)
        stage.argv = lambda name: (*argv, f"{name}.py") if name in BEHAVIOURS else ("./missing",)
        yield stage


@contextlib.contextmanager
def _fake(folder: Path) -> Iterator[Stage]:
    clock = Clock()
    programs = {name: (behaviour.program,) for name, behaviour in BEHAVIOURS.items()}
    missing = Program(why_not=os.strerror(2))
    starter = FakeStarter(Machine(clock), {**programs, "missing": (missing,)})

    def until(condition: Callable[[], object]) -> None:
        while not condition():
            assert clock.next_ns is not None, "it never comes true"
            clock.pass_until(clock.next_ns)

    stage = Stage(starter, until)
    stage.argv = lambda name: ("./missing",)
    yield stage


STAGES = {
    "plain": lambda folder: _real(folder, is_warm=False),
    "fork server": lambda folder: _real(folder, is_warm=True),
    "fork server gone": lambda folder: _real(folder, is_warm=True, is_server_gone=True),
    "fake": _fake,
}


PARAMETERS = [
    pytest.param(name, marks=() if name == "fake" else pytest.mark.programs) for name in STAGES
]


@pytest.fixture(params=PARAMETERS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with STAGES[request.param](tmp_path) as stage:
        yield stage


def test_lines_and_exit_status_of_a_program_that_ends(stage: Stage):
    process = stage.start("job")

    assert process.is_running
    assert stage.end(process) == ["one", "two", "part"]
    assert (process.is_running, process.exit_status) == (False, 3)
    assert process.usage.peak_nbytes > 0
    assert process.ending().text == "failed: exit status 3"


def test_lines_are_read_as_they_come_and_the_end_of_the_output_is_seen(stage: Stage):
    process = stage.start("job")
    lines: list[str] = []

    def has_closed() -> bool:
        if not process.has_closed_output:
            lines.extend(process.read_lines())
        return process.has_closed_output

    stage.until(has_closed)

    assert lines == ["one", "two"]
    assert stage.end(process) == ["part"]


def test_ready_is_told_by_number(stage: Stage):
    process = stage.start("node")
    stage.until(lambda: "reads_events" in stage.kinds())

    assert stage.statuses == [
        {"process": 0, "kind": "ready"},
        {"process": 0, "kind": "reads_events"},
    ]
    process.push(Rung.KILLED, None)
    stage.end(process)


def test_program_that_a_signal_has_ended(stage: Stage):
    process = stage.start("segfault")

    stage.end(process)

    assert process.ending().text == "failed: SIGSEGV (Segmentation fault)"


@pytest.mark.parametrize(
    ("name", "gentlest", "status", "ending"),
    [
        ("node", Rung.INTERRUPTED, -signal.SIGINT, "stopped (SIGINT)"),
        ("plain", Rung.TERMINATED, -signal.SIGTERM, "stopped (SIGTERM)"),
        ("cleaning", Rung.TERMINATED, 0, "stopped"),
    ],
)
def test_each_program_gets_the_signal_that_its_cleanup_runs_by(
    stage: Stage, name: str, gentlest: Rung, status: int, ending: str
):
    process = stage.start(name)

    assert process.gentlest_rung() is gentlest
    process.push(gentlest, None)
    stage.end(process, is_stopping=True)

    assert process.exit_status == status
    assert process.ending().text == ending
    assert not process.ending().is_failure


def test_deaf_program_is_killed(stage: Stage):
    process = stage.start("deaf")
    process.push(Rung.TOLD, None)
    process.push(Rung.TERMINATED, None)
    assert process.is_running

    process.push(Rung.KILLED, None)
    process.wait()
    process.close_output()

    assert process.exit_status == -signal.SIGKILL
    assert process.ending().text == "killed: it did not stop when told to, nor at SIGTERM"


def test_what_a_node_leaves_in_its_group_is_killed_with_it(stage: Stage):
    process = stage.start("parent")
    (_, child) = stage.starter.kernel.members(process.pid)

    stage.end(process)

    stage.until(lambda: not lives(stage, child.pid))
    assert process.ending().text == "finished"


def test_node_that_was_asked_is_over_when_the_rest_of_its_group_is(stage: Stage):
    process = stage.start("parent")
    (_, child) = stage.starter.kernel.members(process.pid)
    process.push(Rung.TOLD, None)
    stage.until(process.has_exited)

    stage.starter.kernel.look_again()
    assert not process.reap(is_stopping=True)
    assert process.is_lingering
    assert lives(stage, child.pid)
    process.push(process.gentlest_rung(), None)
    stage.end(process, is_stopping=True)

    assert not lives(stage, child.pid)
    assert process.ending().text == "stopped"


def test_program_that_is_not_there_is_named(stage: Stage):
    with pytest.raises(NodeStartError) as caught:
        stage.start("missing")

    assert caught.value.why == "./missing: No such file or directory"


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        (Machine, Kernel),
        (FakeStarter, Starter),
        (FakeMemory, RunMemory),
        (FakeRequester, Requester),
        (FakeConsole, Console),
        (FakeOutput, LineRouter),
        (FakeNotifier, Notifier),
    ],
)
def test_fake_takes_what_the_real_one_takes(fake: type, real: type):
    shared = {name for name in vars(fake) if not name.startswith("_") and hasattr(real, name)}

    for name in shared:
        if callable(getattr(real, name)):
            expected = inspect.signature(getattr(real, name)).parameters.values()
            given = inspect.signature(getattr(fake, name)).parameters.values()
            assert [(one.name, one.kind, one.default) for one in given] == [
                (one.name, one.kind, one.default) for one in expected
            ], name
    assert len(shared) >= 2


def lives(stage: Stage, pid: int) -> bool:
    if isinstance(stage.starter, FakeStarter):
        return stage.starter.kernel.processes[pid].is_alive
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False
