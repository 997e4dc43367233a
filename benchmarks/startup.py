"""Start-up: how long until a dataflow works, and until it has ended.

A chain of nodes that import nothing but the node API; the first one sends one message and is done.
From before the command (`dora-launch`, `dora run`) is started to when the second node has the
message, to when the last one has it, and to when the command is back. Nothing is pinned.
"""

from __future__ import annotations

import json
import os
import time

from benchmarks.chain import make_dataflow
from benchmarks.contenders import DORA_RS, DORA_RT
from benchmarks.contenders.dora_client import dora_command
from benchmarks.contenders.dora_rt import launch_command
from benchmarks.processes import JobError
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds

NAME = "startup"
NODES = (2, 10, 50, 100)
_MOST_OF_OTHERS = 10
"""dora-rs needs seconds for more of them."""


def measure(session: Session) -> None:
    """Let the products take turns, with flows of all sizes."""
    names = [contender.name for contender in session.contenders((DORA_RT, DORA_RS))]
    for number in range(session.options.rounds):
        for nodes in NODES[:1] if session.options.is_quick else NODES:
            for name in names:
                if name != DORA_RT and nodes > _MOST_OF_OTHERS:
                    continue
                session.say(f"round {number + 1}, {nodes} nodes, {name}")
                try:
                    row = _start(session, name, nodes)
                except JobError as error:
                    session.note(f"{NAME}, {name}, {nodes} nodes: {error}")
                else:
                    session.add(NAME, [row], round=number, contender=name, nodes=nodes)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for contender in dict.fromkeys(row["contender"] for row in rows):
        for nodes in NODES:
            mine = [row for row in rows if row["contender"] == contender and row["nodes"] == nodes]
            if mine:
                times = (over_rounds(mine, key) for key in ("first_s", "last_s", "end_s"))
                cells = [f"{seconds:.2f}" if seconds is not None else "" for seconds in times]
                lines.append([f"{contender}, {nodes} nodes", *cells])
    head = ["", "at the second node", "at the last node", "command is back"]
    return [
        Table("Start-up of a chain: seconds from the command to the first message", head, lines)
    ]


def _start(session: Session, name: str, nodes: int) -> Row:
    api = "dora_rt" if name == DORA_RT else "dora"
    with private_folder() as folder:
        file = folder / "dataflow.yml"
        file.write_text(json.dumps(make_dataflow(api, folder, nodes, {}, keys={})))
        command = launch_command(file) if name == DORA_RT else dora_command(file)
        began = time.monotonic_ns()
        session.run_commands([command], folder, cores=tuple(os.sched_getaffinity(0)))
        ended = time.monotonic_ns()
        arrived = [int((folder / f"{node}.arrived").read_text()) for node in (1, nodes - 1)]
        times = (*arrived, ended)
        keys = ("first_s", "last_s", "end_s")
        return {key: (at - began) / 1e9 for key, at in zip(keys, times, strict=True)}
