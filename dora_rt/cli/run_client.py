"""Requests of the verbs to running dataflows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from dora_rt.cli.command_errors import RefusedError, RunEndedError
from dora_rt.errors import RunNotFoundError
from dora_rt.launcher.cleanup.run_directory import check_base_folder
from dora_rt.runs import Connection, base_folder, find_runs, open_run

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


def ask(connection: Connection, request: str, **fields: Any) -> dict[str, Any]:
    """Send a request and return the answer.

    Raises:
        RunEndedError: the run has ended.
        RefusedError: the answer is an error.
    """
    try:
        answer, _ = connection.ask(request, **fields)
    except TimeoutError as error:
        raise RefusedError(
            f"run {connection.run} does not answer: is it stopped (Ctrl-Z)?"
        ) from error
    except OSError as error:
        raise RunEndedError(connection.run) from error
    if "error" in answer:
        raise RefusedError(str(answer["error"]))
    return answer


def find_statuses(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the status of every run that answers, the oldest first.

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
                statuses.append(ask(connection, "status"))
            except RunEndedError:
                continue
            except RefusedError as error:
                refusals.append(f"run {run}: {error}")
    if refusals and not statuses:
        raise RefusedError("\n".join(refusals))
    for refusal in refusals:
        print(f"dora-rt: {refusal}", file=sys.stderr)
    return sorted(statuses, key=lambda status: float(status["began"]))


def is_node(status: Mapping[str, Any], name: str) -> bool:
    """Whether a run has a node or an operator of this name."""
    return any(
        name in (process["name"], *process["nodes"])
        or any(node.startswith(f"{name}/") for node in process["nodes"])
        for process in status["processes"]
    )


def check_node(status: Mapping[str, Any], name: str) -> None:
    """Check that a run has a node of this name.

    Raises:
        RunNotFoundError: the run has no such node.
    """
    if not is_node(status, name):
        known = ", ".join(process["name"] for process in status["processes"])
        raise RunNotFoundError(f"run {status['run']} has no node {name!r}; it has: {known}")
