"""`run`: a dataflow from Python, in a notebook, a script or a test.

The launcher is a process of its own: it handles signals, needs the main thread, and must not share
the calling program's imports.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from numbers import Real
from pathlib import Path

from dora_rt.errors import DescriptorError, LaunchError
from dora_rt.exit_codes import EXIT_USAGE
from dora_rt.report import Report


def run(
    file: str | os.PathLike[str],
    *,
    stop_after: float | None = None,
    env: Mapping[str, str] | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    machine: str | None = None,
    robot: str | None = None,
    arguments: Mapping[str, str | int | float] | None = None,
) -> Report:
    """Run a dataflow to its end, as dora-launch does; return its report.

    What dora-launch prints is printed here. An exception, such as KeyboardInterrupt, stops the
    dataflow before it goes on.

    Args:
        file: the dataflow file.
        stop_after: seconds after which it is stopped; None: it is not.
        env: variables to set beside those of this process.
        log_dir: the folder for the log files of the nodes, where they stay.
        quiet: print nothing.
        machine: which of the file's machines this is; None: all of it runs here.
        robot: which robot this is, where several use one router.
        arguments: of the dataflow file, by their names: `{"camera": 2, "viewer": False}`.

    Returns:
        The report; `report.failures` has the nodes that failed, and other machines that did.

    Raises:
        ValueError: `stop_after` is not a number above 0.
        DescriptorError: there is no such file, or it has problems.
        LaunchError: the environment does not allow the run.
    """
    words = stop_arguments(stop_after)
    if log_dir is not None:
        words += ["--log-dir", os.fspath(log_dir)]
    if machine is not None:
        words += ["--machine", machine]
    if robot is not None:
        words += ["--name", robot]
    for name, value in (arguments or {}).items():
        words.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    with tempfile.TemporaryDirectory(prefix="dora_rt-") as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "dora_rt", os.fspath(file), "--report", str(path)]
        exit_code, errors = _follow([*command, *words], {**os.environ, **(env or {})}, quiet)
        if path.exists() and (report := path.read_text()):
            return Report.from_json(report)
    if exit_code == EXIT_USAGE:
        raise DescriptorError(errors or f"{file}: dora-launch did not accept it")
    raise LaunchError(errors or f"dora-launch {file} ended with exit code {exit_code}")


def stop_arguments(stop_after: float | None) -> list[str]:
    """Return the arguments that have dora-launch stop a dataflow after so many seconds.

    Raises:
        ValueError: it is not a number above 0.
    """
    if stop_after is None:
        return []
    if (
        isinstance(stop_after, bool)
        or not isinstance(stop_after, Real)
        or not 0 < stop_after < math.inf
    ):
        raise ValueError(f"stop_after is {stop_after!r}: seconds above 0 are needed, or None")
    return ["--stop-after", f"{float(stop_after):.9f}s"]


def _follow(command: list[str], environ: Mapping[str, str], quiet: bool) -> tuple[int, str]:
    # A file, not a pipe: the loop below reads one stream only.
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environ,
            errors="replace",
            # Ctrl-C reaches it once, by this process; a second one would hurry it.
            start_new_session=True,
        ) as launcher,
    ):
        assert launcher.stdout is not None
        try:
            for line in launcher.stdout:
                if not quiet:
                    # Not by inheritance: the output of a notebook is no file of its process.
                    print(line, end="", flush=True)
            launcher.wait()
        except BaseException:
            if launcher.poll() is None:
                launcher.send_signal(signal.SIGINT)
            for line in launcher.stdout:
                if not quiet:
                    print(line, end="", flush=True)
            raise
        errors.seek(0)
        return launcher.returncode, errors.read().strip()
