"""The command `dora-rt`: the table of its verbs, and the parser of its words."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from dora_rt import __version__
from dora_rt.cli.command_errors import exit_at_error
from dora_rt.cli.verb import HelpFormatter, Verb
from dora_rt.compiled import describe_code
from dora_rt.exit_codes import EXIT_USAGE
from dora_rt.interrupt import ended_by_ctrl_c
from dora_rt.spelling import closest
from dora_rt.terminal import HarmlessStream

# Where each verb is, and its line of help: a verb is imported when it is asked for.
VERBS: Mapping[str, tuple[str, str]] = {
    "build": ("build:VERB", "run the build commands of a dataflow"),
    "bw": ("top:BW", "show how much outputs send"),
    "check": ("check:VERB", "check a dataflow file"),
    "clean": ("clean:VERB", "remove what dead runs left behind"),
    "completion": ("completion:VERB", "print the completion for bash"),
    "dashboard": ("dashboard:VERB", "serve a page that shows what runs"),
    "deploy": ("deploy:VERB", "copy a project to another machine"),
    "doctor": ("doctor:VERB", "check this machine: packages, memory, cameras, screen"),
    "echo": ("echo:VERB", "print the samples of an output as they come"),
    "expand": ("expand:VERB", "print a dataflow with its modules written out"),
    "graph": ("graph:VERB", "print a dataflow or a run as a picture"),
    "hz": ("top:HZ", "show how often outputs send"),
    "logs": ("logs:VERB", "show what nodes print"),
    "machines": ("fleet_machines:VERB", "list the machines of a fleet that a router knows"),
    "new": ("new:VERB", "write a project that runs at once"),
    "pair": ("pair:VERB", "make certificates for the machines of a dataflow"),
    "param": ("param:VERB", "show and set parameters of nodes"),
    "ps": ("ps:VERB", "list runs and their nodes"),
    "record": ("record:VERB", "keep what flows in a file"),
    "replay": ("replay:VERB", "run a dataflow on what was recorded"),
    "restart": ("stop:RESTART", "restart a node"),
    "router": ("network_router:VERB", "pass on what machines behind NAT send to each other"),
    "service": ("service:VERB", "run a dataflow at boot (systemd)"),
    "stop": ("stop:STOP", "stop a run or a node"),
    "top": ("top:TOP", "watch nodes and edges live"),
    "view": ("view:VERB", "show the pictures of an output"),
    "watch": ("watch:VERB", "restart a node when its file has changed"),
}

_TO_RUN = "`dora-launch FILE` runs a dataflow"
_TO_SEE = "`dora-rt ps` lists what runs, `dora-rt top` shows it live"
# What users of dora, ROS 2 and Docker type first.
_WORDS_OF_OTHERS = {
    **dict.fromkeys(("run", "launch", "start", "up"), _TO_RUN),
    **dict.fromkeys(("list", "node", "status", "inspect"), _TO_SEE),
    **dict.fromkeys(("destroy", "down", "kill"), "`dora-rt stop` stops a run or a node"),
    "topic": "`dora-rt hz` lists outputs, `dora-rt echo NODE/OUTPUT` prints their samples",
    "bag": "`dora-rt record` and `dora-rt replay` keep and play what flows",
    "play": "`dora-rt replay FILE` plays a recording",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    sys.stdout, sys.stderr = map(HarmlessStream.around, (sys.stdout, sys.stderr))
    if not words:
        print(make_parser({}).format_help(), end="")
        sys.exit(EXIT_USAGE)
    # What follows an option that comes before the verb is for the parser to judge.
    asked = None if words[0].startswith("-") else words[0]
    if asked is not None and asked not in VERBS:
        print(_say_unknown(asked), file=sys.stderr)
        sys.exit(EXIT_USAGE)
    with exit_at_error("dora-rt"):
        verbs = {} if asked is None else {asked: load_verb(asked)}
        options = make_parser(verbs).parse_args(words)
        sys.exit(verbs[options.verb].run(options, os.environ))


def load_verb(name: str) -> Verb:
    """Import a verb."""
    module, _, attribute = VERBS[name][0].partition(":")
    with ended_by_ctrl_c():
        verb: Verb = getattr(import_module(f"dora_rt.cli.{module}"), attribute)
    return verb


def make_parser(loaded: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Return the parser of the command, which knows the arguments of the loaded verbs only."""
    parser = argparse.ArgumentParser(
        "dora-rt", description="Look at dataflows that run, and look after this machine."
    )
    parser.add_argument(
        "--version", action="version", version=f"dora_rt {__version__} ({describe_code()})"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (_, summary) in VERBS.items():
        if name not in loaded:
            verbs.add_parser(name, help=summary)
            continue
        verb = loaded[name]
        verb.add_arguments(
            verbs.add_parser(
                name,
                help=summary,
                description=verb.description,
                epilog=verb.epilog,
                formatter_class=HelpFormatter,
            )
        )
    return parser


def _say_unknown(verb: str) -> str:
    if verb in _WORDS_OF_OTHERS:
        return f"dora-rt: there is no verb {verb!r}; {_WORDS_OF_OTHERS[verb]}"
    match = closest(verb, VERBS)
    hint = f"did you mean {match!r}?" if match else f"expected one of: {', '.join(VERBS)}"
    return f"dora-rt: there is no verb {verb!r}; {hint} (dora-rt --help)"
