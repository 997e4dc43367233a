"""dora's commands for Python programs: each does what the command of dora_rt does."""

from __future__ import annotations

import sys
import warnings
from os import PathLike

from dora_rt.errors import LaunchError

Path = str | PathLike[str]


def build(
    dataflow_path: Path,
    uv: bool | None = None,
    coordinator_addr: str | None = None,
    coordinator_port: int | None = None,
    force_local: bool = False,
) -> None:
    """Run the `build:` commands of a dataflow file, as `dora-rt build` does.

    Args:
        dataflow_path: the file.
        uv: let `uv pip` install what pip would.
        coordinator_addr: of no effect, as the following ones: there is no coordinator.
        coordinator_port: see there.
        force_local: see there.

    Raises:
        LaunchError: it failed (a RuntimeError); what it printed says why.
    """
    options = ["--uv"] if uv else []
    _command("from dora_rt.cli import main; main()", "build", str(dataflow_path), *options)


def run(dataflow_path: Path, uv: bool | None = None, stop_after: float | None = None) -> None:
    """Run a dataflow to its end, as `dora-launch` does.

    Args:
        dataflow_path: the file.
        uv: of no effect.
        stop_after: stop it after so many seconds.

    Raises:
        ValueError: `stop_after` is not a number above 0.
        LaunchError: it could not be started, or a node failed (a RuntimeError); what it printed
            says why.
    """
    _warn_of_uv(uv)
    from dora_rt.live.run import stop_arguments  # each node imports this module, and none needs it

    arguments = stop_arguments(stop_after)
    _command("from dora_rt.cli.dora_launch import main; main()", str(dataflow_path), *arguments)


def start_runtime() -> None:
    """Run the operators that dora-launch gave to this process."""
    from dora_rt.node.runtime import main

    main()


def _warn_of_uv(uv: bool | None) -> None:
    if uv:
        warnings.warn(
            f"uv=True has no effect: nodes run with {sys.executable}, install there what they need",
            stacklevel=3,
        )


def _command(code: str, *arguments: str) -> None:
    # Each node imports this module, and none needs this.
    import subprocess

    # A process of its own: it handles signals, and wants to be the main thread.
    done = subprocess.run([sys.executable, "-c", code, *arguments])
    if done.returncode:
        raise LaunchError(
            f"{' '.join(arguments)} ended with exit code {done.returncode}; see above why"
        )
