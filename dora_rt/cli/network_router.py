"""`dora-rt router`: a place that machines behind NAT can dial."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.endpoint import endpoint_fault
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE
from dora_rt.network.gateway_plan import Security
from dora_rt.network.session_config import is_loopback

_DESCRIPTION = """\
Pass on what the machines of dataflows send to each other, until Ctrl-C. Run it on a machine with an
address that all others can dial, and write that address as `via:` into `machines:` of the dataflow
files; then no robot needs an address or an open port.

It shows its own certificate (`dora-rt pair --router`), and takes the certificates whose names are
listed. The machines of one robot, `MACHINE.ROBOT`, never hear of those of another; a name without a
robot is that of an operator, who reaches all robots of the fleet."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "stopped",
        EXIT_USAGE: "bad usage",
        EXIT_ENVIRONMENT: "a certificate is missing, or the port is taken",
    }
)

_EPILOG = f"""\
examples:
  dora-rt router --listen 0.0.0.0:7447 --fleet acme --names names.txt
  dora-rt router --listen 0.0.0.0:7447 --allow robot.r7 laptop.r7 ops
  dora-rt router --listen 0.0.0.0:7447 --names names.txt --print-config
      the configuration for a stock zenohd that does the same

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        nargs="+",
        type=read_endpoint,
        default=["127.0.0.1:7447"],
        metavar="HOST:PORT",
        help="where machines dial it (%(default)s)",
    )
    parser.add_argument(
        "--connect", nargs="+", type=read_endpoint, default=[], metavar="HOST:PORT",
        help="other routers of the fleet",
    )  # fmt: skip
    parser.add_argument("--fleet", default="default", help="`fleet:` of the files (%(default)s)")
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="names of certificates to take, one a line"
    )
    parser.add_argument("--allow", nargs="+", default=[], metavar="NAME", help="the same, here")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="where the certificates are")
    parser.add_argument(
        "--insecure", action="store_true", help="no certificates: all that reach it may do all"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the configuration of zenoh, and end"
    )


def read_endpoint(text: str) -> str:
    """Return HOST:PORT; for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    fault = endpoint_fault(text)
    if fault is not None:
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT, such as 0.0.0.0:7447, not {text!r}: {fault}"
        )
    return text


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from dora_rt.network.router_process import RouterOptions, full_config, nested, read_names, serve

    names = (*(read_names(options.names) if options.names else ()), *options.allow)
    security = _security(options, environ)
    if security.certificate and not names:
        raise UsageError("name the certificates to take: --names FILE, or --allow NAME ...")
    chosen = RouterOptions(
        listened=tuple(options.listen),
        dialled=tuple(options.connect),
        fleet=options.fleet,
        names=names,
        security=security,
    )
    if options.print_config:
        print(nested(full_config(chosen)))
        return EXIT_OK
    serve(chosen)
    return EXIT_OK


def _security(options: argparse.Namespace, environ: Mapping[str, str]) -> Security:
    if options.insecure:
        return Security(is_insecure=True)
    if not (options.names or options.allow) and all(map(is_loopback, options.listen)):
        return Security()
    from dora_rt.network.certificates import ROUTER_NAME, find_security

    return find_security(options.tls, ROUTER_NAME, is_insecure=False, environ=environ)


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
