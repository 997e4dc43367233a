"""Gateway: what the process between two machines costs on each side.

Two network namespaces are joined by a wire; one sends a picture of 1920 x 1080 at 30 Hz, raw or as
JPEG, or one number a second. Processor time is that of each gateway while samples flow, its start
left out, as a share of one core and for each sample that crossed. Memory is its resident set size
at the end. Nothing is pinned.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import DORA_RT
from benchmarks.memory import memory_mb
from benchmarks.processes import (
    JobError,
    check,
    cpu_ns,
    descendants,
    running,
)
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds
from tests.harness.machines import machines, missing_for_machines

NAME = "gateway"
_PORT = 7447
_SIDES = {"robot": "sender", "laptop": "receiver"}


@dataclass(frozen=True, slots=True)
class Load:
    """What crosses."""

    title: str
    is_picture: bool
    hz: int
    over_network: dict[str, Any]


LOADS = (
    Load("one number a second", is_picture=False, hz=1, over_network={}),
    Load("1920 x 1080 raw, 30 Hz", is_picture=True, hz=30, over_network={}),
    Load("1920 x 1080 as JPEG, 30 Hz", is_picture=True, hz=30, over_network={"compress": "jpeg"}),
)


def measure(session: Session) -> None:
    """Let the loads take turns."""
    if not session.is_wanted(DORA_RT):
        return
    if reason := missing_for_machines():
        session.skip(NAME, reason)
        return
    seconds = 1.0 if session.options.is_quick else 15.0
    for number in range(session.options.rounds):
        for load in LOADS:
            session.say(f"round {number + 1}, {load.title}")
            try:
                row = _watch(session, load, seconds)
            except JobError as error:
                session.note(f"{NAME}, {load.title}: {error}")
            else:
                session.add(NAME, [row], round=number, contender=DORA_RT, load=load.title)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for load in LOADS:
        mine = [row for row in rows if row["load"] == load.title]
        if not mine:
            continue
        cells = [f"{over_rounds(mine, 'crossed_hz') or 0:.1f}"]
        for side in _SIDES.values():
            share = over_rounds(mine, f"{side}_percent") or 0.0
            each = over_rounds(mine, f"{side}_ms") or 0.0
            cells.append(f"{share:.1f} %: {each:.1f} ms each")
        cells += [f"{over_rounds(mine, f'{side}_mb') or 0:.0f} MB" for side in _SIDES.values()]
        lines.append([load.title, *cells])
    head = ["", "crossed a second", "of a core at the sender", "at the receiver"]
    head += ["memory at the sender", "at the receiver"]
    return [Table("The gateways of two machines", head, lines)]


def _watch(session: Session, load: Load, seconds: float) -> Row:
    with private_folder() as folder, machines("robot", "laptop") as lab:
        robot, _ = lab.wire("robot", "laptop")
        _write_dataflow(folder, load, robot)
        launch = (sys.executable, "-m", "dora_rt", str(folder / "dataflow.yml"), "--machine")
        commands = [lab.command(machine, *launch, machine) for machine in _SIDES]
        log = folder / "output.log"
        cores = tuple(os.sched_getaffinity(0))
        deadline = time.monotonic() + session.options.timeout_s
        with running(commands, cores=cores, log=log) as started:
            # Both machines are there, and what is done once is over.
            while _crossed(folder) < 1 + load.hz // 2:
                check(started, log)
                if time.monotonic() > deadline:
                    raise JobError("nothing came through")
                time.sleep(0.01)
            row = _look(folder, seconds)
            check(started, log)
        return row


def _look(folder: Path, seconds: float) -> Row:
    gateways = _gateways()
    before = {machine: cpu_ns(pid) for machine, pid in gateways.items()}
    crossed, began = _crossed(folder), time.monotonic_ns()
    time.sleep(seconds)
    passed = time.monotonic_ns() - began
    crossed = _crossed(folder) - crossed
    row: Row = {"crossed_hz": crossed * 1e9 / passed}
    for machine, pid in gateways.items():
        used = cpu_ns(pid) - before[machine]
        side = _SIDES[machine]
        row[f"{side}_percent"] = 100 * used / passed
        row[f"{side}_ms"] = used / 1e6 / max(crossed, 1)
        row[f"{side}_mb"] = memory_mb(pid, "Rss:")
    return row


def _gateways() -> dict[str, int]:
    """Give the processes of both gateways."""
    found = {}
    for pid in descendants():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"dora_rt.network.gateway" in words:
            found[str(json.loads(words[-2])["machine"])] = pid
    if set(found) != set(_SIDES):
        raise JobError(f"there are gateways of {', '.join(found) or 'no machine'}")
    return found


def _crossed(folder: Path) -> int:
    """Give how many samples have crossed: the reader leaves a byte for each."""
    try:
        return (folder / "crossed").stat().st_size
    except FileNotFoundError:
        return 0


def _write_dataflow(folder: Path, load: Load, robot: str) -> None:
    module = "benchmarks.gateway_worker"
    source = {
        "source": "writer/value",
        "queue_policy": "latest",
        **({"over_network": load.over_network} if load.over_network else {}),
    }
    dataflow = {
        "machines": {"robot": {"listen": f"{robot}:{_PORT}"}, "laptop": {}, "insecure": True},
        "nodes": [
            {
                "id": "writer",
                "machine": "robot",
                "module": module,
                "args": ["picture" if load.is_picture else "number"],
                "inputs": {"tick": f"dora/timer/hz/{load.hz}"},
                "outputs": ["value"],
            },
            {
                "id": "reader",
                "machine": "laptop",
                "module": module,
                "args": ["read"],
                "inputs": {"value": source},
            },
        ],
    }
    (folder / "dataflow.yml").write_text(json.dumps(dataflow))
