"""Runs the verbs of `dora-rt`, as a user does, and asks runs for their status."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dora_rt.cli import main
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs
from tests.harness.finished import Finished
from tests.harness.waiting import eventually

COMMAND = [sys.executable, "-c", "from dora_rt.cli import main; main()"]


def verb(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Finished:
    """Run a verb to its end, in this process: a Python of its own for each takes most of the time.

    `verb_apart` and `start` have one of their own.
    """
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    with (
        mock.patch.dict(os.environ, env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        os.chdir(cwd or before)
        try:
            main(words)
        finally:
            os.chdir(before)
    assert isinstance(end.value.code, int)
    return Finished(end.value.code, out.getvalue(), err.getvalue())


def verb_apart(*words: str, timeout_s: float = 30) -> Finished:
    """Run a verb to its end in a process of its own: where it starts a run, or takes signals."""
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=timeout_s)
    return Finished(done.returncode, done.stdout, done.stderr)


def start(*words: str) -> subprocess.Popen[str]:
    """Start a verb that goes on; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def status_of(run: str) -> dict[str, Any]:
    """Ask a run for its status, without a verb: waiting must be quick. {}: it is gone, or full."""
    connection = Connection.open(base_folder(os.environ), run)
    if connection is not None:
        with connection, contextlib.suppress(OSError, RefusedError):
            return connection.ask("status")[0]
    return {}


def statuses() -> list[dict[str, Any]]:
    """Ask every run for its status."""
    found = [status_of(run) for run in find_runs(base_folder(os.environ))]
    return [status for status in found if status]


def status(run: str | None = None) -> dict[str, Any]:
    """Return the status of a run, or of the only one."""
    (found,) = [one for one in statuses() if run in (None, one["run"])]
    return found


def process(name: str, run: str | None = None) -> dict[str, Any]:
    """Return what a run says of one node."""
    return next(one for one in status(run)["processes"] if one["name"] == name)


def started_run(pid: int) -> str:
    """Wait until the nodes of a launcher send, and return the name of its run."""
    found: list[str] = []

    def is_running() -> bool:
        found.extend(
            one["run"]
            for one in statuses()
            if one["pid"] == pid and all(output["sent"] for output in one["outputs"])
        )
        return bool(found)

    eventually(is_running)
    return found[0]
