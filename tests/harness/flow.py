"""Runs real dataflows of real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from tests.harness.finished import Finished


class Flow:
    """A folder with a dataflow file, its scripts, and the launchers that a test starts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._launchers: list[subprocess.Popen[str]] = []

    @property
    def environ(self) -> dict[str, str]:
        return dict(os.environ)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(dedent(text))
        return path

    def command(self, *arguments: str, file: Path | None = None) -> list[str]:
        path = file or self.folder / "flow.yml"
        return [sys.executable, "-m", "dora_rt", str(path), *arguments]

    def run(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        timeout_s: float = 50,
        mount: str | None = None,
    ) -> Finished:
        """Run it to its end; `mount`: first mount this, where nobody else sees it."""
        command = self.command(*arguments)
        if mount is not None:
            command = ["unshare", "-m", "sh", "-c", f'mount {mount} && exec "$@"', "sh", *command]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**self.environ, **(env or {})},
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(
        self,
        *arguments: str,
        file: Path | None = None,
        command: Sequence[str] = (),
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a launcher that the test ends itself; `close` does so if it failed before.

        Args:
            arguments: of the launcher.
            file: the dataflow file; without it flow.yml.
            command: what to run instead of a launcher of that file.
            env: variables that are put into the environment.
            pass_fds: as in `subprocess.Popen`.
            stderr: as in `subprocess.Popen`.
        """
        launcher = subprocess.Popen(
            command or self.command(*arguments, file=file),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            env={**self.environ, **(env or {})},
            pass_fds=pass_fds,
        )
        self._launchers.append(launcher)
        return launcher

    def close(self) -> None:
        for launcher in self._launchers:
            for _ in range(3):
                if launcher.poll() is None:
                    launcher.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        launcher.wait(1)
            with launcher:
                launcher.kill()
