"""From a plan to a finished run: make shared memory, supervise the nodes, remove everything."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dora_rt import __version__
from dora_rt.errors import LaunchError, SharedMemoryFullError
from dora_rt.launcher.cleanup.guard import RunGuard
from dora_rt.launcher.cleanup.run_directory import Manifest, has_run, new_run_name, reclaim
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.log_files import (
    LOG_FILES,
    LOG_NBYTES,
    LogLimit,
    NodeLogs,
    keep_logs,
    kept_logs_folder,
)
from dora_rt.launcher.node_output.router import LineRouter
from dora_rt.launcher.perfetto import write_trace
from dora_rt.launcher.preconditions import (
    check_limits,
    check_shared_memory,
    find_limits,
)
from dora_rt.launcher.processes.companion import Companion
from dora_rt.launcher.processes.environ import COMPAT_FOLDER, NOTIFY_VARIABLE
from dora_rt.launcher.processes.keyboard import open_keyboard
from dora_rt.launcher.processes.starter import Starter
from dora_rt.launcher.requests import RequestSocket
from dora_rt.launcher.signals import recorded_signals, without_suspension
from dora_rt.launcher.summary import render
from dora_rt.launcher.supervision.run_parts import Run
from dora_rt.launcher.supervision.supervisor import Outcome, Supervisor
from dora_rt.launcher.systemd_notify import Notifier
from dora_rt.launcher.trace_options import TraceOptions
from dora_rt.node_config import RunFacts
from dora_rt.plan.memory_need import check_room, most_note, room_note
from dora_rt.plan.plan import Plan
from dora_rt.runs import base_folder, check_proc, namespace_of
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, find_room
from dora_rt.watchers import has_watchers

_ATTEMPTS = 5
_LAST_WORDS_S = 2.0


def launch(
    plan: Plan,
    console: Console,
    *,
    environ: dict[str, str],
    stop_after_s: float | None,
    log_folder: Path | None,
    has_dora_compat: bool = True,
    companions: Sequence[Sequence[str]] = (),
    tracing: TraceOptions | None = None,
) -> Outcome:
    """Run a plan to its end; main thread only.

    Args:
        plan: what to run.
        console: where the lines of the nodes go.
        environ: the environment that the nodes inherit.
        stop_after_s: stop this many seconds after the first input could flow.
        log_folder: where the log files stay; None: in the run directory, and kept elsewhere if a
            node fails.
        has_dora_compat: whether `import dora` in the nodes is what this package has.
        companions: programs that look at the run and end with it; each gets the run's name as its
            last argument.
        tracing: which traces and spans the nodes record; None: none.

    Raises:
        LaunchError: a program cannot be executed, or the environment does not allow the run.
        SharedMemoryFullError: /dev/shm has no room.
    """
    check_proc()
    check_shared_memory()
    tracing = tracing or TraceOptions()
    base = base_folder(environ)
    notifier = Notifier(environ)
    environ = {name: value for name, value in environ.items() if name != NOTIFY_VARIABLE}
    for reclaimed in reclaim(base):
        console.notice(str(reclaimed))
    _note_needs(plan, console)
    console.introduce(process.name for process in plan.processes)
    compat = COMPAT_FOLDER if has_dora_compat else None
    stop_after_ns = None if stop_after_s is None else int(stop_after_s * 1e9)
    # In this order, so that the reaper of a killed launcher knows of everything that exists.
    with recorded_signals() as signals, _guarded(plan, base, environ) as guard:
        folder = log_folder or guard.directory.logs
        guard.describe(plan.description)
        facts = _facts(guard, tracing)
        with contextlib.ExitStack() as stack:
            memory = stack.enter_context(_make_memory(plan, guard.run))
            requests = stack.enter_context(_open_requests(guard))
            keyboard, why_none = open_keyboard(plan.processes)
            if why_none is not None:
                console.alarm(why_none)
            if keyboard is not None:
                stack.enter_context(without_suspension(signals))
            starter = stack.enter_context(
                Starter(
                    guard,
                    environ,
                    plan.processes,
                    facts=facts,
                    compat=compat,
                    keyboard=keyboard,
                )
            )
            limits = _log_limits(plan)
            logs = stack.enter_context(NodeLogs(folder, warn=console.alarm, limits=limits))
            for argv in companions:
                stack.enter_context(Companion.start([*argv, guard.run], guard, environ))
            if log_folder is None:
                logs.create(process.name for process in plan.processes)
            output = _open_output(plan, console, logs)
            run = Run.of(plan, memory, starter, console, output, notifier)
            supervisor = Supervisor(
                run,
                signals,
                requests,
                stop_after_ns=stop_after_ns,
                is_watched=lambda: has_watchers(guard.directory.path),
            )
            outcome = supervisor.run()
        if tracing.trace is not None:
            began_ns = run.barrier.began_ns
            outcome = _with_trace(outcome, plan, guard, tracing.trace, began_ns, console)
        if outcome.report.failures and folder.is_dir():
            kept = folder if log_folder is not None else _keep(folder, guard.run, environ, console)
            if kept is not None:
                outcome = replace(outcome, report=replace(outcome.report, log_folder=str(kept)))
    # A signal that came when the supervisor had ended has nothing left to stop, and still counts.
    return replace(outcome, interrupted_by=outcome.interrupted_by or signals.untaken)


def show_summary(outcome: Outcome, console: Console) -> None:
    """Show the summary of a run, and wait until it was read; the run itself is gone by then.

    A program that ends a run by SIGTERM or SIGHUP waits for its end, and often nobody reads.
    """
    console.notice("\n" + render(outcome.report))
    is_urgent = outcome.interrupted_by in (signal.SIGTERM, signal.SIGHUP)
    console.drain(_LAST_WORDS_S if is_urgent else None)


def _note_needs(plan: Plan, console: Console) -> None:
    """Compare what a plan needs with what this machine has, and tell what may become too little."""
    notes = check_limits(plan, find_limits())
    room = find_room()
    if note := room_note(room):
        console.notice(f"note: {note}")
    check_room(plan, room)
    if note := most_note(plan, room):
        notes.append(note)
    for note in notes:
        console.notice(f"note: {note}")


def _facts(guard: RunGuard, tracing: TraceOptions) -> RunFacts:
    return RunFacts(
        guard.run,
        str(guard.directory.description),
        trace_path=None if tracing.trace is None else str(guard.make_trace()),
        has_spans=tracing.has_spans,
    )


def _with_trace(
    outcome: Outcome, plan: Plan, guard: RunGuard, path: Path, began_ns: int, console: Console
) -> Outcome:
    try:
        trace = write_trace(plan, guard.directory.trace, path, began_ns=began_ns)
    except OSError as error:
        console.alarm(f"the trace cannot be written: {error}")
        return outcome
    return replace(outcome, report=replace(outcome.report, trace=trace))


def _keep(folder: Path, run: str, environ: dict[str, str], console: Console) -> Path | None:
    try:
        return keep_logs(folder, kept_logs_folder(environ), run)
    except OSError as error:
        console.alarm(f"the logs of this run cannot be kept: {error}")
        return None


def _log_limits(plan: Plan) -> dict[str, LogLimit]:
    limits = {}
    for process in plan.processes:
        nbytes, rotated = process.logging.file_nbytes, process.logging.rotated_files
        limits[process.name] = LogLimit(
            LOG_NBYTES if nbytes is None else nbytes, LOG_FILES if rotated is None else rotated + 1
        )
    return limits


def _open_output(plan: Plan, console: Console, logs: NodeLogs) -> LineRouter:
    least = {process.name: process.logging.min_level for process in plan.processes}
    relay = None if plan.relay is None else plan.processes[plan.relay].name
    return LineRouter(console, logs, least=least, relay=relay)


def _open_requests(guard: RunGuard) -> RequestSocket:
    try:
        return RequestSocket.open(guard.lock_fd)
    except OSError as error:
        raise LaunchError(
            f"the socket of the run cannot be made in {guard.directory.path}: {error.strerror}"
        ) from error


def _make_memory(plan: Plan, run: str) -> RunMemory:
    try:
        return RunMemory.create(plan, run)
    except SharedMemoryFullError:
        # Somebody took it between the look and now.
        check_room(plan, find_room())
        raise


def _guarded(plan: Plan, base: Path, environ: dict[str, str]) -> RunGuard:
    namespace = namespace_of(environ)
    for _ in range(_ATTEMPTS):
        run = new_run_name(namespace)
        # Objects of this name belong to another run, and would be removed with this one.
        if has_run(base, run):
            continue
        manifest = Manifest(
            run=run,
            file=str(Path(plan.file).absolute()),
            launcher_pid=os.getpid(),
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            version=__version__,
            processes=tuple(process.name for process in plan.processes),
        )
        with contextlib.suppress(FileExistsError):
            return RunGuard.create(base, manifest, environ=environ)
    raise LaunchError(
        f"{_ATTEMPTS} random names for the run were all taken: somebody fills {SHM_DIRECTORY} or "
        f"{base} with objects of such names"
    )
