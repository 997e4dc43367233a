"""What ends a run when its launcher cannot: its directory and lock, its reaper, its trampolines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.descriptor.tree.model import Resources
from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.run_directory import Manifest, RunDirectory, cannot_make

_REAPER = Path(__file__).with_name("reaper.py")
_TRAMPOLINE = Path(__file__).parents[1] / "processes" / "trampoline.py"
_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_GOODBYE_S = 2.0


class RunGuard:
    """The launcher's end of what watches over its run; everything in its main thread."""

    def __init__(
        self, directory: RunDirectory, reaper: subprocess.Popen[bytes], lifeline: int
    ) -> None:
        self.directory = directory
        self._reaper = reaper
        self._lifeline = lifeline

    @classmethod
    def create(cls, base: Path, manifest: Manifest, *, environ: Mapping[str, str]) -> RunGuard:
        """Make the run directory and start the reaper; before the first shared object exists.

        Raises:
            FileExistsError: there is a run of this name.
            LaunchError: the directory or the reaper cannot be made.
        """
        directory = RunDirectory.create(base, manifest)
        read_end, write_end = os.pipe()
        try:
            reaper = _start_reaper(directory, read_end, environ)
        except OSError as error:
            os.close(write_end)
            directory.close()
            raise LaunchError(f"the reaper cannot be started: {error.strerror}") from error
        finally:
            os.close(read_end)
        os.set_blocking(write_end, False)
        return cls(directory, reaper, write_end)

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.directory.path.name

    @property
    def lock_fd(self) -> int:
        """The descriptor that every process of the run must inherit."""
        return self.directory.lock_fd

    def describe(self, text: str) -> None:
        """Write the description of the dataflow.

        Raises:
            LaunchError: it cannot be written.
        """
        try:
            self.directory.description.write_text(text)
        except OSError as error:
            raise cannot_make(self.directory.description, error) from error

    def make_trace(self) -> Path:
        """Make the folder for the trace files of the nodes.

        Raises:
            LaunchError: it cannot be made.
        """
        folder = self.directory.trace
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise cannot_make(folder, error) from error
        return folder

    def command(self, argv: Sequence[str], resources: Resources) -> list[str]:
        """Return the command that becomes `argv`, tied to the life of this process."""
        # Isolated and without site-packages: neither PYTHONPATH nor what is installed can break
        # it or slow it down.
        trampoline = [sys.executable, "-I", "-S", str(_TRAMPOLINE), str(os.getpid())]
        settings = [f"{key}={value}" for key, value in settings_of(resources)]
        return [*trampoline, *settings, "--", *argv]

    def watch(self, session: int) -> None:
        """Tell the reaper of a session that has begun."""
        self._tell(f"+{session}\n")

    def forget(self, session: int) -> None:
        """Tell the reaper of a session whose leader was reaped."""
        self._tell(f"-{session}\n")

    def close(self) -> None:
        """Remove the run directory and dismiss the reaper, in that order.

        Should the launcher be killed in between, the reaper does the rest.
        """
        if self._lifeline < 0:
            return
        self.directory.close()
        self._tell("bye\n")
        os.close(self._lifeline)
        self._lifeline = -1
        try:
            self._reaper.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()

    def __enter__(self) -> RunGuard:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        # A reaper that was killed or stopped is no reason to end a run that goes well.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._lifeline, line.encode())


def _start_reaper(
    directory: RunDirectory, lifeline: int, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    script = str(_REAPER)
    arguments = [directory.path.name, str(directory.path), str(directory.lock_fd)]
    # It inherits what is blocked: until it ignores these signals, none of them can end it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", script, *arguments],
            cwd="/",
            env=environ,
            stdin=lifeline,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(directory.lock_fd,),
            # Neither Ctrl-C nor the end of the terminal is for it.
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settings_of(resources: Resources) -> list[tuple[str, str]]:
    """Return the limits of a process in the form that the trampoline's `apply_setting` takes."""
    cores = resources.cpu_affinity
    settings = {
        "nice": resources.nice,
        "cpu_affinity": None if cores is None else ",".join(map(str, cores)),
        "priority": resources.priority,
        # Last: with little memory, the others might fail.
        "memory_limit": resources.memory_limit_nbytes,
    }
    return [(key, str(value)) for key, value in settings.items() if value is not None]
