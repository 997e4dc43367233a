"""`dora-rt check`: checks a dataflow file, and says what would run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.cli.run_file import add_file_argument, add_machine_arguments, plan_file, read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_OK, EXIT_USAGE
from dora_rt.plan.kernel_need import find_footprints
from dora_rt.plan.memory_need import find_need
from dora_rt.plan.plan import Plan, outline
from dora_rt.units import counted, size

_DESCRIPTION = """\
Check a dataflow file: list every mistake with its line and column, and what would run. Nothing is
started; `dora-rt doctor FILE` also checks whether it fits this machine."""

_EXIT_CODES = exit_codes_help({EXIT_OK: "it is fine", EXIT_USAGE: "it is not"})

_EPILOG = f"""\
examples:
  dora-rt check dataflow.yml
  dora-rt check dataflow.yml --strict-types
  dora-rt check dataflow.yml --machine robot    what runs on one of several machines

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument(
        "--strict-types", action="store_true", help="treat types that do not fit as errors"
    )
    add_machine_arguments(parser)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    plan = show_outline(
        options.file,
        environ,
        options.arguments,
        has_strict_types=options.strict_types,
        machine=options.machine,
        robot=options.robot,
    )
    need = find_need(plan)
    growing = sum(not output.slot_nbytes for output in need.outputs)
    later = f", and what {counted(growing, 'output')} without slot_bytes" if growing else ""
    sends = "" if not growing else " sends" if growing == 1 else " send"
    print(f"shared memory at the start: {size(need.nbytes)}{later}{sends}")
    footprints = find_footprints(plan)
    if footprints.nodes:
        largest = footprints.largest
        print(
            f"{counted(footprints.tasks, 'process')}; {counted(need.objects, 'shared object')}"
            f"{_up_to(need.objects, need.objects + need.most_tokens)}; mappings in the largest "
            f"node, {largest.name}: {largest.mappings:,}"
            f"{_up_to(largest.mappings, largest.most_mappings)}"
        )
    return EXIT_OK


def show_outline(
    file: Path,
    environ: Mapping[str, str],
    arguments: Sequence[str] = (),
    *,
    has_strict_types: bool,
    machine: str | None = None,
    robot: str | None = None,
) -> Plan:
    """Print the notes about a dataflow file and what would run; return the plan.

    Raises:
        DescriptorError: the file has problems.
        UsageError: it has no such machine.
        LaunchError: the certificates of this machine are missing.
    """
    descriptor = read_file(
        file, environ, has_strict_types=has_strict_types, machine=machine, arguments=arguments
    )
    for note in descriptor.notes:
        print(f"note: {note}")
    plan = plan_file(file, descriptor, environ, machine=machine, robot=robot)
    print(outline(plan))
    return plan


def _up_to(least: int, most: int) -> str:
    return f", up to {most:,}" if most > least else ""


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
