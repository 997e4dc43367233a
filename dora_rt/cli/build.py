"""`dora-rt build`: runs the build commands of a dataflow."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.build_commands import make_steps, run_steps
from dora_rt.cli.verb import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, Verb
from dora_rt.descriptor import parse_builds, read_descriptor
from dora_rt.errors import DescriptorError
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.environ import inherited_environ

_DESCRIPTION = """\
Run what `build:` of the nodes of a dataflow says: installs and compiles what they need. Each
line is a command of its own, run in the folder of the file; no shell reads it. `pip` and
`python` are those of the Python that the nodes will run in, which is that of this command."""

_EPILOG = """\
examples:
  dora-rt build dataflow.yml            then: dora-launch dataflow.yml
  dora-rt build dataflow.yml --dry-run  only show the commands
  dora-rt build dataflow.yml --uv       with `uv pip` in the place of `pip`

exit codes: 0 all built, 1 a command failed, 2 bad file or usage, 130 Ctrl-C

A dataflow file names the commands that this runs: build only files that you trust."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")
    parser.add_argument("--uv", action="store_true", help="use `uv pip` in the place of `pip`")
    parser.add_argument("--dry-run", action="store_true", help="show the commands, run nothing")
    parser.add_argument(
        "--strict-types", action="store_true", help="treat types that do not fit as errors"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    has_colour = sys.stdout.isatty() and "NO_COLOR" not in environ
    with Console(sys.stdout, has_colour=has_colour) as console:
        return _build(options, console, inherited_environ(environ))


def _build(options: argparse.Namespace, console: Console, environ: dict[str, str]) -> int:
    try:
        descriptor = read_descriptor(
            options.file, environ, has_strict_types=options.strict_types, is_built=False
        )
        steps = make_steps(parse_builds(descriptor), uses_uv=options.uv)
    except DescriptorError as error:
        console.drain()
        print(error, file=sys.stderr)
        return EXIT_USAGE
    if not steps:
        console.notice(f"nothing to build: no node of {options.file} has a 'build'")
        return EXIT_OK
    if options.dry_run:
        console.notice("\n".join(f"{step.label}: {shlex.join(step.argv)}" for step in steps))
        return EXIT_OK
    try:
        folder = options.file.resolve().parent
        failure = run_steps(steps, console, folder=folder, environ=environ)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if failure is not None:
        console.drain()
        print(
            f"dora-rt: the build of {failure.step.label} failed: `{failure.step.shown}`: "
            f"{failure.why}",
            file=sys.stderr,
        )
        return EXIT_PROBLEM
    try:
        read_descriptor(options.file, environ)
    except DescriptorError as error:
        console.drain()
        print(f"{error}\ndora-rt: all was built, and still this is wrong", file=sys.stderr)
        return EXIT_PROBLEM
    console.notice(f"built: dora-launch {options.file}")
    return EXIT_OK


VERB = Verb("run the build commands of a dataflow", _DESCRIPTION, _EPILOG, _add_arguments, _run)
