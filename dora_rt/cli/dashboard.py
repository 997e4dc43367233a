"""`dora-rt dashboard`: serves a page that shows what runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from dora_rt.cli.run_client import connect
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.dashboard.installed import MISSING_EXTRA, is_installed
from dora_rt.errors import ExtraMissingError, LaunchError
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE
from dora_rt.runs import base_folder
from dora_rt.units import read_port

DEFAULT_PORT = 8088
_DESCRIPTION = """\
Serve a page that shows a run: its graph with rates, latencies and drops, its nodes with buttons to
stop and restart them, their logs, and live pictures with boxes. It works without internet, and
makes no node wait. Without RUN it shows all runs of this user, also those that begin later. The
address that is printed has a token in it; without the token the page is closed."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "ended by Ctrl-C or SIGTERM",
        EXIT_USAGE: "no such run",
        EXIT_ENVIRONMENT: "it cannot be served there",
    }
)

_EPILOG = f"""\
examples:
  dora-rt dashboard                   all runs, on http://127.0.0.1:8088
  dora-rt dashboard 9c08 --port 0     one run, on any free port
  dora-rt dashboard --host 0.0.0.0    also for other machines
  dora-rt dashboard --no-token        for all users of this machine
  dora-launch FILE --dashboard        with the run, and ending with it

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="name of a run, or its file")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve at (default: this machine only)"
    )
    parser.add_argument(
        "--port",
        type=read_port,
        default=DEFAULT_PORT,
        help=f"port, or the next free one; 0: any (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--no-token",
        dest="has_token",
        action="store_false",
        help="let in every user of this machine without the token, to look and to press buttons",
    )
    # Of `dora-launch --dashboard`.
    parser.add_argument("--ends-with-run", action="store_true", help=argparse.SUPPRESS)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if not is_installed():
        raise ExtraMissingError(MISSING_EXTRA)
    run = None
    if options.run is not None:
        with connect(options.run, environ) as connection:
            run = connection.run
    from dora_rt.dashboard.server import ServingError, serve

    try:
        serve(
            base_folder(environ),
            run,
            host=options.host,
            port=options.port,
            has_token=options.has_token,
            ends_with_run=options.ends_with_run,
        )
    except ServingError as error:
        raise LaunchError(str(error)) from error
    return EXIT_OK


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
