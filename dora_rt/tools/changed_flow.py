"""Runs a dataflow file with a change that only this run has."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dora_rt.control.console import Console
from dora_rt.control.environ import inherited_environ
from dora_rt.control.launcher import launch
from dora_rt.control.planner import make_plan
from dora_rt.control.summary import render
from dora_rt.descriptor import read_descriptor
from dora_rt.descriptor.model import Descriptor
from dora_rt.errors import DescriptorError, SharedMemoryError, SharedMemoryFullError
from dora_rt.tools.verb import EXIT_ENVIRONMENT, EXIT_OK, EXIT_PROBLEM, EXIT_USAGE

_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

Change = Callable[[Descriptor, Console], Descriptor]


def add_stop_after(parser: argparse.ArgumentParser) -> None:
    """Add the option `--stop-after`, as dora-launch has it."""
    parser.add_argument(
        "--stop-after",
        type=_duration_s,
        metavar="TIME",
        help="stop so long after the start: 10s, 500ms, 5m, 1h",
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
    inherited = inherited_environ(environ)
    is_plain = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
    console = Console(sys.stdout, has_colour=sys.stdout.isatty() and not is_plain)
    try:
        descriptor = change(read_descriptor(file, inherited), console)
    except DescriptorError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    plan = make_plan(descriptor, folder=file.resolve().parent, interpreter=sys.executable)
    try:
        outcome = launch(
            plan, console, environ=inherited, stop_after_s=stop_after_s, log_folder=None
        )
    except (SharedMemoryError, SharedMemoryFullError, PermissionError) as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        return EXIT_ENVIRONMENT
    console.notice("\n" + render(outcome.report))
    if outcome.interrupted_by is not None:
        return 128 + outcome.interrupted_by
    return EXIT_PROBLEM if outcome.report.failures else EXIT_OK


def free_id(wanted: str, descriptor: Descriptor) -> str:
    """Give a node's id that the dataflow does not use yet."""
    taken = {node.id for node in descriptor.nodes}
    candidates = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)


def _duration_s(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in _UNITS_S or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time above 0: write 10s, 500ms, 5m or 1h"
        )
    return float(match[1]) * _UNITS_S[match[2]]


def whole_path(path: Path) -> str:
    """Give a path that means the same in the folder of the dataflow file, where nodes run."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute() keeps `..`
