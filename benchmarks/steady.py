"""A camera's stream: 1080p at 30 Hz, as most robots have it.

Latency is from before the frame is produced (one copy of it into what is sent) to when the reader
has it. The processor time of both sides is that of their processes from the first frame to the
last, whoever spends it in them, threads and kernel included; what else the product keeps running
meanwhile (a launcher, a daemon) is shown beside it. Writer on one core, reader on the other.
"""

from __future__ import annotations

import os
import time

from benchmarks import payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import ICEORYX2_POLLING, SELECTED, in_order
from benchmarks.job import WRITER, Job
from benchmarks.placement import placements
from benchmarks.processes import cpu_ns, descendants
from benchmarks.session import Session, make_job
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, over_rounds, summarize

NAME = "steady"
NBYTES = 1920 * 1080 * 3
HZ = 30
_BUDGETS = 20
_WARM_UP = 10


def measure(session: Session) -> None:
    """Let all contenders take turns."""
    names = (*SELECTED, ICEORYX2_POLLING)
    for number, placement, contender in session.turns(session.contenders(names), placements()[:1]):
        settings = {
            "frames": max(10, int(HZ * _BUDGETS * session.options.budget_s)),
            "runner": os.getpid(),
        }
        job = make_job(NAME, contender, placement, largest_nbytes=NBYTES, settings=settings)
        if found := session.run(job):
            row = {**found[WRITER][0], **found["reader0"][0]}
            where = {"round": number, "placement": placement.name, "contender": contender.name}
            session.add(NAME, [row], **where)


def write(job: Job, link: WriterLink) -> list[Row]:
    """Send frames at the rate of a camera."""
    source = payload.make_source(NBYTES)
    frames = job.settings["frames"]
    own_ns = others_ns = 0
    due = time.monotonic_ns()
    for number in range(-_WARM_UP, frames):
        if number == 0:
            others_ns = _others_cpu_ns(job)
            due = time.monotonic_ns()
            own_ns = time.process_time_ns()
        due += 1_000_000_000 // HZ
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        payload.stamp(source, time.monotonic_ns())
        link.send(source)
    own_ns = time.process_time_ns() - own_ns
    others_ns = _others_cpu_ns(job) - others_ns
    end_all(job, link)
    return [{"writer_us": own_ns / 1e3 / frames, "all_others_us": others_ns / 1e3 / frames}]


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Note when each frame comes."""
    latencies: list[int] = []
    began_ns = 0
    while (array := link.receive()) is not None and len(array) != len(payload.END):
        latencies.append(time.monotonic_ns() - payload.read(array))
        if len(latencies) == _WARM_UP:
            began_ns = time.process_time_ns()
    frames = len(latencies) - _WARM_UP
    reader_us = (time.process_time_ns() - began_ns) / 1e3 / frames
    return [{"reader_us": reader_us, "frames": frames, **summarize(latencies[_WARM_UP:])}]


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    lines = []
    for contender in in_order(rows):
        mine = [row for row in rows if row["contender"] == contender]
        writer, reader, others = (
            over_rounds(mine, key) for key in ("writer_us", "reader_us", "all_others_us")
        )
        assert writer is not None, "each row has all keys"
        assert reader is not None, "each row has all keys"
        assert others is not None, "each row has all keys"
        latency = (over_rounds(mine, "p50_us"), over_rounds(mine, "p99_us"))
        # The reader is one of the writer's others.
        cells = (writer + reader, writer, reader, max(others - reader, 0), *latency)
        lines.append([contender, *(microseconds(cell) for cell in cells)])
    head = ["", "both sides", "writer", "reader", "the rest", "latency p50", "latency p99"]
    return [Table("1080p at 30 Hz: processor time a frame, and latency, in µs", head, lines)]


def _others_cpu_ns(job: Job) -> int:
    mine = os.getpid()
    return sum(cpu_ns(pid) for pid in descendants(job.settings["runner"]) if pid != mine)
