"""`dora-rt machines`: lists the machines of a fleet that a router knows."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.network_router import read_endpoint
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE
from dora_rt.network.gateway_plan import Security
from dora_rt.network.session_config import is_loopback
from dora_rt.units import table

_DESCRIPTION = """\
List the machines of a fleet that are linked to a router now, by robot and dataflow. You need the
certificate of an operator; `dora-rt pair ops` makes one. The machines of a dataflow that runs here
are in `dora-rt ps`."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "asked, also if nobody is there",
        EXIT_USAGE: "bad usage",
        EXIT_ENVIRONMENT: "no certificate, or the router cannot be asked",
    }
)

_EPILOG = f"""\
examples:
  dora-rt machines relay.example.org:7447 --fleet acme
  dora-rt machines relay.example.org:7447 --fleet acme --json

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "router", type=read_endpoint, metavar="HOST:PORT", help="the router: `via:` of the files"
    )
    parser.add_argument("--fleet", default="default", help="`fleet:` of the files")
    parser.add_argument(
        "--as", dest="operator", default="ops", metavar="NAME", help="your certificate (ops)"
    )
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="where the certificates are")
    parser.add_argument("--insecure", action="store_true", help="the router takes no certificates")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # Here: what it imports is an extra.
    from dora_rt.network.fleet_list import list_machines

    found = list_machines(options.router, options.fleet, _security(options, environ))
    if options.json:
        print(json.dumps([dataclasses.asdict(machine) for machine in found], indent=1))
        return EXIT_OK
    rows = [(one.robot, one.flow, one.machine) for one in found]
    titles = ("robot", "dataflow", "machine")
    print(table(titles, rows, numbers=()) if rows else f"no machine of {options.fleet} is there")
    return EXIT_OK


def _security(options: argparse.Namespace, environ: Mapping[str, str]) -> Security:
    if options.insecure or (options.tls is None and is_loopback(options.router)):
        return Security(is_insecure=options.insecure)
    from dora_rt.network.certificates import find_security

    return find_security(options.tls, options.operator, is_insecure=False, environ=environ)


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
