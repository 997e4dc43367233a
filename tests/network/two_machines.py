"""One dataflow on two machines that are this one: two launchers, each with a folder of runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dora_rt.runs import Connection, find_runs
from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.ports import free_port
from tests.harness.verbs import verb
from tests.harness.waiting import eventually

YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{}}
    nodes:
      - id: camera
        machine: robot
        path: camera.py
        inputs: {{tick: dora/timer/millis/20}}
        outputs: [image, number, view]
      - id: sink
        machine: laptop
        path: sink.py
        inputs: {{image: {{source: camera/image, queue_policy: latest}}}}
        outputs: [answer]
"""
CAMERA = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    print("camera begins", flush=True)
    for number, event in enumerate(node):
        node.send_output("image", np.full((48, 64, 3), number % 200, np.uint8))
        node.send_output("number", np.array([number], np.int64))
        node.send_output("view", np.full((120, 160, 3), number % 200, np.uint8))
"""
SINK = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    print("sink begins", flush=True)
    for number, event in enumerate(node):
        node.send_output("answer", np.array([number, 7], np.int64))
"""
MACHINES = ("robot", "laptop")


class TwoMachines:
    """The launchers of `robot` and `laptop`, and the verbs that a user types on each."""

    def __init__(self, folder: Path) -> None:
        self.flow = Flow(folder)
        self.flow.write("flow.yml", YAML.format(port=free_port()))
        self.flow.write("camera.py", CAMERA)
        self.flow.write("sink.py", SINK)
        self.launchers: dict[str, subprocess.Popen[str]] = {}
        for machine in MACHINES:
            (folder / machine).mkdir(mode=0o700)

    def environ(self, machine: str) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": str(self.flow.folder / machine)}

    def start(self, machine: str) -> subprocess.Popen[str]:
        # What they print may be more than a pipe holds.
        log = self.flow.folder / f"{machine}.out"
        shell = 'exec "$@" > "$0" 2>&1'
        command = ["sh", "-c", shell, str(log), *self.flow.command("--machine", machine)]
        self.launchers[machine] = self.flow.start(command=command, env=self.environ(machine))
        return self.launchers[machine]

    def start_all(self) -> None:
        for machine in MACHINES:
            self.start(machine)
        for machine in MACHINES:
            eventually(lambda machine=machine: self.is_flowing(machine))  # type: ignore[misc]

    def is_flowing(self, machine: str) -> bool:
        """Whether the samples of the other machine have been delivered, as both ends know."""
        status = self.status(machine)
        edges = status.get("edges", [])
        return bool(edges) and all(edge["delivered"] for edge in edges if edge["machines"])

    def status(self, machine: str, of: str | None = None) -> dict[str, object]:
        """Ask a run for its status, or through it the run of another machine."""
        base = self.flow.folder / machine
        for folder in base.iterdir():
            for run in find_runs(folder):
                connection = Connection.open(folder, run)
                if connection is not None:
                    with connection:
                        return connection.ask("status", **({"machine": of} if of else {}))[0]
        return {}

    def on(self, machine: str, *words: str) -> Finished:
        """Run a verb on a machine."""
        return verb(*words, env=self.environ(machine))

    def begin(self, machine: str, *words: str) -> subprocess.Popen[str]:
        """Start a verb that goes on, on a machine; the test ends it."""
        return self.flow.start(
            command=[sys.executable, "-u", "-m", "dora_rt.cli", *words], env=self.environ(machine)
        )

    def printed(self, machine: str) -> str:
        return (self.flow.folder / f"{machine}.out").read_text()

    def close(self) -> None:
        self.flow.close()
