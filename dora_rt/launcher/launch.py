"""From a plan to a finished run: shared memory made, nodes supervised, everything removed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
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
from dora_rt.launcher.node_output.router import Output
from dora_rt.launcher.perfetto import write_trace
from dora_rt.launcher.preconditions import (
    check_limits,
    check_shared_memory,
    find_limits,
)
from dora_rt.launcher.processes.companion import Companion
from dora_rt.launcher.processes.environ import COMPAT_FOLDER, NOTIFY_VARIABLE
from dora_rt.launcher.processes.starter import Starter
from dora_rt.launcher.requests import RequestSocket
from dora_rt.launcher.signals import recorded_signals
from dora_rt.launcher.summary import render
from dora_rt.launcher.supervision.supervisor import Outcome, Supervisor
from dora_rt.launcher.systemd_notify import Notifier
from dora_rt.launcher.trace_options import Watching
from dora_rt.node_config import RunLinks
from dora_rt.plan.memory_need import check_room, most_note, room_note
from dora_rt.plan.plan import Plan
from dora_rt.runs import base_folder, check_proc, namespace_of
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, find_room

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
    watching: Watching | None = None,
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
        watching: what to record of what the nodes do; None: nothing.

    Raises:
        LaunchError: a program cannot be executed, or the environment does not allow the run.
        SharedMemoryFullError: /dev/shm has no room.
    """
    check_proc()
    check_shared_memory()
    watching = watching or Watching()
    base = base_folder(environ)
    notifier = Notifier(environ)
    environ = {name: value for name, value in environ.items() if name != NOTIFY_VARIABLE}
    for reclaimed in reclaim(base):
        console.notice(str(reclaimed))
    notes = check_limits(plan, find_limits())
    console.introduce(process.name for process in plan.processes)
    stop_after_ns = None if stop_after_s is None else int(stop_after_s * 1e9)
    room = find_room()
    if note := room_note(room):
        console.notice(f"note: {note}")
    check_room(plan, room)
    if note := most_note(plan, room):
        notes.append(note)
    for note in notes:
        console.notice(f"note: {note}")
    # In this order, so that whatever exists is known to those who clean up after a killed launcher.
    with recorded_signals() as signals, _guarded(plan, base, environ) as guard:
        folder = log_folder or guard.directory.logs
        guard.describe(plan.description)
        compat = COMPAT_FOLDER if has_dora_compat else None
        links = _links(guard, watching)
        with (
            _make_memory(plan, guard.run) as memory,
            _open_requests(guard) as requests,
            Starter(guard, environ, plan.processes, links=links, compat=compat) as starter,
            NodeLogs(folder, warn=console.alarm, limits=_log_limits(plan)) as logs,
            _accompanied(companions, guard, environ),
        ):
            if log_folder is None:
                logs.create(process.name for process in plan.processes)
            least = {process.name: process.logging.min_level for process in plan.processes}
            relay = None if plan.relay is None else plan.processes[plan.relay].name
            output = Output(console, logs, least=least, relay=relay)
            supervisor = Supervisor(
                plan, memory, console, output, signals, notifier, stop_after_ns=stop_after_ns
            )
            began_ns = time.monotonic_ns()
            outcome = supervisor.run(starter, requests)
        if watching.trace is not None:
            outcome = _with_trace(outcome, plan, guard, watching.trace, began_ns, console)
        if outcome.report.failures and folder.is_dir():
            kept = folder if log_folder is not None else _keep(folder, guard.run, environ, console)
            if kept is not None:
                outcome = replace(outcome, report=replace(outcome.report, log_folder=str(kept)))
    # A signal that came when the supervisor had ended has nothing left to stop, and still counts.
    return replace(outcome, interrupted_by=outcome.interrupted_by or signals.untaken)


def show_summary(outcome: Outcome, console: Console) -> None:
    """Show how the run went, and wait until it was read: nothing is left of the run meanwhile.

    Who ends a run by SIGTERM or SIGHUP waits for its end, and may well have nobody who reads.
    """
    console.notice("\n" + render(outcome.report))
    is_urgent = outcome.interrupted_by in (signal.SIGTERM, signal.SIGHUP)
    console.drain(_LAST_WORDS_S if is_urgent else None)


@contextlib.contextmanager
def _accompanied(
    companions: Sequence[Sequence[str]], guard: RunGuard, environ: dict[str, str]
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for argv in companions:
            stack.enter_context(Companion.start([*argv, guard.run], guard, environ))
        yield


def _links(guard: RunGuard, watching: Watching) -> RunLinks:
    return RunLinks(
        guard.run,
        str(guard.directory.description),
        trace_path=None if watching.trace is None else str(guard.make_trace()),
        has_spans=watching.has_spans,
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
        # What is there of this name is somebody else's, and would be removed with the run.
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
