"""Killing at random, and starting and stopping again and again; `make soak` does it for long."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.flow import Flow
from tests.harness.objects import own_objects
from tests.harness.processes import children
from tests.harness.waiting import eventually

IS_SOAK = os.environ.get("SOAK") == "1"
CHAOS_S = 60 if IS_SOAK else 10
CYCLES = 500 if IS_SOAK else 8
KILL_EVERY_S = 0.2
QUEUE = 10
NODE_PROGRAM = re.compile(rb"/(source|sink)\.py\0|dora_rt\.node\.runtime\0")

CHAOS = """
    nodes:
      - {id: left, path: source.py, RESTART, outputs: [frame]}
      - {id: right, path: source.py, RESTART, outputs: [frame]}
      - id: newest
        path: sink.py
        RESTART
        inputs: {frame: {source: left/frame, queue_policy: latest}}
      - {id: both, path: sink.py, RESTART, inputs: {a: left/frame, b: right/frame}}
      - id: all
        path: sink.py
        RESTART
        inputs: {frame: {source: right/frame, queue_policy: block}}
      - id: pair
        RESTART
        operators:
          - {id: first, python: first.py, inputs: {frame: left/frame}, outputs: [mean]}
          - {id: second, python: second.py, inputs: {mean: pair/first/mean, frame: right/frame}}
"""


def write_chaos(flow: Flow) -> None:
    # Without a longest delay the nodes would soon be waiting more than running.
    keys = {
        "restart": "always",
        "max_restarts": 0,
        "restart_delay": 0.05,
        "max_restart_delay": 0.2,
    }
    lines = []
    for line in CHAOS.splitlines():
        if line.strip() == "RESTART":
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}{key}: {value}" for key, value in keys.items()]
        else:
            inline = ", ".join(f"{key}: {value}" for key, value in keys.items())
            lines.append(line.replace("RESTART", inline))
    flow.write("flow.yml", "\n".join(lines))
    flow.write(
        "source.py",
        """
        import time
        import numpy as np
        from dora_rt import Node
        node = Node()
        number = 0
        while not node.is_stopped():
            with node.loan("frame", (64, 64), "uint8") as frame:
                frame[:] = number % 251
            number += 1
            time.sleep(0.001)
        """,
    )
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        held = []
        for event in Node():
            assert (event.value == event.seq % 251).all(), "torn"
            held.append(event.value)
            del held[:-2]
        """,
    )
    flow.write(
        "first.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("mean", dora_input["data"].mean(axis=0))
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "second.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                return DoraStatus.CONTINUE
        """,
    )


def nodes_of(launcher: int) -> list[int]:
    """Give the pids of the nodes, by their command lines."""
    found = []
    for pid in children(launcher):
        try:
            if NODE_PROGRAM.search(Path(f"/proc/{pid}/cmdline").read_bytes()):
                found.append(pid)
        except OSError:
            continue
    return found


def resources(pid: int) -> tuple[int, int]:
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(
        list(Path(f"/proc/{pid}/task").iterdir())
    )


def settled_resources(pid: int) -> tuple[int, int]:
    """Give what a launcher uses once it has done starting nodes."""
    seen = [resources(pid)]

    def is_settled() -> bool:
        seen.append(resources(pid))
        return len(seen) > 300 and len(set(seen[-300:])) == 1

    eventually(is_settled)
    return seen[-1]


@pytest.mark.slow
def test_chaos_leaks_nothing_and_loses_only_what_was_in_the_hands_of_the_killed(flow: Flow):
    write_chaos(flow)
    rng = random.Random(7)
    launcher = flow.start()
    # Its output is read all along: a full pipe would hold it up.
    said: list[str] = []
    assert launcher.stdout is not None
    reader = threading.Thread(target=lambda: said.extend(launcher.stdout or ()))
    reader.start()
    eventually(lambda: len(nodes_of(launcher.pid)) == 6)
    before = settled_resources(launcher.pid)

    # By process, since one may not have died of the first when the next one is sent to it.
    killed = set()
    end = time.monotonic() + CHAOS_S
    next_kill = time.monotonic() + 1
    while time.monotonic() < end:
        time.sleep(max(next_kill - time.monotonic(), 0))
        next_kill += KILL_EVERY_S
        nodes = nodes_of(launcher.pid)
        if nodes:
            pid = rng.choice(nodes)
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    eventually(lambda: len(nodes_of(launcher.pid)) == 6)
    eventually(lambda: resources(launcher.pid) == before)
    launcher.send_signal(signal.SIGINT)
    launcher.wait(30)
    reader.join(30)
    out = "".join(said)

    assert launcher.returncode == 130, out[-3000:]
    assert len(killed) >= 0.8 * (CHAOS_S - 1) / KILL_EVERY_S, "the fault took place"
    deaths = Counter(re.findall(r"^node (\w+) failed: SIGKILL \(Killed\); restart", out, re.M))
    assert deaths.total() == len(killed)
    assert deaths.keys() == {"left", "right", "newest", "both", "all", "pair"}
    assert "torn" not in out
    table = out[out.index("edge  ") :]
    rows = re.findall(r"^(\S+) -> (\S+)  +(\d+)  +(\d+)  +(\d+) ", table, re.M)
    assert len(rows) >= 6
    for source, target, *counts in rows:
        sent, delivered, dropped = map(int, counts)
        writer, reader = (deaths[port.partition("/")[0]] for port in (source, target))
        assert delivered > 0.1 * sent, (source, target, counts)
        # A process that is killed has one sample of an edge in its hands, taken but not counted or
        # made visible but not counted; where both ends die at once, the queue was in their hands.
        lost = sent - delivered - dropped
        in_hands = writer + reader + QUEUE * min(writer, reader)
        assert -writer <= lost <= in_hands, (source, target, counts, deaths)
        assert lost <= 0.05 * sent, (source, target, counts)
        if target == "all/frame":
            assert dropped == 0


@pytest.mark.slow
def test_starting_and_stopping_again_and_again_leaves_nothing(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/2}, outputs: [out]}
          - {id: middle, path: middle.py, inputs: {out: source/out}, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: middle/out}}
        """,
    )
    forward = "from dora_rt import Node\nnode = Node()\nfor event in node:\n"
    flow.write("source.py", f"{forward}    node.send_output('out', b'x')\n")
    flow.write("middle.py", f"{forward}    node.send_output('out', event.value)\n")
    flow.write("sink.py", f"{forward}    pass\n")
    # All in one process, so that what it leaks would add up.
    probe = flow.write(
        "probe.py",
        """
        import os, subprocess, sys, time
        from dora_rt.cli.dora_launch import main

        def once():
            try:
                main([sys.argv[1], "--stop-after", "50ms"])
            except SystemExit as ended:
                assert ended.code == 0, ended.code

        once()
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(int(sys.argv[2])):
            once()
        assert len(os.listdir("/proc/self/fd")) == descriptors, os.listdir("/proc/self/fd")
        # A thread that was joined is in the kernel's list for a moment more.
        deadline_s = time.monotonic() + 2
        while len(threads := os.listdir("/proc/self/task")) > 1:
            assert time.monotonic() < deadline_s, threads
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no child left")
        """,
    )
    before = own_objects()

    done = subprocess.run(
        [sys.executable, str(probe), str(flow.folder / "flow.yml"), str(CYCLES)],
        capture_output=True,
        text=True,
        timeout=60 + 3 * CYCLES,
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.endswith("no child left\n")
    assert own_objects() == before
