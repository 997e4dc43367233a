"""ROS 2: a camera of 1080p at 30 Hz that a program of ROS 2 reads in another process.

In the rows of dora_rt the camera is a node of a dataflow, and the ready node ros2 passes its
pictures on. In the others a program publishes them itself. The reader is an ordinary program for
rclpy, or one that takes messages from zenoh as rmw_zenoh sends them (there is no rmw_zenoh for pip
to install). Age: from before a picture is sent to when the reader has its pixels. Processor time is
that of all processes together, as a share of one core. A picture that is late by more than a period
when its turn comes is not sent. Nothing is pinned.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contender import Command
from benchmarks.contenders.dora_rt import launch_command
from benchmarks.contenders.ros import LEFTOVERS
from benchmarks.leftovers import removed
from benchmarks.placement import placements
from benchmarks.processes import JobError, check, cpu_ns, descendants, running
from benchmarks.ros2_worker import BEGUN, RECEIVED, SENT, TOLD, TOPIC, TYPE_NAME
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table, quantity
from benchmarks.timing import Row, over_rounds

NAME = "ros2"
_HZ = 30
_SECONDS, _QUICK_SECONDS = 12, 1
_RCLPY = ("rclpy", "rmw_fastrtps_cpp", "sensor_msgs")


@dataclass(frozen=True, slots=True)
class Way:
    """One way from the camera to the reader."""

    name: str
    transport: str
    """Of the reader, and of the camera: rclpy or zenoh."""
    is_dora_rt: bool = False
    is_reliable: bool = False
    is_tuned: bool = False
    """Of rclpy alone: serialized messages, and the segment that the node ros2 gives Fast DDS."""
    shares_memory: bool = False

    def missing(self) -> str | None:
        """Say why it cannot run here; None if it can."""
        for module in _RCLPY if self.transport == "rclpy" else ("zenoh",):
            if find_spec(module) is None:
                return f"{module} is not installed (pip install -e '.[bench]')"
        return None


WAYS = (
    Way("ROS 2 rclpy, best effort", "rclpy"),
    Way("ROS 2 rclpy, reliable", "rclpy", is_reliable=True),
    Way("ROS 2 rclpy, reliable, tuned", "rclpy", is_reliable=True, is_tuned=True),
    Way("dora_rt → ROS 2 rclpy, reliable", "rclpy", is_dora_rt=True, is_reliable=True),
    Way("zenoh + CDR", "zenoh"),
    Way("dora_rt → zenoh + CDR", "zenoh", is_dora_rt=True),
    Way("zenoh + CDR, shared memory", "zenoh", shares_memory=True),
    Way("dora_rt → zenoh + CDR, shared memory", "zenoh", is_dora_rt=True, shares_memory=True),
)


def measure(session: Session) -> None:
    """Let all ways take turns."""
    found = []
    for way in WAYS:
        if not session.is_wanted(way.name):
            continue
        if reason := way.missing():
            session.skip(way.name, reason)
        else:
            found.append(way)
    seconds = _QUICK_SECONDS if session.options.is_quick else _SECONDS
    for number in range(session.options.rounds):
        turn = number % max(len(found), 1)
        for way in (*found[turn:], *found[:turn]):
            session.say(f"round {number + 1}, {way.name}")
            try:
                row = _run(session, way, seconds)
            except JobError as error:
                session.note(f"{way.name}, {NAME}: {error}")
            else:
                session.add(NAME, [row], round=number, contender=way.name)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for way in WAYS:
        mine = [row for row in rows if row["contender"] == way.name]
        if not mine:
            continue
        keys = ("sent", "received", "p50_ms", "p99_ms", "cpu_percent")
        lines.append([way.name, *(quantity(over_rounds(mine, key)) for key in keys)])
    head = ["", "sent", "received", "age p50, ms", "age p99, ms", "% of a core, in all"]
    return [Table("A camera that a program of ROS 2 reads: 1080p at 30 Hz", head, lines)]


def _run(session: Session, way: Way, seconds: int) -> Row:
    place = placements()[0]
    with private_folder() as folder, removed(*LEFTOVERS, "*.zenoh"), _environment(folder):
        told = {
            "hz": _HZ,
            "seconds": seconds,
            "router": _free_address(),
            "is_reliable": way.is_reliable,
            "is_tuned": way.is_tuned,
            "shares_memory": way.shares_memory,
        }
        (folder / TOLD).write_text(json.dumps(told))
        worker = [sys.executable, "-m", "benchmarks.ros2_worker"]
        camera: Command = [*worker, "publish", way.transport]
        if way.is_dora_rt:
            file = folder / "dataflow.yml"
            file.write_text(json.dumps(_make_dataflow(way, told)))
            camera = launch_command(file)
        commands = [camera, [*worker, "subscribe", way.transport]]
        cores = tuple(sorted({place.writer, place.readers}))
        log = folder / "output.log"
        with running(commands, cores=cores, log=log) as started:
            deadline = time.monotonic() + session.options.timeout_s + seconds

            def wait_until(is_done: Callable[[], bool]) -> None:
                while not is_done():
                    check(started, log)
                    if time.monotonic() > deadline:
                        raise JobError(f"{way.name} did not end in time")
                    time.sleep(0.01)

            wait_until((folder / BEGUN).exists)
            cpu_percent = _cpu_percent(lambda: wait_until((folder / SENT).exists))
            wait_until(lambda: all(process.poll() is not None for process in started))
            check(started, log)
        sent, received = (json.loads((folder / name).read_text()) for name in (SENT, RECEIVED))
        return {**sent, **received, "cpu_percent": cpu_percent}


def _make_dataflow(way: Way, told: dict[str, Any]) -> dict[str, Any]:
    options = ",reliable" if way.is_reliable else ""
    args = ["--transport", way.transport, "--publish", f"image={TOPIC}:{TYPE_NAME}{options}"]
    if way.transport == "zenoh":
        args += ["--start-router", "--router", told["router"]]
        args += ["--shared-memory"] if way.shares_memory else []
    return {
        "nodes": [
            {
                "id": "camera",
                "module": "benchmarks.ros2_worker",
                "args": ["camera"],
                "outputs": ["image"],
            },
            {
                "id": "ros",
                "module": "dora_rt.nodes.ros2",
                "args": args,
                "inputs": {"image": {"source": "camera/image", "queue_policy": "latest"}},
            },
        ]
    }


def _cpu_percent(wait: Callable[[], None]) -> float:
    """Give the processor time of all programs while something is waited for."""
    everyone = descendants()
    before = {pid: cpu_ns(pid) for pid in everyone}
    began = time.monotonic_ns()
    wait()
    used = sum(cpu_ns(pid) - before[pid] for pid in everyone)
    return 100 * used / (time.monotonic_ns() - began)


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Let rclpy speak to this run only, and never over the network."""
    own = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(secrets.randbelow(100) + 1),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "ROS_LOG_DIR": str(folder / "log"),
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp/127.0.0.1:{one.getsockname()[1]}"
