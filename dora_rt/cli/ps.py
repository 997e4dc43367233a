"""`dora-rt ps`: lists the running dataflows and their nodes."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence

from dora_rt.cli.run_client import find_statuses
from dora_rt.cli.verb import Verb
from dora_rt.exit_codes import EXIT_OK
from dora_rt.run_status import RunStatus
from dora_rt.units import duration, size, table

_DESCRIPTION = """\
List the dataflows of this user that are running, and their nodes: of a dataflow on several
machines, those of all that can be reached."""

_EPILOG = """\
examples:
  dora-rt ps            each run with its nodes
  dora-rt ps --json     the whole status of each run, with all counters, for programs
  dora-rt ps -q         only the names of runs and nodes, one a line
  dora-rt ps --outputs  only the outputs, as echo, view, hz and bw take them"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the status of each run as JSON")
    form.add_argument(
        "--outputs", action="store_true", help="print only the outputs, NODE/OUTPUT, one a line"
    )
    form.add_argument("-q", "--quiet", action="store_true", help="print only the names")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    statuses = _without_twins(find_statuses(environ, has_all_machines=True))
    if options.json:
        print(json.dumps([status.to_json() for status in statuses], indent=1))
    elif options.outputs:
        for status in statuses:
            for output in status.outputs:
                print(output.source)
    elif options.quiet:
        for status in statuses:
            print(status.run, *(process.name for process in status.processes), sep="\n")
    else:
        print("\n\n".join(map(_describe, statuses)) or "no dataflow is running")
    return EXIT_OK


def _without_twins(statuses: Sequence[RunStatus]) -> list[RunStatus]:
    """Leave out nodes that another run here lists itself: two machines of a test are one."""
    own = {
        (process.pid, process.machine, process.name)
        for status in statuses
        for process in status.processes
        if status.network is None or process.machine == status.network.machine
    }
    return [
        dataclasses.replace(
            status,
            processes=tuple(
                process
                for process in status.processes
                if status.network is None
                or process.machine == status.network.machine
                or (process.pid, process.machine, process.name) not in own
            ),
        )
        for status in statuses
    ]


def _describe(status: RunStatus) -> str:
    title = (
        f"{status.run}  {status.file}  {status.state.value} for "
        f"{duration(status.running_s)} (launcher {status.pid})"
    )
    rows = [
        (
            f"  {process.name}",
            *([] if status.network is None else [process.machine or ""]),
            process.state.value,
            str(process.pid or "-"),
            str(process.restarts),
            f"{process.cpu_s:.2f}",
            size(process.rss_nbytes or None),
        )
        for process in status.processes
    ]
    titles = ("state", "pid", "restarts", "CPU s", "memory")
    if status.network is None:
        lines = [title, table(("  node", *titles), rows, numbers=(2, 3, 4, 5))]
    else:
        lines = [title, table(("  node", "machine", *titles), rows, numbers=(3, 4, 5, 6))]
    if status.network is not None:
        lines[0] += f", machine {status.network.machine}"
        for machine in status.network.machines:
            why = "" if machine.why is None else f": {machine.why}"
            where = f"{machine.state.value}{why}"
            lines.append(f"  machine {machine.name}: {where}, for {duration(machine.since_s)}")
    return "\n".join(lines)


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
