"""`dora-rt pair`: certificates by which machines know each other."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE

_DESCRIPTION = """\
Make certificates for machines of dataflows, all signed by one authority, which is made with the
first of them. Run it on one machine, with the names that the machines have in the file, and then
the lines that it prints, which copy to each other machine its own certificate.

Machines show their certificates to each other at every link, and a machine may send only what its
nodes send."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "made, or there already",
        EXIT_USAGE: "bad usage",
        EXIT_ENVIRONMENT: "the authority is on another machine",
    }
)

_EPILOG = f"""\
examples:
  dora-rt pair robot laptop              two machines
  dora-rt pair robot laptop --robot r7   robot.r7 and laptop.r7: of one robot of a fleet
  dora-rt pair --router                  for `dora-rt router`, or zenohd

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="names in `machines:`")
    parser.add_argument("--robot", metavar="NAME", help="the robot of a fleet that they belong to")
    parser.add_argument("--router", action="store_true", help="make that of a router")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="where to keep them")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from dora_rt.network.certificates import (
        ROUTER_NAME,
        certificate_folder,
        common_names,
        make_authority,
        make_pair,
    )

    if not options.machines and not options.router:
        raise UsageError("name the machines, as in the file: dora-rt pair robot laptop")
    if ROUTER_NAME in options.machines:
        raise UsageError(
            f"{ROUTER_NAME!r} is the name of routers, which may pass on all: use --router, and "
            "give the machine another name"
        )
    folder = (options.tls or certificate_folder(environ)).absolute()
    names = [
        common_names(machine, options.robot)[0] if options.robot else machine
        for machine in options.machines
    ]
    names += [ROUTER_NAME] if options.router else []
    if make_authority(folder):
        print(f"made an authority in {folder}; keep authority.key on this machine")
    for name in names:
        print(f"{'made' if make_pair(folder, name) else 'there already:'} {name}.pem, {name}.key")
    print("\nfor each other machine, run here (USER@HOST is that machine):")
    for name in names:
        print(f"  {_copy(folder, name, environ)}")
    return EXIT_OK


def _copy(folder: Path, name: str, environ: Mapping[str, str]) -> str:
    """Return a line that copies what a machine needs, and nothing else."""
    home = Path(environ.get("HOME", "/")).absolute()
    there = folder.relative_to(home) if folder.is_relative_to(home) else folder
    quoted = shlex.quote(str(there))
    take = shlex.quote(f"umask 077 && mkdir -p {quoted} && tar -xC {quoted}")
    files = f"authority.pem {name}.pem {name}.key"
    return f"tar -cC {shlex.quote(str(folder))} {files} | ssh USER@HOST {take}"


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
