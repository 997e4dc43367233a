"""A program beside a run that only looks at it, such as the dashboard: it ends with the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from dora_rt.descriptor.tree.model import Resources
from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.guard import RunGuard

_GRACE_S = 3.0


class Companion:
    """The program, a context manager that ends it; the run neither waits for it nor needs it."""

    def __init__(self, process: subprocess.Popen[bytes], guard: RunGuard) -> None:
        self._process = process
        self._guard = guard

    @classmethod
    def start(cls, argv: Sequence[str], guard: RunGuard, environ: Mapping[str, str]) -> Companion:
        """Start it; it writes where the launcher does.

        Raises:
            LaunchError: it cannot be executed.
        """
        try:
            process = subprocess.Popen(
                # Tied to the life of the launcher, like a node; but the run's lock is not for it:
                # a run is over without it.
                guard.command(argv, Resources()),
                env=environ,
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the launcher; the program still shows how the nodes stop.
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(f"{argv[0]} cannot be started: {error.strerror}") from error
        guard.watch(process.pid)
        return cls(process, guard)

    def close(self) -> None:
        """End it, and whatever it has started."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._guard.forget(self._process.pid)

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
