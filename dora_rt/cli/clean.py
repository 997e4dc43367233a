"""`dora-rt clean`: removes what dead runs left behind."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from dora_rt.cli.verb import Verb
from dora_rt.exit_codes import EXIT_OK
from dora_rt.launcher.cleanup.leftovers import find_objects_of, unlink_objects
from dora_rt.launcher.cleanup.run_directory import Stray, find_living, find_strays, reclaim
from dora_rt.runs import base_folder, namespace_of

_DESCRIPTION = """\
Remove the shared memory and the run directories of dead runs, of which no process is left. Every
dora-launch does the same when it starts."""

_EPILOG = """\
examples:
  dora-rt clean            clean up after a crash
  dora-rt clean --strays   also remove objects that belong to no run directory

A living run is listed and never touched. Objects without a run directory are only listed,
because their run may live in a container that shares /dev/shm with this machine; --strays
removes those that no process you can see from here maps.

Runs in another name space (DORA_RT_NAMESPACE) are not looked at."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strays", action="store_true", help="also remove objects that have no run directory"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    base, namespace = base_folder(environ), namespace_of(environ)
    lines = [str(reclaimed) for reclaimed in reclaim(base)]
    for manifest in find_living(base):
        lines.append(
            f"left alone: run {manifest.run} is alive ({manifest.file}, launcher "
            f"{manifest.launcher_pid}, since {manifest.started})"
        )
    lines += [_treat(stray, removes=options.strays) for stray in find_strays(base, namespace)]
    print("\n".join(lines or ["nothing to clean up"]))
    return EXIT_OK


def _treat(stray: Stray, *, removes: bool) -> str:
    if stray.is_mapped:
        return f"left alone: {stray}: a process maps them"
    if not removes:
        return f"left alone: {stray}: no process maps them (dora-rt clean --strays removes them)"
    unlink_objects(find_objects_of(stray.run))
    return f"removed {stray}: no process mapped them"


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
