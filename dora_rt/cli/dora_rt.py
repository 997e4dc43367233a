"""The verbs of `dora-rt`, and what becomes of their words, errors and exit codes."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from dora_rt import __version__
from dora_rt.cli import (
    build,
    check,
    clean,
    completion,
    dashboard,
    doctor,
    echo,
    expand,
    graph,
    logs,
    new,
    ps,
    record,
    replay,
    service,
    stop,
    top,
    view,
    watch,
)
from dora_rt.cli.verb import (
    EXIT_ENVIRONMENT,
    EXIT_INTERRUPTED,
    EXIT_PROBLEM,
    EXIT_USAGE,
    Verb,
)
from dora_rt.errors import LaunchError, RunNotFoundError
from dora_rt.runs import RefusedError
from dora_rt.terminal import HarmlessStream

# What a verb needs only when it runs (numpy, extras), its module imports only then.
VERBS: Mapping[str, Verb] = {
    "build": build.VERB,
    "bw": top.BW,
    "check": check.VERB,
    "clean": clean.VERB,
    "completion": completion.VERB,
    "dashboard": dashboard.VERB,
    "doctor": doctor.VERB,
    "echo": echo.VERB,
    "expand": expand.VERB,
    "graph": graph.VERB,
    "hz": top.HZ,
    "logs": logs.VERB,
    "new": new.VERB,
    "ps": ps.VERB,
    "record": record.VERB,
    "replay": replay.VERB,
    "restart": stop.RESTART,
    "service": service.VERB,
    "stop": stop.STOP,
    "top": top.TOP,
    "view": view.VERB,
    "watch": watch.VERB,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    sys.stdout, sys.stderr = map(HarmlessStream.around, (sys.stdout, sys.stderr))
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        print(_say_unknown(words[0]), file=sys.stderr)
        sys.exit(EXIT_USAGE)
    options = make_parser().parse_args(words)
    try:
        sys.exit(VERBS[options.verb].run(options, os.environ))
    except LaunchError as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    except RunNotFoundError as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except RefusedError as error:
        print(f"dora-rt: {error}", file=sys.stderr)
        sys.exit(EXIT_PROBLEM)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # As in `dora-rt logs | head`: nobody reads on. What is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERRUPTED)


def make_parser() -> argparse.ArgumentParser:
    """Give the parser of all verbs."""
    parser = argparse.ArgumentParser(
        "dora-rt", description="Look at dataflows that run, and look after this machine."
    )
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


def _say_unknown(verb: str) -> str:
    close = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(VERBS)}"
    return f"dora-rt: there is no verb {verb!r}; {hint} (dora-rt --help)"
