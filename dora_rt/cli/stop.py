"""`dora-rt stop` and `dora-rt restart`: stop a run or a node, or restart a node, by hand."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping

from dora_rt.cli.command_errors import RunEndedError
from dora_rt.cli.run_client import (
    HOW_RUNS_ARE_CALLED,
    add_run_argument,
    ask,
    ask_description,
    ask_machine_status,
    connect,
    find_statuses,
    machine_of,
    process_called,
)
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.errors import RunNotFoundError
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.run_status import NodeState, ProcessStatus
from dora_rt.runs import Connection, base_folder

_LOOK_S = 0.02

_STOP = """\
Stop a run, or one node of it, as Ctrl-C does. Each node gets a Stop event; after its stop_grace
SIGINT or SIGTERM, which runs its cleanup code; after another stop_grace SIGKILL. Returns when that
is done."""

_STOP_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "it has ended",
        EXIT_FAILED: "the run refuses",
        EXIT_USAGE: "there is no such run or node",
    }
)

_STOP_EPILOG = f"""\
examples:
  dora-rt stop               stop the run, if there is only one
  dora-rt stop dataflow.yml  stop the run of this file
  dora-rt stop camera        stop a node; `dora-rt restart camera` starts it again
  dora-rt stop camera --run 9c08

{HOW_RUNS_ARE_CALLED}

A node that was stopped by hand is not restarted by its policy. Its readers wait for it, and
no writer waits to send to it. With `on_exit: stop_all` it ends the dataflow, too.

{_STOP_EXIT_CODES}"""

_RESTART = """\
Restart one node: stop it if it runs, and start it again. It keeps its queues, and its peers go
on. It does not count as a failure, and its limit of restarts begins anew."""

_RESTART_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "it runs again",
        EXIT_FAILED: "it does not, or the run refuses",
        EXIT_USAGE: "there is no such run or node",
    }
)

_RESTART_EPILOG = f"""\
examples:
  dora-rt restart camera
  dora-rt restart camera --run dataflow.yml

{HOW_RUNS_ARE_CALLED}

Returns when the new process is ready. A node that has ended, failed, or was stopped by hand is
started again; nodes that ended because it did are not: restart them as well. A dynamic node you
start again yourself.

{_RESTART_EXIT_CODES}"""


def _add_stop_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="RUN|NODE", help="what to stop")
    add_run_argument(parser)


def _stop(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    run, node = _find_target(options.name, options.run, environ)
    with connect(run, environ) as connection:
        try:
            if node is not None:
                machine = machine_of(connection, node)
                ask(connection, "stop", node=node, machine=machine)
                _wait_until_stopped(connection, node, machine)
                print(f"node {node} has stopped{'' if machine is None else f' on {machine}'}")
                return EXIT_OK
            ask(connection, "stop")
            while True:
                ask_description(connection)
                time.sleep(_LOOK_S)
        except RunEndedError:
            # Its memory goes after its socket, and its directory last.
            while os.path.lexists(base_folder(environ) / connection.run):
                time.sleep(_LOOK_S)
            print(f"run {connection.run} has stopped")
            return EXIT_OK


def _find_target(
    name: str | None, run: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return the run that is meant, and the node of it, if the name is one of a node."""
    if name is None or run is not None:
        return run, name
    having = _runs_with(name, environ)
    try:
        with connect(name, environ) as connection:
            called = connection.run
    except RunNotFoundError as error:
        if not having:
            raise RunNotFoundError(f"no run has a node {name!r}, and {error}") from error
        called = None
    if called is not None and having:
        raise RunNotFoundError(
            f"both a run and a node are called {name!r}: `dora-rt stop --run {called}` stops the "
            f"run, `dora-rt stop {name} --run {having[0]}` the node"
        )
    if called is not None:
        return called, None
    if len(having) > 1:
        raise RunNotFoundError(
            f"{len(having)} runs have a node {name!r}; say which: "
            + ", ".join(f"--run {run}" for run in having)
        )
    return having[0], name


def _runs_with(node: str, environ: Mapping[str, str]) -> list[str]:
    here = [status.run for status in find_statuses(environ) if status.find_process(node)]
    if here:
        return here
    # Only then: the other machines may be far.
    whole = find_statuses(environ, has_all_machines=True)
    return [status.run for status in whole if status.find_process(node)]


def _wait_until_stopped(connection: Connection, node: str, machine: str | None) -> None:
    while process_called(ask_machine_status(connection, machine), node).pid is not None:
        time.sleep(_LOOK_S)


def _add_restart_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NODE", help="the node's id")
    add_run_argument(parser)


def _restart(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    run = options.run or _find_target(options.name, None, environ)[0]
    with connect(run, environ) as connection:
        machine = machine_of(connection, options.name)
        before = process_called(ask_machine_status(connection, machine), options.name)
        ask(connection, "restart", node=options.name, machine=machine)
        process = _wait_for_successor(connection, before, machine)
    if process.state is not NodeState.RUNNING:
        print(
            f"dora-rt: node {process.name} is {process.state.value}: {process.ending} "
            f"(dora-rt logs {process.name})",
            file=sys.stderr,
        )
        return EXIT_FAILED
    there = "" if machine is None else f" on {machine}"
    print(f"node {process.name} runs again{there} (process {process.pid})")
    return EXIT_OK


def _wait_for_successor(
    connection: Connection, before: ProcessStatus, machine: str | None
) -> ProcessStatus:
    """Wait until the node has a new process that is ready or has ended; return its status."""
    while True:
        status = ask_machine_status(connection, machine)
        process = process_called(status, before.name)
        if process.pid not in (before.pid, None) and process.state is NodeState.RUNNING:
            return process
        if process.pid is None and process.state in (NodeState.ENDED, NodeState.FAILED):
            return process
        time.sleep(_LOOK_S)


STOP = Verb(_STOP, _STOP_EPILOG, _add_stop_arguments, _stop)
RESTART = Verb(_RESTART, _RESTART_EPILOG, _add_restart_arguments, _restart)
