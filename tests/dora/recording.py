"""Dataflows whose nodes write down what they see, for tests that each look at one thing of it."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from tests.harness.finished import Finished
from tests.harness.flow import Flow

NOTES = """
import atexit, json, sys
from pathlib import Path

noted = {}


def note(name, value, depth=1):
    # By the file that notes it: several operators are one process.
    noted.setdefault(sys._getframe(depth).f_globals["__file__"], {})[name] = value


def attempt(name, action):
    # Of an exception: the built-in ones that it is, and its text.
    try:
        note(name, action(), 2)
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
        note(name, {"raised": kinds, "text": str(error)}, 2)


@atexit.register
def write():
    for file, notes in noted.items():
        Path(file + ".json").write_text(json.dumps(notes, default=str))
"""


def run_noting(flow: Flow, yaml: str, *arguments: str, **scripts: str) -> dict[str, Any]:
    """Run a flow to its end, and give what each of its scripts has noted.

    The exit code has to be 0.
    """
    done = start_noting(flow, yaml, *arguments, **scripts)
    assert done.exit_code == 0, done.out + done.err
    return {name: notes(flow, name) for name in scripts}


def start_noting(
    flow: Flow, yaml: str, *arguments: str, env: dict[str, str] | None = None, **scripts: str
) -> Finished:
    """Run a flow to its end, however it ends."""
    flow.write("flow.yml", yaml)
    flow.write("notes.py", NOTES)
    for name, text in scripts.items():
        flow.write(f"{name}.py", "from notes import attempt, note\n" + dedent(text))
    return flow.run(*arguments, env=env)


def notes(flow: Flow, script: str) -> dict[str, Any]:
    """Give what a script has noted; {} if nothing."""
    path = flow.folder / f"{script}.py.json"
    return json.loads(path.read_text()) if path.exists() else {}
