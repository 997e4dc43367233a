"""Four machines, of which programs are killed at random: nothing hangs, and nothing is left."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dora_rt.runs import Connection, find_runs
from tests.harness.flow import Flow
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.programs, pytest.mark.slow]

IS_SOAK = os.environ.get("SOAK") == "1"
# Every machine reads from another one; the viewer comes and goes.
YAML = """
    machines:
      robot: {{listen: "127.0.0.1:{port}"}}
      laptop: {{}}
      box: {{}}
      viewer: {{optional: true}}
    nodes:
      - id: camera
        machine: robot
        path: source.py
        restart: always
        max_restarts: 0
        restart_delay: 100ms
        outputs: [image]
      - id: detector
        machine: box
        path: pass_on.py
        restart: always
        max_restarts: 0
        restart_delay: 100ms
        inputs: {{image: {{source: camera/image, queue_policy: latest}}}}
        outputs: [image]
      - id: planner
        machine: laptop
        path: pass_on.py
        restart: always
        max_restarts: 0
        restart_delay: 100ms
        inputs: {{image: {{source: detector/image, queue_policy: block, queue_size: 20}}}}
        outputs: [image]
      - id: motors
        machine: robot
        path: pass_on.py
        restart: always
        max_restarts: 0
        restart_delay: 100ms
        inputs: {{image: {{source: planner/image, queue_policy: latest, input_timeout: 300ms}}}}
        outputs: [image]
      - id: screen
        machine: viewer
        path: pass_on.py
        restart: always
        max_restarts: 0
        restart_delay: 100ms
        inputs: {{image: {{source: camera/image, queue_size: 5}}}}
        outputs: [image]
"""
SOURCE = """
    import time
    import numpy as np
    from dora_rt import Node
    node = Node()
    number = 0
    while not node.is_stopped():
        node.send_output("image", np.full((60, 80, 3), number % 200, np.uint8))
        number += 1
        time.sleep(0.02)
"""
PASS_ON = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("image", event.value)
"""
MACHINES = ("robot", "laptop", "box", "viewer")
NEEDED = MACHINES[:3]


class FourMachines:
    """Four launchers, each with a folder of runs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flow = Flow(folder)
        self.flow.write("flow.yml", YAML.format(port=free_port()))
        self.flow.write("source.py", SOURCE)
        self.flow.write("pass_on.py", PASS_ON)
        self.launchers: dict[str, subprocess.Popen[str]] = {}
        for machine in MACHINES:
            (folder / machine).mkdir(mode=0o700)

    def start(self, machine: str) -> None:
        log = self.folder / f"{machine}.out"
        words = ["sh", "-c", 'exec "$@" >> "$0" 2>&1', str(log)]
        command = [*words, *self.flow.command("--machine", machine)]
        environ = {"XDG_RUNTIME_DIR": str(self.folder / machine)}
        self.launchers[machine] = self.flow.start(command=command, env=environ)

    def status(self, machine: str) -> dict[str, Any]:
        """Return the status of the living run of a machine; {}: there is none yet."""
        for folder in (self.folder / machine).iterdir():
            for run in find_runs(folder):
                connection = Connection.open(folder, run)
                if connection is None:
                    continue
                with connection, contextlib.suppress(OSError):
                    status = connection.ask("status")[0]
                    if status["pid"] == self.launchers[machine].pid:
                        return status
        return {}

    def is_whole(self) -> bool:
        """Whether all four run, see each other, and each crossing edge is there."""
        statuses = [self.status(machine) for machine in MACHINES]
        return all(
            status
            and status["state"] == "running"
            and status["network"] is not None
            and all(one["state"] == "ready" for one in status["network"]["machines"])
            for status in statuses
        )

    def delivered(self) -> dict[str, int]:
        """Return what each edge from another machine has delivered here, by its input."""
        return {
            edge["target"]: edge["delivered"] or 0
            for machine in MACHINES
            for status in [self.status(machine)]
            for edge in status.get("edges", [])
            if edge["machines"] is not None and edge["machines"][1] == machine
        }

    def wait_until_whole(self, after: str = "the start") -> None:
        try:
            eventually(self.is_whole, within_s=40)
            before = self.delivered()
            eventually(
                lambda: (
                    len(now := self.delivered()) == 4
                    and all(now[name] != before.get(name) for name in now)
                ),
            )
        except AssertionError as error:
            raise AssertionError(f"{error} after {after}\n{self.picture()}") from error

    def picture(self) -> str:
        """Return what is known of all, for a failure."""
        texts = []
        for machine in MACHINES:
            status = self.status(machine)
            shown = {key: status.get(key) for key in ("state", "network")}
            log = (self.folder / f"{machine}.out").read_text()[-700:]
            texts.append(f"== {machine}: {json.dumps(shown)}\n{log}")
        return "\n".join([*texts, str(self.delivered())])

    def victims(self) -> list[tuple[str, str, int]]:
        """Return all that runs: the machine, what it is, its process."""
        found = []
        for machine in MACHINES:
            launcher = self.launchers[machine]
            if launcher.poll() is None:
                found.append((machine, "launcher", launcher.pid))
                found += [
                    (machine, process["name"], process["pid"])
                    for process in self.status(machine).get("processes", [])
                    if process["pid"] is not None
                ]
        return found


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[FourMachines]:
    machines = FourMachines(tmp_path)
    yield machines
    machines.flow.close()


@pytest.mark.timeout(300)
def test_machines_start_in_any_order_and_each_end_is_that_of_all(machines: FourMachines):
    orders = list(itertools.permutations(MACHINES))
    chance = random.Random(7)
    for order in chance.sample(orders, 4 if IS_SOAK else 1):
        for machine in order:
            machines.start(machine)
        machines.wait_until_whole()
        # The optional one goes alone, and comes back.
        machines.launchers["viewer"].send_signal(signal.SIGINT)
        assert machines.launchers["viewer"].wait(20) == 130
        assert all(machines.launchers[name].poll() is None for name in NEEDED)
        machines.start("viewer")
        machines.wait_until_whole()

        first = chance.choice(NEEDED)
        machines.launchers[first].send_signal(signal.SIGINT)
        codes = {name: machines.launchers[name].wait(30) for name in NEEDED}

        assert codes == {name: 130 if name == first else 0 for name in NEEDED}, machines.picture()
        machines.launchers["viewer"].send_signal(signal.SIGINT)
        machines.launchers["viewer"].wait(20)


@pytest.mark.timeout(900)
def test_random_kills_leave_nothing_hanging_and_nothing_behind(machines: FourMachines):
    seed = int(os.environ.get("KILLS_SEED", "1"))
    kills = int(os.environ.get("KILLS", "50" if IS_SOAK else "5"))
    chance = random.Random(seed)
    for machine in MACHINES:
        machines.start(machine)
    machines.wait_until_whole()
    killed = []

    for number in range(kills):
        machine, what, pid = chance.choice(machines.victims())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        killed.append(f"{number}: {what} of {machine}")
        if what == "launcher":
            assert machines.launchers[machine].wait(10) == -signal.SIGKILL
            time.sleep(chance.choice([0.0, 0.3, 2.5]))
            machines.start(machine)
        if number % 5 == 4:
            machines.wait_until_whole(", ".join(killed))

    machines.launchers["laptop"].send_signal(signal.SIGINT)
    codes = {name: machines.launchers[name].wait(60) for name in NEEDED}
    machines.launchers["viewer"].send_signal(signal.SIGINT)
    machines.launchers["viewer"].wait(30)
    assert codes["laptop"] in (130, 1), machines.picture()
    assert set(codes.values()) <= {0, 1, 130}
