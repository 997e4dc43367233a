"""From a plan to a finished run: shared memory made, nodes supervised, everything removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from dora_rt import __version__
from dora_rt.console import Console
from dora_rt.errors import LaunchError
from dora_rt.guard import RunGuard
from dora_rt.limits import check_open_files
from dora_rt.memory import RunMemory
from dora_rt.plan import Plan
from dora_rt.process import Starter
from dora_rt.rundir import Manifest, base_folder, has_run, reclaim
from dora_rt.shm import SHM_DIRECTORY
from dora_rt.signals import recorded_signals
from dora_rt.supervisor import Outcome, Supervisor

_ATTEMPTS = 5


def launch(
    plan: Plan, console: Console, *, environ: dict[str, str], stop_after_s: float | None
) -> Outcome:
    """Run a plan to its end; main thread only.

    Args:
        plan: what to run.
        console: where the lines of the nodes go.
        environ: the environment that the nodes inherit.
        stop_after_s: stop this many seconds after the first input could flow.

    Raises:
        LaunchError: a program cannot be executed, or the environment does not allow the run.
        SharedMemoryFullError: /dev/shm has no room.
    """
    base = base_folder(environ)
    for reclaimed in reclaim(base):
        console.notice(str(reclaimed))
    check_open_files(len(plan.processes))
    console.introduce(process.name for process in plan.processes)
    stop_after_ns = None if stop_after_s is None else int(stop_after_s * 1e9)
    # In this order, so that whatever exists is known to those who clean up after a killed launcher.
    with (
        recorded_signals() as signals,
        _guarded(plan, base, environ) as guard,
        RunMemory.create(plan, guard.run) as memory,
        Starter(guard, environ) as starter,
    ):
        supervisor = Supervisor(plan, memory, console, signals, stop_after_ns=stop_after_ns)
        return supervisor.run(starter)


def _guarded(plan: Plan, base: Path, environ: dict[str, str]) -> RunGuard:
    for _ in range(_ATTEMPTS):
        run = secrets.token_hex(4)
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
