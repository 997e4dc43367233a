"""Runs the verbs of `dora-rt`, as a user does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dora_rt.cli import main
from dora_rt.runs import Connection, base_folder, find_runs

COMMAND = [sys.executable, "-c", "from dora_rt.cli import main; main()"]


@dataclass(frozen=True)
class Done:
    """What became of a verb."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.exit_code == 0, self.err
        return json.loads(self.out)


def verb(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run a verb to its end, in this process: a Python of its own for each takes most of the time.

    `start` has one of its own.
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
    return Done(end.value.code, out.getvalue(), err.getvalue())


def start(*words: str) -> subprocess.Popen[str]:
    """Start a verb that goes on; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def statuses() -> list[dict[str, Any]]:
    """Ask every run for its status, without a verb: for waiting, which must be quick."""
    base = base_folder(os.environ)
    connections = [Connection.open(base, run) for run in find_runs(base)]
    found = []
    for connection in connections:
        if connection is not None:
            with connection, contextlib.suppress(OSError):
                found.append(connection.ask("status")[0])
    return found


def status(run: str | None = None) -> dict[str, Any]:
    """Give the status of a run, or of the only one."""
    (found,) = [one for one in statuses() if run in (None, one["run"])]
    return found


def process(name: str, run: str | None = None) -> dict[str, Any]:
    """Give what a run says of one node."""
    return next(one for one in status(run)["processes"] if one["name"] == name)
