"""`dora-rt check`: checks a dataflow file, and says what would run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.layout import size
from dora_rt.cli.verb import EXIT_OK, EXIT_USAGE, Verb
from dora_rt.descriptor import read_descriptor
from dora_rt.errors import DescriptorError
from dora_rt.launcher.processes.environ import inherited_environ
from dora_rt.plan.kernel_need import find_footprints
from dora_rt.plan.memory_need import find_need
from dora_rt.plan.plan import outline
from dora_rt.plan.planner import make_plan
from dora_rt.units import counted

_DESCRIPTION = """\
Check a dataflow file: tell every mistake with its line and column, and what would run. Nothing is
started; `dora-rt doctor FILE` also looks whether it fits this machine."""

_EPILOG = """\
examples:
  dora-rt check dataflow.yml
  dora-rt check dataflow.yml --strict-types

exit codes: 0 it is fine, 2 it is not"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")
    parser.add_argument(
        "--strict-types", action="store_true", help="treat types that do not fit as errors"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        descriptor = read_descriptor(
            options.file, inherited_environ(environ), has_strict_types=options.strict_types
        )
    except DescriptorError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    for note in descriptor.notes:
        print(f"note: {note}")
    plan = make_plan(descriptor, folder=options.file.resolve().parent, interpreter=sys.executable)
    print(outline(plan))
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


def _up_to(least: int, most: int) -> str:
    return f", up to {most:,}" if most > least else ""


VERB = Verb("check a dataflow file", _DESCRIPTION, _EPILOG, _add_arguments, _run)
