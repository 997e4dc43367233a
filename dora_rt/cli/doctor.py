"""`dora-rt doctor`: tells what this machine lacks to run dataflows well."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.verb import EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, Verb
from dora_rt.descriptor import read_descriptor
from dora_rt.doctor.checks import (
    examine,
    examine_plan,
    findings_as_json,
    is_healthy,
    render_findings,
)
from dora_rt.doctor.machine import find_interpreters, find_machine
from dora_rt.errors import DescriptorError
from dora_rt.launcher.cleanup.leftovers import find_objects
from dora_rt.launcher.cleanup.run_directory import find_living
from dora_rt.plan.planner import make_plan
from dora_rt.runs import base_folder, namespace_of

_DESCRIPTION = """\
Look at this machine: Python and packages, shared memory, cameras, display, what runs the
models. Each finding comes with a way out."""

_EPILOG = """\
examples:
  dora-rt doctor                      the machine
  dora-rt doctor launch/dataflow.yml  and whether this dataflow fits it
  dora-rt doctor --json               for programs

exit codes: 0 no problem, 1 a problem, 2 bad file or usage"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="also look at what this dataflow needs"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    living = {manifest.run for manifest in find_living(base_folder(environ))}
    dead_runs = {entry.run for entry in find_objects(namespace_of(environ))} - living
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


VERB = Verb(
    "tell what this machine lacks to run dataflows well",
    _DESCRIPTION,
    _EPILOG,
    _add_arguments,
    _run,
)
