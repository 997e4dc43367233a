"""Runs the verbs of `dora-rt`, each as a user does: in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dora_rt.runs import Connection, base_folder, find_runs

COMMAND = [sys.executable, "-c", "from dora_rt.tools import main; main()"]


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


def verb(
    *words: str, env: dict[str, str] | None = None, cwd: Path | None = None, timeout_s: float = 20
) -> Done:
    done = subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    return Done(done.returncode, done.stdout, done.stderr)


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
