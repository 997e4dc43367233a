"""`dora-rt echo`: prints the samples of an output as they come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE

_DESCRIPTION = """\
Print the samples of an output as they come, until the dataflow ends or Ctrl-C. Arrays are
summed up. No node waits for it or notices it; samples that it misses are counted."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "well",
        EXIT_FAILED: "the dataflow ended before there was a sample",
        EXIT_USAGE: "no such output",
    }
)

_EPILOG = f"""\
examples:
  dora-rt echo camera/image                 one line for each sample
  dora-rt echo detector/bbox --full --once  one sample, with all its values
  dora-rt echo 9c08/camera/image --json     for programs, a line of JSON each; of run 9c08...

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="[RUN/]NODE/OUTPUT", help="the output to look at")
    parser.add_argument("--full", action="store_true", help="all values, not only the first")
    parser.add_argument("--once", action="store_true", help="one sample only")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # Here: no other verb pays for numpy.
    from dora_rt.live.attach import attach
    from dora_rt.live.far_watch import FarWatch
    from dora_rt.live.sample_text import line_of, summarise

    has_seen = False
    with attach(options.output) as watch:
        if isinstance(watch, FarWatch):
            # Nobody needs a picture to cross the network for a line about it.
            watch.sum_up(has_all=options.full)
        for event in watch:
            if isinstance(watch, FarWatch):
                fields, line = watch.summary()
            else:
                fields = summarise(event, has_all=options.full)
                line = line_of(fields, event, has_all=options.full)
            print(json.dumps(fields) if options.json else line, flush=True)
            has_seen = True
            if options.once:
                break
    return EXIT_OK if has_seen else EXIT_FAILED


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
