"""Hot path: where the microseconds of an 8-byte round trip of dora_rt go.

Writer and reader run on one core, where nothing but their own work and the switches between them
takes time. First the calls of the node API one by one: of a node that sends to itself, so nobody
has to be woken. Then round trips between two nodes that note, at each tick of the kernel's clock,
at which line of Python they are; a line that calls the kernel, to wake or to sleep, has that time
too.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import DORA_RT, find
from benchmarks.contenders.dora_rt import launch_command, node_keys
from benchmarks.job import WRITER, Job
from benchmarks.placement import ONE_CORE, placements
from benchmarks.processes import JobError
from benchmarks.sampler import Place, sampled
from benchmarks.session import Session, make_job, private_folder
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, percentile
from dora_rt.compiled import IS_COMPILED

NAME = "hot_path"
_MOST_FUNCTIONS, _MOST_LINES = 30, 25


def measure(session: Session) -> None:
    """Measure both, once: the shares matter here, and not the last percent."""
    if not any(contender.name == DORA_RT for contender in session.contenders([DORA_RT])):
        return
    placement = next(place for place in placements() if place.name == ONE_CORE)
    where = {"contender": DORA_RT, "placement": placement.name, "round": 0}
    session.say("the calls, one by one")
    for is_pure in (False, True) if IS_COMPILED else (True,):
        code = "pure Python" if is_pure else "compiled"
        session.add(NAME, _measure_calls(session, placement.writer, is_pure), code=code, **where)
    session.say("the lines of a round trip")
    settings = {"budget_s": 60 * session.options.budget_s}
    job = make_job(NAME, find(DORA_RT), placement, is_answered=True, settings=settings)
    if found := session.run(job):
        for side, rows in found.items():
            session.add(NAME, rows, side=side, **where)


def write(job: Job, link: WriterLink) -> list[Row]:
    """Run round trips, first as they are, then watched."""
    source = payload.make_source(8)
    samples: list[int] = []

    def run_for(budget_s: float) -> int:
        begin = now = time.monotonic_ns()
        count = 0
        while now - begin < budget_s * 1e9:
            before = now
            link.send(source)
            link.receive_reply()
            now = time.monotonic_ns()
            samples.append(now - before)
            count += 1
        return count

    run_for(job.settings["budget_s"] / 5)
    samples.clear()
    run_for(job.settings["budget_s"] / 5)
    round_trip_us = percentile(sorted(samples), 0.5) / 1e3
    began_ns = time.process_time_ns()
    with sampled() as counts:
        count = run_for(job.settings["budget_s"])
    cpu_ns = time.process_time_ns() - began_ns
    end_all(job, link)
    return [{"round_trip_us": round_trip_us}, *_rows(counts, cpu_ns, count)]


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Answer, watched."""
    count = 0
    link.receive()
    began_ns = time.process_time_ns()
    with sampled() as counts:
        link.reply(0)
        while (array := link.receive()) is not None and len(array) != len(payload.END):
            link.reply(payload.read(array))
            count += 1
    return _rows(counts, time.process_time_ns() - began_ns, count)


def tables(rows: list[Row]) -> list[Table]:
    """Give the calls, the functions of both sides, and the lines."""
    timed: dict[str, dict[str, float]] = {}
    for row in rows:
        if "call" in row:
            timed.setdefault(row["call"], {})[row["code"]] = row["p50_us"]
    codes = list(dict.fromkeys(row["code"] for row in rows if "code" in row))
    calls = [
        [call, *(microseconds(found[code]) if code in found else "" for code in codes)]
        for call, found in timed.items()
    ]
    round_trip_us = next((row["round_trip_us"] for row in rows if "round_trip_us" in row), 0.0)
    watched = [row for row in rows if "line" in row]
    functions: dict[tuple[str, str], dict[str, float]] = {}
    for row in watched:
        mine = functions.setdefault((row["file"], row["function"]), {})
        mine[row["side"]] = mine.get(row["side"], 0.0) + row["us"]
    total_us = sum(sum(mine.values()) for mine in functions.values())
    return [
        Table("Calls of the node API, a node that sends to itself: p50 in µs", ["", *codes], calls),
        _functions_table(functions, round_trip_us, total_us),
        _lines_table(watched),
    ]


def _functions_table(
    functions: dict[tuple[str, str], dict[str, float]], round_trip_us: float, total_us: float
) -> Table:
    ordered = sorted(functions.items(), key=lambda item: -sum(item[1].values()))
    lines = [
        [f"{file} {function}", *(f"{mine.get(side, 0):.1f}" for side in (WRITER, "reader0"))]
        for (file, function), mine in ordered[:_MOST_FUNCTIONS]
    ]
    left = [mine for _, mine in ordered[_MOST_FUNCTIONS:]]
    rest = [sum(mine.get(side, 0) for mine in left) for side in (WRITER, "reader0")]
    lines.append(["everything else in Python", *(f"{us:.1f}" for us in rest)])
    note = (
        f"The round trip takes {round_trip_us:.0f} µs, of which both processes work "
        f"{total_us:.0f} µs; the rest is the switching from one to the other."
    )
    head = ["own time of a function, without those it calls", "writer", "reader"]
    return Table("An 8-byte round trip on one core, function by function, in µs", head, lines, note)


def _lines_table(watched: list[Row]) -> Table:
    found: dict[tuple[str, str, int], float] = {}
    for row in watched:
        place = (row["file"], row["function"], row["line"])
        found[place] = found.get(place, 0.0) + row["us"]
    ordered = sorted(found.items(), key=lambda item: -item[1])[:_MOST_LINES]
    lines = [[f"{file}:{line} {function}", f"{us:.1f}"] for (file, function, line), us in ordered]
    title = "The same, line by line, both sides together"
    return Table(title, ["", "µs"], lines)


def _rows(counts: dict[Place, int], cpu_ns: int, round_trips: int) -> list[Row]:
    looks = max(sum(counts.values()), 1)
    each_us = cpu_ns / 1e3 / looks / max(round_trips, 1)
    return [
        {"file": file, "function": function, "line": line, "us": count * each_us}
        for (file, function, line), count in counts.items()
    ]


def _measure_calls(session: Session, core: int, is_pure: bool) -> list[Row]:
    with private_folder() as folder:
        result = folder / "calls.json"
        node = {
            "id": "alone",
            "module": "benchmarks.hot_path",
            "args": [str(result)],
            "inputs": {"back": "alone/out"},
            "outputs": ["out"],
            **node_keys(spins=False),
        }
        file = folder / "dataflow.yml"
        file.write_text(json.dumps({"nodes": [node]}))
        try:
            command = launch_command(file, is_pure=is_pure)
            session.run_commands([command], folder, cores=(core,))
        except JobError as error:
            session.note(f"{NAME}: {error}")
            return []
        rows: list[Row] = json.loads(result.read_text())
        return rows


def _call_one_by_one(result: Path) -> None:
    from dora_rt import Node

    node = Node()
    array, text = payload.make_source(8), bytes(8)
    rows: list[Row] = []
    kept: list[Any] = []

    def timed(name: str, call: Callable[[], object], after: Callable[[], object]) -> None:
        samples = []
        for _ in range(3000):
            begin = time.monotonic_ns()
            call()
            samples.append(time.monotonic_ns() - begin)
            after()
        rows.append({"call": name, "p50_us": percentile(sorted(samples[300:]), 0.5) / 1e3})

    def loan() -> None:
        with node.loan("out", 8):
            pass

    gc.freeze()
    timed("nothing (the clock itself)", lambda: None, lambda: None)
    timed("send_output of an array", lambda: node.send_output("out", array), node.next)
    timed("send_output of bytes", lambda: node.send_output("out", text), node.next)
    timed("loan, opened and sent", loan, node.next)
    node.send_output("out", array)
    timed("next with an array", lambda: kept.append(node.next()), lambda: _send(node, array, kept))
    kept.append(node.next())
    timed("letting go of an array", kept.clear, lambda: _send_and_keep(node, array, kept))
    kept.clear()
    node.send_output("out", text)

    def send_text() -> None:
        node.send_output("out", text)

    timed("next with bytes", node.next, send_text)
    timed("next with bytes and a time-out", lambda: node.next(timeout=1), send_text)
    result.write_text(json.dumps(rows))


def _send(node: Any, array: payload.Bytes, kept: list[Any]) -> None:
    kept.clear()
    node.send_output("out", array)


def _send_and_keep(node: Any, array: payload.Bytes, kept: list[Any]) -> None:
    node.send_output("out", array)
    kept.append(node.next())


if __name__ == "__main__":
    _call_one_by_one(Path(sys.argv[1]))
