"""From a plan to a finished run: shared memory made, nodes supervised, everything removed."""

from __future__ import annotations

import secrets

from dora_rt.console import Console
from dora_rt.memory import RunMemory
from dora_rt.plan import Plan
from dora_rt.process import Starter
from dora_rt.signals import recorded_signals
from dora_rt.supervisor import Outcome, Supervisor


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
        LaunchError: a program cannot be executed.
        SharedMemoryFullError: /dev/shm has no room.
    """
    run = secrets.token_hex(4)
    console.introduce(process.name for process in plan.processes)
    stop_after_ns = None if stop_after_s is None else int(stop_after_s * 1e9)
    with (
        recorded_signals() as signals,
        RunMemory.create(plan, run) as memory,
        Starter(run, environ) as starter,
    ):
        supervisor = Supervisor(plan, memory, console, signals, stop_after_ns=stop_after_ns)
        return supervisor.run(starter)
