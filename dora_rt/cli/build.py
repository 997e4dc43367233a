"""`dora-rt build`: runs the commands in `build:` of a dataflow's nodes, one after the other."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.cli.run_file import add_file_argument, open_console, read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.descriptor import parse_builds
from dora_rt.descriptor.tree.model import Build
from dora_rt.errors import DescriptorError
from dora_rt.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import name_signal
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.launcher.processes.line_splitter import LineSplitter

_DESCRIPTION = """\
Run the commands in `build:` of the nodes of a dataflow, which install and compile what they need.
Each line is one command, run in the folder of the file, without a shell. `pip` and
`python` are those of the Python that the nodes will run in, which is that of this command."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "all built",
        EXIT_FAILED: "a command failed",
        EXIT_USAGE: "bad file or usage",
        EXIT_INTERRUPTED: "Ctrl-C",
    }
)

_EPILOG = f"""\
examples:
  dora-rt build dataflow.yml            then: dora-launch dataflow.yml
  dora-rt build dataflow.yml --dry-run  only show the commands
  dora-rt build dataflow.yml --uv       with `uv pip` in the place of `pip`

{_EXIT_CODES}

A dataflow file names the commands that this runs: build only files that you trust."""

_READ_NBYTES = 64 * 1024
_PYTHONS = ("python", "python3")
_PIPS = ("pip", "pip3")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument("--uv", action="store_true", help="use `uv pip` in the place of `pip`")
    parser.add_argument("--dry-run", action="store_true", help="show the commands, run nothing")
    parser.add_argument(
        "--strict-types", action="store_true", help="treat types that do not fit as errors"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    descriptor = read_file(
        options.file,
        environ,
        has_strict_types=options.strict_types,
        is_built=False,
        arguments=options.arguments,
    )
    steps = make_steps(parse_builds(descriptor), uses_uv=options.uv)
    with open_console(environ) as console:
        if not steps:
            console.notice(f"nothing to build: no node of {options.file} has a 'build'")
            return EXIT_OK
        if options.dry_run:
            console.notice("\n".join(f"{step.label}: {shlex.join(step.argv)}" for step in steps))
            return EXIT_OK
        folder = options.file.resolve().parent
        failure = run_steps(steps, console, folder=folder, environ=inherited_environ(environ))
    if failure is not None:
        print(
            f"dora-rt: the build of {failure.step.label} failed: `{failure.step.shown}`: "
            f"{failure.why}",
            file=sys.stderr,
        )
        return EXIT_FAILED
    try:
        read_file(options.file, environ, arguments=options.arguments)
    except DescriptorError as error:
        print(f"{error}\ndora-rt: all was built, and still this is wrong", file=sys.stderr)
        return EXIT_FAILED
    print(f"built: dora-launch {options.file}")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a build: `shown` as it is written, `argv` as it is run."""

    label: str
    shown: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed."""

    step: Step
    why: str


def make_steps(
    builds: Sequence[tuple[Build, Sequence[tuple[str, ...]]]], *, uses_uv: bool
) -> list[Step]:
    """Return the commands in order, with `pip` and `python` of the Python that the nodes run in.

    Args:
        builds: each build with its commands.
        uses_uv: whether `uv pip` takes the place of pip.
    """
    return [
        Step(build.label, shlex.join(words), _argv(words, uses_uv=uses_uv), build.env)
        for build, commands in builds
        for words in commands
    ]


def run_steps(
    steps: Sequence[Step], console: Console, *, folder: Path, environ: Mapping[str, str]
) -> Failure | None:
    """Run the steps in order, in the folder of the dataflow file; return the first failure."""
    console.introduce(dict.fromkeys(step.label for step in steps))
    for number, step in enumerate(steps, 1):
        console.notice(f"[{number}/{len(steps)}] {step.label}: {step.shown}")
        began_s = time.monotonic()
        why = _run_step(step, console, folder, {**environ, **dict(step.env)})
        if why is not None:
            return Failure(step, why)
        console.notice(f"[{number}/{len(steps)}] done in {time.monotonic() - began_s:.1f} s")
    return None


def _argv(words: tuple[str, ...], *, uses_uv: bool) -> tuple[str, ...]:
    program, *arguments = words
    if program in _PIPS and uses_uv:
        return ("uv", "pip", *arguments)
    if program in _PIPS:
        return (sys.executable, "-m", "pip", *arguments)
    return (sys.executable if program in _PYTHONS else program, *arguments)


def _run_step(step: Step, console: Console, folder: Path, environ: dict[str, str]) -> str | None:
    """Run one command; return why it failed, or None."""
    environ = {
        "PYTHONUNBUFFERED": "1",
        # For uv, which would look for an environment of its own.
        "UV_PYTHON": sys.executable,
        **environ,
    }
    try:
        child = subprocess.Popen(
            step.argv,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        return f"{step.argv[0]}: {error.strerror}"
    assert child.stdout is not None, "started with a pipe"
    splitter = LineSplitter()
    try:
        with child.stdout:
            while received := os.read(child.stdout.fileno(), _READ_NBYTES):
                for line in splitter.feed(received):
                    console.node_line(step.label, line)
        for line in splitter.end():
            console.node_line(step.label, line)
        status = child.wait()
    except BaseException:
        # Ctrl-C came to it as well; it is not left behind half way.
        child.terminate()
        child.wait()
        raise
    if status < 0:
        return f"ended by {name_signal(-status)}"
    return f"exit status {status}" if status else None


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
