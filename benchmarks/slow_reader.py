"""A slow reader: what one that takes 80 ms a frame does to the writer, and to a fast reader.

A writer produces 1080p frames at 100 Hz for two readers. First both look at each frame at once,
then one of them sleeps 80 ms over each. Measured is the writer's call that sends; and from before
the frame is produced to when the fast reader has it. Writer on one core, readers on the other.
"""

from __future__ import annotations

import time

from benchmarks import payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import BARE, FEW, in_order
from benchmarks.job import WRITER, Job
from benchmarks.placement import placements
from benchmarks.session import Session, make_job
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, over_rounds, summarize

NAME = "slow_reader"
NBYTES = 1920 * 1080 * 3
_PERIOD_NS = 10_000_000
_SLOW_S = 0.08
_BUDGETS = 10
_WARM_UP = 20


def measure(session: Session) -> None:
    """Let all contenders take turns, each with two fast readers and with a slow one."""
    # Bare semaphores have no answer to it: they overwrite what the slow one looks at.
    names = [name for name in FEW if name != BARE]
    for number, placement, contender in session.turns(session.contenders(names), placements()[:1]):
        for slow_s in (0, _SLOW_S):
            settings = {
                "frames": _WARM_UP + int(_BUDGETS * session.options.budget_s * 1e9 / _PERIOD_NS),
                "slow_s": slow_s,
            }
            job = make_job(
                NAME, contender, placement, readers=2, largest_nbytes=NBYTES, settings=settings
            )
            if found := session.run(job):
                row = {**found[WRITER][0], "latency_us": found["reader0"][0]["p50_us"]}
                where = {"round": number, "placement": placement.name, "contender": contender.name}
                session.add(NAME, [row], is_slow=slow_s > 0, **where)


def write(job: Job, link: WriterLink) -> list[Row]:
    """Send frames at a steady rate, and time the sends."""
    source = payload.make_source(NBYTES)
    samples = []
    due = time.monotonic_ns()
    for _ in range(job.settings["frames"]):
        due += _PERIOD_NS
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        begin = time.monotonic_ns()
        payload.stamp(source, begin)
        link.send(source)
        samples.append(time.monotonic_ns() - begin)
    end_all(job, link)
    return [summarize(samples[_WARM_UP:])]


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Note when each frame comes; the second reader takes its time."""
    latencies: list[int] = []
    pause_s = job.settings["slow_s"] if number == 1 else 0
    while (array := link.receive()) is not None and len(array) != len(payload.END):
        latencies.append(time.monotonic_ns() - payload.read(array))
        if pause_s:
            time.sleep(pause_s)
    return [summarize(latencies)]


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for contender in in_order(rows):
        cells = [contender]
        for key in ("p50_us", "p99_us", "latency_us"):
            fast, slow = (
                over_rounds(
                    (
                        row
                        for row in rows
                        if row["contender"] == contender and row["is_slow"] == is_slow
                    ),
                    key,
                )
                for is_slow in (False, True)
            )
            change = f" ({slow / fast - 1:+.0%})" if slow and fast else ""
            cells.append(f"{microseconds(fast)} → {microseconds(slow)}{change}")
        lines.append(cells)
    head = ["both fast → one slow", "send p50", "send p99", "to the fast reader, p50"]
    return [Table("A reader that takes 80 ms a frame, 1080p at 100 Hz, in µs", head, lines)]
