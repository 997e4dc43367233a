"""The command `dora-rt`: what one asks when no dataflow is to be run."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dora_rt import __version__
from dora_rt.control.building import make_steps, run_steps
from dora_rt.control.console import Console
from dora_rt.control.doctor import (
    examine,
    examine_plan,
    findings_as_json,
    is_healthy,
    render_findings,
)
from dora_rt.control.environ import inherited_environ
from dora_rt.control.leftovers import find_objects, unlink_objects
from dora_rt.control.machine import find_interpreters, find_machine
from dora_rt.control.planner import make_plan
from dora_rt.control.rundir import Stray, find_living, find_strays, reclaim
from dora_rt.descriptor import expand_dataflow, parse_builds, read_descriptor
from dora_rt.errors import DescriptorError, LaunchError
from dora_rt.graph import verb as graph
from dora_rt.runs import base_folder

EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, EXIT_ENVIRONMENT, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

_CLEAN = """\
Remove the shared memory and the run directories of runs that died: of which not one
process is left. Every dora-launch does the same when it starts."""

_CLEAN_EPILOG = """\
examples:
  dora-rt clean            clean up after a crash
  dora-rt clean --strays   also remove objects that belong to no run directory

A run that lives is never touched, and told. Objects without a run directory are only told,
because their run may live in a container that shares /dev/shm with this machine; --strays
removes them if no process that can be seen from here maps them."""


_DOCTOR = """\
Look at this machine: Python and packages, shared memory, cameras, display, what runs the
models. Each finding comes with a way out."""

_DOCTOR_EPILOG = """\
examples:
  dora-rt doctor                      the machine
  dora-rt doctor launch/dataflow.yml  and whether this dataflow fits it
  dora-rt doctor --json               for programs

exit codes: 0 no problem, 1 a problem, 2 bad file or usage"""


_BUILD = """\
Run what `build:` of the nodes of a dataflow says: installs and compiles what they need. Each
line is a command of its own, run in the folder of the file; no shell reads it. `pip` and
`python` are those of the Python that the nodes will run in, which is that of this command."""

_BUILD_EPILOG = """\
examples:
  dora-rt build dataflow.yml            then: dora-launch dataflow.yml
  dora-rt build dataflow.yml --dry-run  only show the commands
  dora-rt build dataflow.yml --uv       with `uv pip` in the place of `pip`

exit codes: 0 all built, 1 a command failed, 2 bad file or usage, 130 Ctrl-C

A dataflow file names the commands that this runs: build only files that you trust."""

_EXPAND = """\
Print a dataflow with its modules written out, as dora-launch sees it."""

_EXPAND_EPILOG = """\
exit codes: 0 well, 2 bad file or usage"""


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that the command can do."""

    summary: str
    description: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        print(_say_unknown(words[0]), file=sys.stderr)
        sys.exit(EXIT_USAGE)
    options = _parser().parse_args(words)
    try:
        sys.exit(VERBS[options.verb].run(options, os.environ))
    except LaunchError as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)


def _say_unknown(verb: str) -> str:
    close = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(VERBS)}"
    return f"dora-rt: there is no verb {verb!r}; {hint} (dora-rt --help)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dora-rt", description="Look after dora_rt on this machine.")
    parser.add_argument("--version", action="version", version=f"dora_rt {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verb.add_arguments(
            verbs.add_parser(
                name,
                help=verb.summary,
                description=verb.description,
                epilog=verb.epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser


def _add_clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strays", action="store_true", help="also remove objects that have no run directory"
    )


def _clean(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    base = base_folder(environ)
    lines = [str(reclaimed) for reclaimed in reclaim(base)]
    for manifest in find_living(base):
        lines.append(
            f"left alone: run {manifest.run} is alive ({manifest.file}, launcher "
            f"{manifest.launcher_pid}, since {manifest.started})"
        )
    lines += [_treat(stray, removes=options.strays) for stray in find_strays(base)]
    print("\n".join(lines or ["nothing to clean up"]))
    return EXIT_OK


def _treat(stray: Stray, *, removes: bool) -> str:
    if stray.is_mapped:
        return f"left alone: {stray}: a process maps them"
    if not removes:
        return f"left alone: {stray}: no process maps them (dora-rt clean --strays removes them)"
    unlink_objects(entry for entry in find_objects() if entry.run == stray.run)
    return f"removed {stray}: no process mapped them"


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="also look at what this dataflow needs"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    living = {manifest.run for manifest in find_living(base_folder(environ))}
    dead_runs = {entry.run for entry in find_objects()} - living
    machine = find_machine(environ, dead_runs=dead_runs)
    findings = examine(machine)
    if options.file is not None:
        try:
            descriptor = read_descriptor(options.file, environ)
        except DescriptorError as error:
            print(error, file=sys.stderr)
            return EXIT_USAGE
        folder = options.file.resolve().parent
        plan = make_plan(descriptor, folder=folder, interpreter=sys.executable)
        findings += examine_plan(plan, machine, find_interpreters(plan))
    print(findings_as_json(findings) if options.json else render_findings(findings))
    return EXIT_OK if is_healthy(findings) else EXIT_PROBLEM


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")
    parser.add_argument("--uv", action="store_true", help="use `uv pip` in the place of `pip`")
    parser.add_argument("--dry-run", action="store_true", help="show the commands, run nothing")
    parser.add_argument(
        "--strict-types", action="store_true", help="treat types that do not fit as errors"
    )


def _build(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    environ = inherited_environ(environ)
    console = Console(sys.stdout, has_colour=sys.stdout.isatty() and "NO_COLOR" not in environ)
    try:
        descriptor = read_descriptor(
            options.file, environ, has_strict_types=options.strict_types, is_built=False
        )
        steps = make_steps(parse_builds(descriptor), uses_uv=options.uv)
    except DescriptorError as error:
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
        print(
            f"dora-rt: the build of {failure.step.label} failed: `{failure.step.shown}`: "
            f"{failure.why}",
            file=sys.stderr,
        )
        return EXIT_PROBLEM
    try:
        read_descriptor(options.file, environ)
    except DescriptorError as error:
        print(f"{error}\ndora-rt: all was built, and still this is wrong", file=sys.stderr)
        return EXIT_PROBLEM
    console.notice(f"built: dora-launch {options.file}")
    return EXIT_OK


def _add_expand_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")


def _expand(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        print(expand_dataflow(options.file), end="")
    except DescriptorError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


VERBS: Mapping[str, Verb] = {
    "build": Verb(
        "run the build commands of a dataflow", _BUILD, _BUILD_EPILOG, _add_build_arguments, _build
    ),
    "clean": Verb(
        "remove what dead runs left behind", _CLEAN, _CLEAN_EPILOG, _add_clean_arguments, _clean
    ),
    "doctor": Verb(
        "tell what this machine lacks to run dataflows well",
        _DOCTOR,
        _DOCTOR_EPILOG,
        _add_doctor_arguments,
        _doctor,
    ),
    "expand": Verb(
        "print a dataflow with its modules written out",
        _EXPAND,
        _EXPAND_EPILOG,
        _add_expand_arguments,
        _expand,
    ),
    "graph": Verb(
        "print a dataflow or a run as a picture",
        graph.DESCRIPTION,
        graph.EPILOG,
        graph.add_arguments,
        graph.run,
    ),
}
