"""Requests of the verbs to running dataflows."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from dora_rt.cli.command_errors import RunEndedError
from dora_rt.errors import RunNotFoundError, VersionMismatchError
from dora_rt.launcher.cleanup.run_directory import check_base_folder
from dora_rt.run_status import ProcessStatus, RunDescription, RunStatus
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs, open_run

Answer = TypeVar("Answer")
HOW_RUNS_ARE_CALLED = """\
You name a run by its name, by the beginning of it, or by its dataflow file (dataflow.yml,
dataflow). If only one is running, you need not name it."""


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option `--run`."""
    parser.add_argument("--run", metavar="RUN", help="which run, if there are several")


def connect(called: str | None, environ: Mapping[str, str]) -> Connection:
    """Connect to the run that the user named, or to the only one.

    Raises:
        LaunchError: the folder of this user's runs belongs to another user.
        RunNotFoundError: there is no such run, or several.
    """
    base = base_folder(environ)
    check_base_folder(base)
    return open_run(base, called)


def ask(
    connection: Connection, request: str, *, machine: str | None = None, **fields: Any
) -> dict[str, Any]:
    """Send a request that the run grants, or that of another machine; return the answer.

    Raises:
        RunEndedError: the run has ended.
        RefusedError: the run refuses, or does not answer.
    """
    to = {} if machine is None else {"machine": machine}
    with _explained(connection):
        return connection.ask(request, **fields, **to)[0]


def ask_status(connection: Connection) -> RunStatus:
    """Return the status of a run.

    Raises:
        RunEndedError: the run has ended.
        RefusedError: the run refuses, does not answer, or is of another version of dora_rt.
    """
    return _read(connection, connection.status)


def ask_machine_status(connection: Connection, machine: str | None) -> RunStatus:
    """Return the status of the run on another machine, or of this one (None).

    Raises what `ask_status` raises.
    """
    if machine is None:
        return ask_status(connection)
    answer = ask(connection, "status", machine=machine)
    try:
        return RunStatus.from_json(answer)
    except VersionMismatchError as error:
        raise RefusedError(f"machine {machine}: {error}") from error


def ask_all_machines(connection: Connection) -> RunStatus:
    """Return the status of a run with that of the same dataflow on other machines in it.

    Raises what `ask_status` raises.
    """
    status = ask_status(connection)
    if status.network is None:
        return status
    # Here: most dataflows have one machine.
    from dora_rt.live.whole_status import ask_far_statuses, merge

    return merge(status, ask_far_statuses(connection, status))


def machine_of(connection: Connection, name: str) -> str | None:
    """Return the other machine that has a node or an operator of this name; None: it is here.

    Raises:
        RunNotFoundError: no machine of the dataflow has it.
        RefusedError, RunEndedError: as `ask_status` does.
    """
    if ask_status(connection).find_process(name) is not None:
        return None
    return process_called(ask_all_machines(connection), name).machine


def ask_description(connection: Connection) -> RunDescription:
    """Return the description of a run; raises what `ask_status` raises."""
    return _read(connection, connection.describe)


def _read(connection: Connection, look: Callable[[], Answer]) -> Answer:
    with _explained(connection):
        try:
            return look()
        except RefusedError as error:
            raise RefusedError(f"run {connection.run}: {error}") from error


@contextlib.contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    run = connection.run
    try:
        yield
    except TimeoutError as error:
        raise RefusedError(f"run {run} does not answer: is it stopped (Ctrl-Z)?") from error
    except OSError as error:
        raise RunEndedError(run) from error


def find_statuses(environ: Mapping[str, str], *, has_all_machines: bool = False) -> list[RunStatus]:
    """Return the status of every run that answers, the oldest first.

    Args:
        environ: says where they are.
        has_all_machines: whether the nodes of the same dataflow on other machines are in it.

    Raises:
        LaunchError: the folder of this user's runs belongs to another user.
        RefusedError: there are runs, and none of them answers.
    """
    base = base_folder(environ)
    check_base_folder(base)
    statuses = []
    refusals = []
    for run in find_runs(base):
        connection = Connection.open(base, run)
        if connection is None:
            continue
        with connection:
            try:
                look = ask_all_machines if has_all_machines else ask_status
                statuses.append(look(connection))
            except RunEndedError:
                continue
            except RefusedError as error:
                refusals.append(str(error))
    if refusals and not statuses:
        raise RefusedError("\n".join(refusals))
    for refusal in refusals:
        print(f"dora-rt: {refusal}", file=sys.stderr)
    return sorted(statuses, key=lambda status: status.began)


def process_called(status: RunStatus, name: str) -> ProcessStatus:
    """Return the process of a node or an operator.

    Raises:
        RunNotFoundError: the run has no node of this name.
    """
    process = status.find_process(name)
    if process is None:
        known = ", ".join(process.name for process in status.processes)
        raise RunNotFoundError(f"run {status.run} has no node {name!r}; it has: {known}")
    return process
