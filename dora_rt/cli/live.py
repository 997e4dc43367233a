"""Shows what changes again and again: in place on a terminal, one below the other in a pipe."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from dora_rt.cli.run_client import (
    RunEndedError,
    add_run_argument,
    ask_status,
    connect,
)
from dora_rt.cli.verb import EXIT_OK, EXIT_PROBLEM
from dora_rt.live.rates import Rates, measure
from dora_rt.runs import Connection, RefusedError
from dora_rt.terminal import harmless, steer

_CLEAR_ALL, _HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user say which run, how often, and in which form."""
    add_run_argument(parser)
    parser.add_argument(
        "-i",
        "--interval",
        type=_interval_s,
        default=1.0,
        metavar="SECONDS",
        help="how long each measurement takes (default: 1)",
    )
    parser.add_argument("--once", action="store_true", help="measure once, and end")
    parser.add_argument("--json", action="store_true", help="print a line of JSON each time")


def show_rates(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    render: Callable[[Rates], str],
    to_fields: Callable[[Rates], object] = Rates.to_fields,
) -> int:
    """Show the rates of a run until it ends, or Ctrl-C; give the exit code.

    Raises:
        RunNotFoundError: there is no such run, or `render` misses something in it.
    """
    is_terminal = sys.stdout.isatty() and not options.json and not options.once
    if is_terminal:
        steer(sys.stdout, _CLEAR_ALL)
    try:
        with connect(options.run, environ) as connection:
            for rates in _measurements(connection, options.interval):
                if options.json:
                    print(json.dumps(to_fields(rates)), flush=True)
                elif is_terminal:
                    _redraw(render(rates))
                else:
                    print(render(rates), end="\n" if options.once else "\n\n", flush=True)
                if options.once:
                    break
    except RunEndedError as error:
        print(f"run {error} has ended", file=sys.stderr)
        return EXIT_PROBLEM if options.once else EXIT_OK
    except RefusedError as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        pass  # this is how one ends it
    return EXIT_OK


def _measurements(connection: Connection, interval_s: float) -> Iterator[Rates]:
    earlier = ask_status(connection)
    while True:
        time.sleep(interval_s)
        later = ask_status(connection)
        yield measure(earlier, later)
        earlier = later


def _redraw(text: str) -> None:
    columns, rows = shutil.get_terminal_size()
    lines = [line[:columns] for line in harmless(text, has_colours=False).split("\n")[: rows - 1]]
    shown = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
    steer(sys.stdout, f"{_HOME}{shown}{_CLEAR_BELOW}")
    sys.stdout.flush()


def _interval_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.05 to 3600")
    return seconds
