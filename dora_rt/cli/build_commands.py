"""`dora-rt build`: run what `build:` of a dataflow's nodes says, one command after the other."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.descriptor.tree.model import Build
from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.processes.ending import name_signal
from dora_rt.launcher.processes.line_splitter import LineSplitter

_READ_NBYTES = 64 * 1024
_PYTHONS = ("python", "python3")
_PIPS = ("pip", "pip3")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a build: `shown` as it is written, `argv` as it is run."""

    label: str
    shown: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed."""

    step: Step
    why: str


def make_steps(
    builds: Sequence[tuple[Build, Sequence[tuple[str, ...]]]], *, uses_uv: bool
) -> list[Step]:
    """Decide what is run: `pip` and `python` are those of the Python that the nodes run in.

    Args:
        builds: each build with its commands.
        uses_uv: whether `uv pip` takes the place of pip.
    """
    return [
        Step(build.label, shlex.join(words), _argv(words, uses_uv=uses_uv), build.env)
        for build, commands in builds
        for words in commands
    ]


def run_steps(
    steps: Sequence[Step], console: Console, *, folder: Path, environ: Mapping[str, str]
) -> Failure | None:
    """Run the steps in their order, in the folder of the dataflow file, until one fails."""
    console.introduce(dict.fromkeys(step.label for step in steps))
    for number, step in enumerate(steps, 1):
        console.notice(f"[{number}/{len(steps)}] {step.label}: {step.shown}")
        began_s = time.monotonic()
        why = _run(step, console, folder, {**environ, **dict(step.env)})
        if why is not None:
            return Failure(step, why)
        console.notice(f"[{number}/{len(steps)}] done in {time.monotonic() - began_s:.1f} s")
    return None


def _argv(words: tuple[str, ...], *, uses_uv: bool) -> tuple[str, ...]:
    program, *arguments = words
    if program in _PIPS and uses_uv:
        return ("uv", "pip", *arguments)
    if program in _PIPS:
        return (sys.executable, "-m", "pip", *arguments)
    return (sys.executable if program in _PYTHONS else program, *arguments)


def _run(step: Step, console: Console, folder: Path, environ: dict[str, str]) -> str | None:
    """Run one command; give why it failed, or None."""
    environ = {
        "PYTHONUNBUFFERED": "1",
        # For uv, which would look for an environment of its own.
        "UV_PYTHON": sys.executable,
        **environ,
    }
    try:
        child = subprocess.Popen(
            step.argv,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        return f"{step.argv[0]}: {error.strerror}"
    assert child.stdout is not None, "started with a pipe"
    splitter = LineSplitter()
    try:
        with child.stdout:
            while received := os.read(child.stdout.fileno(), _READ_NBYTES):
                for line in splitter.feed(received):
                    console.node_line(step.label, line)
        for line in splitter.end():
            console.node_line(step.label, line)
        status = child.wait()
    except BaseException:
        # Ctrl-C came to it as well; it is not left behind half way.
        child.terminate()
        child.wait()
        raise
    if status < 0:
        return f"ended by {name_signal(-status)}"
    return f"exit status {status}" if status else None
