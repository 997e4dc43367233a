"""Dataflows whose nodes write down what they see, for tests that each look at one thing of it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.flows.flow import Finished, Flow

NOTES = '''
"""What a node saw, under names; written at the end of the process, however it ends."""

import atexit, json, sys
from pathlib import Path

noted = {}


def note(name, value):
    noted[name] = value


def attempt(name, action):
    """Note what an action gives, or the exception: the built-in ones that it is, and its text."""
    try:
        note(name, action())
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
        note(name, {"raised": kinds, "text": str(error)})


def _write():
    Path(sys.argv[0] + ".json").write_text(json.dumps(noted, default=str))


atexit.register(_write)
'''


def run_noting(flow: Flow, yaml: str, *arguments: str, **scripts: str) -> dict[str, Any]:
    """Run a flow to its end, and give what each of its scripts has noted.

    The exit code has to be 0.
    """
    done = start_noting(flow, yaml, *arguments, **scripts)
    assert done.exit_code == 0, done.out + done.err
    return {name: notes(flow, name) for name in scripts}


def start_noting(flow: Flow, yaml: str, *arguments: str, **scripts: str) -> Finished:
    flow.write("flow.yml", yaml)
    flow.write("notes.py", NOTES)
    for name, text in scripts.items():
        flow.write(f"{name}.py", "from notes import attempt, note\n" + dedent(text))
    return flow.run(*arguments)


def notes(flow: Flow, script: str) -> dict[str, Any]:
    noted: dict[str, Any] = json.loads(Path(flow.folder / f"{script}.py.json").read_text())
    return noted
