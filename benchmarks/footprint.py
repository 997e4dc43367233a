"""Footprint: what a dataflow of ten nodes takes when nothing happens in it.

A chain of ten nodes that import nothing but the node API. One message has passed through it, then
for some seconds none. Memory is the proportional set size (what is shared with others counts by
share) and the resident set size of each node; processor time is that of all processes together,
launcher and helpers included, as a share of one core.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median

from benchmarks.chain import make_dataflow
from benchmarks.contenders import DORA_RS, DORA_RT, DORA_RT_SPINNING
from benchmarks.contenders.dora_client import dora_command
from benchmarks.contenders.dora_rt import launch_command, node_keys
from benchmarks.memory import memory_mb
from benchmarks.processes import JobError, check, cpu_ns, descendants, running
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds

NAME = "footprint"
NODES = 10
_SETTLE_S = 1.0
_BUDGETS = 20
_FIRST_TICK = {"tick": "dora/timer/secs/3600"}


def measure(session: Session) -> None:
    """Let the products take turns."""
    names = (DORA_RT, DORA_RT_SPINNING, DORA_RS)
    found = session.contenders(names)
    for number in range(session.options.rounds):
        for contender in found:
            session.say(f"round {number + 1}, {contender.name}")
            try:
                row = _watch(session, contender.name)
            except JobError as error:
                session.note(f"{NAME}, {contender.name}: {error}")
            else:
                session.add(NAME, [row], round=number, contender=contender.name)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for contender in dict.fromkeys(row["contender"] for row in rows):
        mine = [row for row in rows if row["contender"] == contender]

        def text(key: str, form: str, mine: list[Row] = mine) -> str:
            value = over_rounds(mine, key)
            return "" if value is None else f"{value:{form}}"

        memory = [text(key, ".1f") for key in ("node_pss_mb", "node_rss_mb")]
        rest = [text("threads", ".0f"), text("rest_pss_mb", ".1f"), text("cpu_percent", ".3f")]
        lines.append([contender, *memory, *rest])
    head = ["", "PSS MB", "RSS MB", "threads", "PSS MB of the rest", "% of a core, in all"]
    return [Table(f"An idle dataflow of {NODES} nodes; of a node, the median", head, lines)]


def _watch(session: Session, name: str) -> Row:
    is_dora = name == DORA_RS
    keys = {} if is_dora else node_keys(spins=name == DORA_RT_SPINNING)
    with private_folder() as folder:
        file = folder / "dataflow.yml"
        dataflow = make_dataflow(
            "dora" if is_dora else "dora_rt", folder, NODES, _FIRST_TICK, keys=keys
        )
        file.write_text(json.dumps(dataflow))
        command = dora_command(file) if is_dora else launch_command(file)
        log = folder / "output.log"
        cores = tuple(os.sched_getaffinity(0))
        with running([command], cores=cores, log=log) as started:
            deadline = time.monotonic() + session.options.timeout_s
            while not (folder / f"{NODES - 1}.arrived").exists():
                check(started, log)
                if time.monotonic() > deadline:
                    raise JobError("no message came through")
                time.sleep(0.01)
            time.sleep(0 if session.options.is_quick else _SETTLE_S)
            row = _look(folder, _BUDGETS * session.options.budget_s)
            check(started, log)
        return row


def _look(folder: Path, seconds: float) -> Row:
    everyone = descendants()
    nodes = [int(file.read_text()) for file in folder.glob("*.pid")]
    before = {pid: cpu_ns(pid) for pid in everyone}
    began = time.monotonic_ns()
    time.sleep(seconds)
    passed = time.monotonic_ns() - began
    used = sum(cpu_ns(pid) - before[pid] for pid in everyone)
    return {
        "node_pss_mb": median(memory_mb(pid, "Pss:") for pid in nodes),
        "node_rss_mb": median(memory_mb(pid, "Rss:") for pid in nodes),
        "threads": median(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in nodes),
        "rest_pss_mb": sum(memory_mb(pid, "Pss:") for pid in set(everyone) - set(nodes)),
        "cpu_percent": 100 * used / passed,
    }
