"""Runs real dataflows of real processes for the tests of this folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent


@dataclass(frozen=True)
class Edge:
    """One row of the summary's edge table."""

    sent: int
    delivered: int
    dropped: int


@dataclass(frozen=True)
class Finished:
    """A dataflow that has ended."""

    exit_code: int
    out: str
    err: str

    def lines(self, node: str) -> list[str]:
        """Give what a node printed."""
        found = re.findall(rf"^{re.escape(node)} *\| (.*)$", self.out, re.M)
        return [line.strip() for line in found]

    def ending(self, node: str) -> str:
        """Give how a node ended, as the summary says it."""
        table = self.out[self.out.index("how it ended") :]
        row = re.search(rf"^{re.escape(node)}  +(.*?)  +\d+  ", table, re.M)
        assert row is not None, self.out
        return row[1]

    def edge(self, source: str, target: str) -> Edge:
        """Give what the summary says of an edge."""
        pattern = rf"^{re.escape(source)} -> {re.escape(target)}  +(\d+)  +(\d+)  +(\d+)"
        row = re.search(pattern, self.out, re.M)
        assert row is not None, self.out
        return Edge(*map(int, row.groups()))


class Flow:
    """A folder with a dataflow file and its scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

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
        timeout_s: float = 30,
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
            env={**os.environ, **(env or {})},
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, file: Path | None = None) -> subprocess.Popen[str]:
        """Start a launcher that the test ends itself; `close` does so if it failed before."""
        launcher = subprocess.Popen(
            self.command(*arguments, file=file),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(launcher)
        return launcher

    def close(self) -> None:
        for launcher in self._started:
            for _ in range(3):
                if launcher.poll() is None:
                    launcher.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        launcher.wait(1)
            with launcher:
                launcher.kill()
