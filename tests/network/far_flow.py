"""One dataflow on several machines of a test, each with its launcher, over emulated links."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

from dora_rt.runs import NAMESPACE_VARIABLE
from tests.harness.machines import Machines
from tests.harness.objects import namespace
from tests.harness.processes import marked_processes
from tests.harness.waiting import PATIENCE_S, eventually

SOURCE = """
    import sys, time
    import numpy as np
    from dora_rt import Node

    # Sends numbered values: output, Hz, how many, bytes of each.
    output, hz, count, nbytes = sys.argv[1], *map(int, sys.argv[2:5])
    node = Node()
    value = np.random.default_rng(1).integers(0, 256, max(nbytes, 8), dtype=np.uint8)
    began = time.monotonic()
    for number in range(count):
        value[:8] = np.array([number]).view(np.uint8)
        node.send_output(output, value)
        due = began + (number + 1) / hz
        time.sleep(max(0.0, due - time.monotonic()))
        # After a wait for a reader it goes on at its pace, and does not catch up.
        began += max(0.0, time.monotonic() - due - 1 / hz)
"""

SINK = """
    import os, sys, time
    import numpy as np
    from dora_rt import Event, Node

    # Appends a line for each value: input, number, when it came (ns).
    target = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for event in Node():
        if isinstance(event, Event):
            number = int(np.frombuffer(bytes(event.value[:8]), np.int64)[0])
            line = f"{event.id} {number} {time.monotonic_ns()}\\n"
            os.write(target, line.encode())
"""


class FarLauncher:
    """The launcher of one machine."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str], report: Path) -> None:
        self.report_path = report
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, within_s: float = PATIENCE_S) -> None:
        """Wait until it has printed a text."""
        try:
            eventually(lambda: any(text in line for line in self.lines), within_s=within_s)
        except AssertionError:
            raise AssertionError(f"no {text!r} in:\n{self.output}") from None

    def finish(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for its end, and return its report."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.output}") from None
        self._reader.join()
        report: dict[str, Any] = json.loads(self.report_path.read_text())
        return report

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()


class FarFlow:
    """A folder with a dataflow file that all machines of a test run their part of."""

    def __init__(self, lab: Machines, folder: Path, text: str) -> None:
        self.lab = lab
        self.folder = folder
        self._launchers: list[FarLauncher] = []
        self._others: list[subprocess.Popen[bytes]] = []
        self._starts = 0
        (folder / "flow.yml").write_text(dedent(text))
        (folder / "source.py").write_text(dedent(SOURCE))
        (folder / "sink.py").write_text(dedent(SINK))

    def environ(self, machine: str) -> dict[str, str]:
        """Return the environment on a machine: the runs there are not seen on the others."""
        runtime = self.folder / machine / "runtime"
        runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = self.folder / machine / "state"
        return {
            **os.environ,
            NAMESPACE_VARIABLE: self.namespace(machine),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_STATE_HOME": str(state),
            "HOME": str(self.folder),
        }

    def namespace(self, machine: str) -> str:
        return f"{namespace()}{machine[:2]}"

    def start(self, machine: str, *arguments: str, file: Path | None = None) -> FarLauncher:
        """Start the launcher of a machine."""
        self._starts += 1
        report = self.folder / f"report-{machine}-{self._starts}.json"
        command = self.lab.command(
            machine,
            *(sys.executable, "-m", "dora_rt", str(file or self.folder / "flow.yml")),
            *("--machine", machine, "--report", str(report), *arguments),
        )
        launcher = FarLauncher(command, self.environ(machine), report)
        self._launchers.append(launcher)
        return launcher

    def start_verb(self, machine: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a verb of dora-rt on a machine."""
        command = self.lab.command(machine, sys.executable, "-m", "dora_rt.cli", *words)
        process = subprocess.Popen(command, env=self.environ(machine))
        self._others.append(process)
        return process

    def verb(self, machine: str, *words: str) -> int:
        """Run a verb of dora-rt on a machine to its end, and return its status."""
        return self.start_verb(machine, *words).wait(30)

    def received(self, file: str, input_id: str) -> list[int]:
        """Return the numbers that a sink has got at an input, in order."""
        return [number for number, _ in self.arrivals(file, input_id)]

    def arrivals(self, file: str, input_id: str) -> list[tuple[int, int]]:
        """Return the numbers that a sink has got, and when (ns)."""
        path = self.folder / file
        lines = path.read_text().splitlines() if path.exists() else []
        words = (line.split() for line in lines)
        return [(int(number), int(at)) for name, number, at in words if name == input_id]

    def processes(self, machine: str) -> dict[int, bytes]:
        """Return the living processes of a machine, with their command lines."""
        mark = self.namespace(machine)
        return {pid: line for pid, _, line in marked_processes(NAMESPACE_VARIABLE, mark)}

    def gateway(self, machine: str) -> int:
        """Return the process of the gateway of a machine."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [
                pid
                for pid, line in self.processes(machine).items()
                if b"dora_rt.network.gateway" in line
            ]
            return len(found) == 1

        eventually(is_there)
        return found[0]

    def kill_gateway(self, machine: str) -> None:
        os.kill(self.gateway(machine), signal.SIGKILL)

    def close(self) -> None:
        for launcher in self._launchers:
            launcher.close()
        for process in self._others:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def edge(report: dict[str, Any], source: str) -> dict[str, Any]:
    """Return what a report says of the edge of an output."""
    (found,) = [entry for entry in report["edges"] if entry["source"] == source]
    return dict(found)
