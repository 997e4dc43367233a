"""Runs dataflows that a test breaks: their processes, objects and directories can be told apart."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.harness.flow import Flow
from tests.harness.objects import namespace
from tests.harness.processes import marked_processes
from tests.harness.verbs import COMMAND
from tests.harness.waiting import eventually

_MARK = "DORA_RT_TEST_MARK"

TICKING = """
    nodes:
      - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
      - {id: sink, path: sink.py, inputs: {out: source/out}}
"""

SOURCE = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("out", b"x")
"""

SINK = """
    import os
    from pathlib import Path
    from dora_rt import Node
    for event in Node():
        Path("received").write_text("x")
"""


class IsolatedFlow(Flow):
    """A folder with dataflow files, a folder of runs and marked processes of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.mark = secrets.token_hex(8)

    @property
    def base(self) -> Path:
        return self.runtime / f"dora_rt.{namespace()}"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), _MARK: self.mark}

    def write_ticking(self) -> None:
        self.write("flow.yml", TICKING)
        self.write("source.py", SOURCE)
        self.write("sink.py", SINK)

    def start(
        self,
        *arguments: str,
        file: Path | None = None,
        command: Sequence[str] = (),
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stderr: int = subprocess.STDOUT,
    ) -> subprocess.Popen[str]:
        """Start a launcher whose output and errors are one text."""
        return super().start(
            *arguments, file=file, command=command, env=env, pass_fds=pass_fds, stderr=stderr
        )

    def start_and_wait_for(self, *files: str, arguments: Sequence[str] = ()) -> int:
        """Start flow.yml, wait until the nodes have written these files, and return the pid."""
        launcher = self.start(*arguments)
        eventually(lambda: all(self.has(file) for file in files))
        assert launcher.poll() is None
        return launcher.pid

    def finish(self, *arguments: str, command: Sequence[str] = ()) -> tuple[int, str]:
        """Run a launcher to its end, and return its exit code and all that it printed."""
        launcher = self.start(*arguments, command=command)
        out, _ = launcher.communicate(timeout=30)
        return launcher.returncode, out

    def clean(self, *arguments: str) -> str:
        """Run `dora-rt clean`, and return what it printed."""
        done = subprocess.run(
            [*COMMAND, "clean", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def has(self, file: str) -> bool:
        path = self.folder / file
        return path.exists() and path.stat().st_size > 0

    def number(self, file: str) -> int:
        """Return the number that a node has written to a file; 0 while it is being written."""
        return int((self.folder / file).read_text() or 0)

    def kill(self, pid: int) -> None:
        """SIGKILL a launcher, and see that this is what it died of."""
        launcher = next(launcher for launcher in self._launchers if launcher.pid == pid)
        assert launcher.poll() is None, "it lives until now"
        launcher.kill()
        assert launcher.wait(30) == -signal.SIGKILL

    def runs(self) -> set[str]:
        """Return the names of what is in the folder of the run directories."""
        try:
            return {path.name for path in self.base.iterdir()}
        except FileNotFoundError:
            # The last run takes the folder with it, in between two looks at it too.
            return set()

    def processes(self) -> dict[int, str]:
        """Return the living processes of this flow, with their command lines."""
        return {pid: line.decode() for pid, _, line in marked_processes(_MARK, self.mark)}

    def reaper(self) -> int:
        (pid,) = [pid for pid, line in self.processes().items() if "reaper.py" in line]
        return pid

    def close(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for launcher in self._launchers:
            launcher.communicate(timeout=30)
        eventually(lambda: not self.processes())
        if not self.base.is_symlink() and self.runs():
            self.clean()
