"""`dora-rt expand`: prints a dataflow with its modules written out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.descriptor import expand_dataflow
from dora_rt.exit_codes import EXIT_OK, EXIT_USAGE

_DESCRIPTION = """\
Print a dataflow with its modules written out, as dora-launch sees it."""

_EXIT_CODES = exit_codes_help({EXIT_OK: "well", EXIT_USAGE: "bad file or usage"})

_EPILOG = f"""\
example:
  dora-rt expand dataflow.yml

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the dataflow file (YAML)")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    print(expand_dataflow(options.file), end="")
    return EXIT_OK


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
