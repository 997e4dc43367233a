"""Round trip: how long until a writer knows that a reader has a message.

From before the writer produces N bytes (one copy of them into what is sent) to after it has the
reader's answer of 8 bytes. The reader looks at the number at the front of the bytes and at the last
byte, and answers with the number. `in place` is the same without the copy: the bytes are where they
are best sent from, and only the number is written.
"""

from __future__ import annotations

import time

from benchmarks import floors, payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import BARE, find, in_order
from benchmarks.job import WRITER, Job
from benchmarks.session import Session, make_job
from benchmarks.tables import Table, microseconds
from benchmarks.timing import Row, over_rounds, repeat, summarize

NAME = "roundtrip"
SIZES = {
    "8 B": 8,
    "64 KiB": 64 * 1024,
    "640x480x3": 640 * 480 * 3,
    "1080p": 1920 * 1080 * 3,
    "40 MiB": 40 * 1024 * 1024,
}
PRODUCED, IN_PLACE = "produced", "in place"
MOST = 4000


def measure(session: Session) -> None:
    """Let all contenders take turns, with the floors in each round."""
    for number, placement, contender in session.turns(session.contenders()):
        if contender.name == BARE:
            rows = floors.measure(placement, SIZES, session)
            session.add(NAME, rows, round=number, placement=placement.name)
        job = make_job(
            NAME,
            contender,
            placement,
            is_answered=True,
            largest_nbytes=max(SIZES.values()),
            settings={"budget_s": session.options.budget_s},
        )
        if found := session.run(job):
            session.add(
                NAME,
                found[WRITER],
                round=number,
                placement=placement.name,
                contender=contender.name,
            )


def write(job: Job, link: WriterLink) -> list[Row]:
    """Measure all sizes, both ways."""
    ways = (PRODUCED, IN_PLACE) if find(job.contender).has_loans else (PRODUCED,)
    rows = [
        {"size": size, "way": way, **_measure(link, nbytes, way, job.settings["budget_s"])}
        for size, nbytes in SIZES.items()
        for way in ways
    ]
    end_all(job, link)
    return rows


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Answer each message with its number."""
    while (array := link.receive()) is not None and len(array) != len(payload.END):
        link.reply(payload.read(array))
    return []


def _measure(link: WriterLink, nbytes: int, way: str, budget_s: float) -> Row:
    source = payload.make_source(nbytes)
    number = 0

    def once() -> int:
        nonlocal number
        number += 1
        if way == PRODUCED:
            payload.stamp(source, number)
            begin = time.monotonic_ns()
            link.send(source)
        else:
            begin = time.monotonic_ns()
            link.send_in_place(nbytes, number)
        answer = link.receive_reply()
        end = time.monotonic_ns()
        if answer != number:
            raise RuntimeError(f"message {number} of {nbytes} bytes was answered with {answer}")
        return end - begin

    return summarize(repeat(once, budget_s=budget_s, most=MOST))


def tables(rows: list[Row]) -> list[Table]:
    """Give a table for each placement and each way, p50 and p99, and the floors in each."""
    found = []
    for placement in dict.fromkeys(row["placement"] for row in rows):
        for way in (PRODUCED, IN_PLACE):
            here = [row for row in rows if row["placement"] == placement and row["way"] == way]
            if here:
                found.append(_table(here, f"Round trip, {way}, {placement}: p50 / p99 in µs"))
    return found


def _table(rows: list[Row], title: str) -> Table:
    lines = []
    for contender in in_order(rows):
        mine = [row for row in rows if row["contender"] == contender]
        cells = [contender]
        for size in SIZES:
            these = [row for row in mine if row["size"] == size]
            p50, p99 = over_rounds(these, "p50_us"), over_rounds(these, "p99_us")
            cells.append(f"{microseconds(p50)} / {microseconds(p99)}" if these else "")
        lines.append(cells)
    return Table(title, ["", *SIZES], lines)
