"""Fan-out: what each further reader of one output costs its writer.

A writer produces a message every two milliseconds for 1, 4 and 8 readers, which sleep between
two messages. Measured is the call that sends: from before the message is produced to when the
writer can go on. Writer on one core, all readers on the other.
"""

from __future__ import annotations

import time

from benchmarks import payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import FEW, in_order
from benchmarks.job import WRITER, Job
from benchmarks.placement import placements
from benchmarks.session import Session, make_job
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, over_rounds, summarize

NAME = "fanout"
SIZES = {"8 B": 8, "1080p": 1920 * 1080 * 3}
READERS = (1, 4, 8)
_PERIOD_S = 0.002
_WARM_UP, _LEAST = 10, 10


def measure(session: Session) -> None:
    """Let all contenders take turns, each with all numbers of readers."""
    for number, placement, contender in session.turns(session.contenders(FEW), placements()[:1]):
        for readers in READERS[:2] if session.options.is_quick else READERS:
            job = make_job(
                NAME,
                contender,
                placement,
                readers=readers,
                largest_nbytes=max(SIZES.values()),
                settings={"budget_s": session.options.budget_s},
            )
            if (found := session.run(job)) is None:
                break
            session.add(
                NAME,
                found[WRITER],
                round=number,
                placement=placement.name,
                contender=contender.name,
                readers=readers,
            )


def write(job: Job, link: WriterLink) -> list[Row]:
    """Send at a steady pace, and time the sends."""
    rows = []
    for size, nbytes in SIZES.items():
        source = payload.make_source(nbytes)
        samples: list[int] = []
        until = time.monotonic() + 3 * job.settings["budget_s"]
        while len(samples) < _WARM_UP + _LEAST or time.monotonic() < until:
            payload.stamp(source, len(samples))
            begin = time.monotonic_ns()
            link.send(source)
            samples.append(time.monotonic_ns() - begin)
            time.sleep(_PERIOD_S)
        rows.append({"size": size, **summarize(samples[_WARM_UP:])})
    end_all(job, link)
    return rows


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Look at each message, and check it."""
    while (array := link.receive()) is not None and len(array) != len(payload.END):
        payload.read(array)
    return []


def tables(rows: list[Row]) -> list[Table]:
    """Give a table for each size, with what one more reader costs."""
    found = []
    for size in SIZES:
        lines = []
        for contender in in_order(rows):
            mine = [row for row in rows if row["contender"] == contender and row["size"] == size]
            p50s = [
                over_rounds((row for row in mine if row["readers"] == readers), "p50_us")
                for readers in READERS
            ]
            first, last = p50s[0], p50s[-1]
            each = None
            if first is not None and last is not None:
                each = (last - first) / (READERS[-1] - READERS[0])
            lines.append([contender, *(microseconds(p50) for p50 in (*p50s, each))])
        head = ["readers", *(str(readers) for readers in READERS), "each further one"]
        found.append(
            Table(f"One writer, several readers, {size}: p50 of a send in µs", head, lines)
        )
    return found
