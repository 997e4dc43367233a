"""A place to break things: dataflows whose processes, objects and directories can be told apart."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from tests.helpers import eventually
from tests.own import SHM, namespace, own_objects

_MARK = "DORA_RT_TEST_BED"

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


class Bed:
    """A folder with dataflow files, a run directory and marked processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.mark = secrets.token_hex(8)
        self._launchers: list[subprocess.Popen[str]] = []

    @property
    def base(self) -> Path:
        return self.runtime / f"dora_rt.{namespace()}"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), _MARK: self.mark}

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(dedent(text))
        return path

    def write_ticking(self) -> None:
        self.write("flow.yml", TICKING)
        self.write("source.py", SOURCE)
        self.write("sink.py", SINK)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dora_rt", str(self.folder / "flow.yml"), *arguments]

    def start(
        self,
        *arguments: str,
        command: Sequence[str] = (),
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start a launcher: of flow.yml with these arguments, or as the command says."""
        launcher = subprocess.Popen(
            command or self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**self.environ, **(env or {})},
            pass_fds=pass_fds,
        )
        self._launchers.append(launcher)
        return launcher

    def start_and_wait_for(self, *files: str, arguments: Sequence[str] = ()) -> int:
        """Start flow.yml, wait until the nodes have written these files, and give the pid."""
        launcher = self.start(*arguments)
        eventually(lambda: all(self.has(file) for file in files), within_s=20)
        assert launcher.poll() is None
        return launcher.pid

    def run(self, *arguments: str, command: Sequence[str] = ()) -> tuple[int, str]:
        """Run a launcher to its end, and give its exit code and all that it printed."""
        launcher = self.start(*arguments, command=command)
        out, _ = launcher.communicate(timeout=30)
        return launcher.returncode, out

    def clean(self, *arguments: str) -> str:
        """Run `dora-rt clean`, and give what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", "from dora_rt.cli import main; main()", "clean", *arguments],
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
        """Give the number that a node has written to a file; 0 while it is being written."""
        return int((self.folder / file).read_text() or 0)

    def kill(self, pid: int) -> None:
        """SIGKILL a launcher, and see that this is what it died of."""
        launcher = next(launcher for launcher in self._launchers if launcher.pid == pid)
        assert launcher.poll() is None, "it lives until now"
        launcher.kill()
        assert launcher.wait(5) == -signal.SIGKILL

    def runs(self) -> set[str]:
        """Give the names of what is in the folder of the run directories."""
        return {path.name for path in self.base.iterdir()} if self.base.exists() else set()

    def processes(self) -> dict[int, str]:
        """Give the living processes of this bed, with their command lines."""
        mark = f"{_MARK}={self.mark}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0") and is_alive(folder):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode()
        return found

    def reaper(self) -> int:
        (pid,) = [pid for pid, line in self.processes().items() if "reaper.py" in line]
        return pid

    def close(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for launcher in self._launchers:
            launcher.communicate(timeout=10)
        eventually(lambda: not self.processes())
        if not self.base.is_symlink() and self.runs():
            self.clean()


def is_alive(folder: Path) -> bool:
    """Tell of a folder in /proc whether its process is more than a zombie."""
    return (folder / "stat").read_text().rpartition(") ")[2][0] not in "ZX"


def objects(run: str = "") -> dict[str, int]:
    """Give the shared objects of a run, or of all tests, with the bytes that they take."""
    found = {}
    for name in own_objects():
        if name.removeprefix("sem.").startswith(f"drt-{run}"):
            with contextlib.suppress(FileNotFoundError):
                found[name] = (SHM / name).stat().st_blocks * 512
    return found


def new_objects(before: dict[str, int]) -> set[str]:
    """Give the shared objects that are there since."""
    return own_objects() - before.keys()


def cpu_ticks(pid: int) -> int:
    """Give the processor time that a process has used, in ticks (of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])
