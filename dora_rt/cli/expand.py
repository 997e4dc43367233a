"""`dora-rt expand`: prints a dataflow with its modules written out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.verb import EXIT_OK, EXIT_USAGE, Verb
from dora_rt.descriptor import expand_dataflow
from dora_rt.errors import DescriptorError

_DESCRIPTION = """\
Print a dataflow with its modules written out, as dora-launch sees it."""

_EPILOG = """\
example:
  dora-rt expand dataflow.yml

exit codes: 0 well, 2 bad file or usage"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        print(expand_dataflow(options.file), end="")
    except DescriptorError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


VERB = Verb(
    "print a dataflow with its modules written out", _DESCRIPTION, _EPILOG, _add_arguments, _run
)
