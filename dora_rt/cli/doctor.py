"""`dora-rt doctor`: says what this machine lacks to run dataflows well."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.run_file import add_assignments, plan_file, read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.doctor.checks import (
    Finding,
    Level,
    examine,
    examine_plan,
    findings_as_json,
    is_healthy,
    render_findings,
)
from dora_rt.doctor.machine import find_interpreters, find_machine
from dora_rt.doctor.network_checks import examine_network, find_network_settings
from dora_rt.doctor.opencv_repair import repair_opencv
from dora_rt.errors import ExtraMissingError, LaunchError
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.launcher.cleanup.leftovers import find_objects
from dora_rt.launcher.cleanup.run_directory import find_living
from dora_rt.runs import base_folder, namespace_of

_DESCRIPTION = """\
Look at this machine: Python and packages, shared memory, cameras, display, what runs the
models, links to other machines. Each finding comes with a way out."""

_EXIT_CODES = exit_codes_help(
    {EXIT_OK: "no problem", EXIT_FAILED: "a problem", EXIT_USAGE: "bad file or usage"}
)

_EPILOG = f"""\
examples:
  dora-rt doctor                      the machine
  dora-rt doctor launch/dataflow.yml  and whether this dataflow fits it
  dora-rt doctor flow.yml --machine robot   and whether this machine's part of it does
  dora-rt doctor --json               for programs
  dora-rt doctor --repair-opencv      mend an OpenCV that cannot be imported

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="also look at what this dataflow needs"
    )
    add_assignments(parser)
    parser.add_argument(
        "--machine", metavar="NAME", help="of a FILE with `machines:`, only what runs on this one"
    )
    parser.add_argument(
        "--repair-opencv",
        action="store_true",
        help="where OpenCV cannot be imported, or is there twice: install one that works, by pip",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if options.repair_opencv:
        return EXIT_OK if repair_opencv(print) else EXIT_FAILED
    living = {manifest.run for manifest in find_living(base_folder(environ))}
    dead_runs = {entry.run for entry in find_objects(namespace_of(environ))} - living
    machine = find_machine(environ, dead_runs=dead_runs)
    descriptor = None
    if options.file is not None:
        descriptor = read_file(
            options.file, environ, machine=options.machine, arguments=options.arguments
        )
    findings = examine(machine)
    is_spread = descriptor is not None and descriptor.machines is not None
    findings += examine_network(find_network_settings(), is_needed=is_spread)
    if descriptor is not None:
        try:
            plan = plan_file(
                options.file, descriptor, environ, machine=options.machine, is_started=True
            )
        except (ExtraMissingError, LaunchError) as error:
            # Its part of the dataflow would not start; the other findings may say why.
            text, _, remedy = str(error).partition(": ")
            findings.append(Finding(Level.PROBLEM, f"machine {options.machine}", text, remedy))
            descriptor = None
    if descriptor is not None:
        findings += examine_plan(plan, machine, find_interpreters(plan))
    print(findings_as_json(findings) if options.json else render_findings(findings))
    return EXIT_OK if is_healthy(findings) else EXIT_FAILED


VERB = Verb(
    _DESCRIPTION,
    _EPILOG,
    _add_arguments,
    _run,
)
