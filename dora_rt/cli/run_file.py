"""Runs a dataflow file with a change that only this run has."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dora_rt.cli.verb import EXIT_ENVIRONMENT, EXIT_OK, EXIT_PROBLEM, EXIT_USAGE
from dora_rt.descriptor import read_descriptor
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.errors import DescriptorError, SharedMemoryError, SharedMemoryFullError
from dora_rt.launcher.launch import launch, show_summary
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.plan.planner import make_plan
from dora_rt.units import duration_s

Change = Callable[[Descriptor, Console], Descriptor]


def add_stop_after(parser: argparse.ArgumentParser) -> None:
    """Add the option `--stop-after`, as dora-launch has it."""
    parser.add_argument(
        "--stop-after",
        type=duration_s,
        metavar="TIME",
        help="stop so long after the start: 10s, 500ms, 5m, 1h30m",
    )


def run_changed(
    file: Path, change: Change, *, environ: Mapping[str, str], stop_after_s: float | None
) -> int:
    """Run a file as dora-launch does, and give the exit code that dora-launch would give.

    Args:
        file: the dataflow file.
        change: gives what is to run in the place of what the file says; may raise DescriptorError.
        environ: the environment.
        stop_after_s: stop it so many seconds after its start.

    Raises:
        LaunchError: the environment does not allow the run.
    """
    is_plain = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
    has_colour = sys.stdout.isatty() and not is_plain
    with Console(sys.stdout, has_colour=has_colour) as console:
        return _run(file, change, console, inherited_environ(environ), stop_after_s)


def _run(
    file: Path,
    change: Change,
    console: Console,
    environ: dict[str, str],
    stop_after_s: float | None,
) -> int:
    try:
        descriptor = change(read_descriptor(file, environ), console)
    except DescriptorError as error:
        console.drain()
        print(error, file=sys.stderr)
        return EXIT_USAGE
    plan = make_plan(descriptor, folder=file.resolve().parent, interpreter=sys.executable)
    try:
        outcome = launch(plan, console, environ=environ, stop_after_s=stop_after_s, log_folder=None)
    except (SharedMemoryError, SharedMemoryFullError, PermissionError) as error:
        console.drain()
        print(f"dora-rt: {error}", file=sys.stderr)
        return EXIT_ENVIRONMENT
    show_summary(outcome, console)
    if outcome.interrupted_by is not None:
        return 128 + outcome.interrupted_by
    return EXIT_PROBLEM if outcome.report.failures else EXIT_OK


def free_id(wanted: str, descriptor: Descriptor) -> str:
    """Give a node's id that the dataflow does not use yet."""
    taken = {node.id for node in descriptor.nodes}
    candidates = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)


def whole_path(path: Path) -> str:
    """Give a path that means the same in the folder of the dataflow file, where nodes run."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute() keeps `..`
