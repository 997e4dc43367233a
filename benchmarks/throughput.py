"""Throughput: how many messages a second get through when none may be lost.

A writer sends as fast as it can, and waits where its reader is ten messages behind. From before the
first message is produced (one copy of it into what is sent) to after the writer has the reader's
word that all have come. The reader looks at the number at the front and the last byte of each and
counts. The floors are the same number of copies, and nothing else: always into the same memory,
which a cache may hold, and into as many frames in turn as the queue has places.
"""

from __future__ import annotations

import time

from benchmarks import floors, payload
from benchmarks.contender import ReaderLink, WriterLink, end_all
from benchmarks.contenders import BARE, in_order
from benchmarks.job import WRITER, Job
from benchmarks.placement import Placement, placements
from benchmarks.session import Session, make_job
from benchmarks.tables import Table, quantity
from benchmarks.timing import Row, over_rounds

NAME = "throughput"
SIZES = {"8 B": 8, "1080p": 1920 * 1080 * 3}
QUEUE_SIZE = 10
_BUDGETS = 5
"""Times the budget of a number: a rate wants more messages than a median."""


def measure(session: Session) -> None:
    """Let all contenders take turns."""
    for number, placement, contender in session.turns(session.contenders(), placements()[:1]):
        where = {"round": number, "placement": placement.name}
        if contender.name == BARE:
            session.add(NAME, _copies(session, placement), **where)
        job = make_job(
            NAME,
            contender,
            placement,
            lossless=True,
            queue_size=QUEUE_SIZE,
            largest_nbytes=max(SIZES.values()),
            settings={"budget_s": _BUDGETS * session.options.budget_s},
        )
        if found := session.run(job):
            session.add(NAME, found[WRITER], contender=contender.name, **where)


def write(job: Job, link: WriterLink) -> list[Row]:
    """Send for a while, and ask how many came."""
    rows = []
    for size, nbytes in SIZES.items():
        source = payload.make_source(nbytes)
        _send(link, source, job.settings["budget_s"] / 10)
        rows.append({"size": size, **_send(link, source, job.settings["budget_s"])})
    end_all(job, link)
    return rows


def read(job: Job, link: ReaderLink, number: int) -> list[Row]:
    """Count what comes, in order."""
    count = last = 0
    while (array := link.receive()) is not None and len(array) != len(payload.END):
        if len(array) == len(payload.ASK):
            link.reply(count)
            count = last = 0
            continue
        newest = payload.read(array)
        if newest <= last:
            raise RuntimeError(f"message {newest} came after {last}")
        last = newest
        count += 1
    return []


def tables(rows: list[Row]) -> list[Table]:
    """Give a table for each placement."""
    found = []
    for placement in dict.fromkeys(row["placement"] for row in rows):
        here = [row for row in rows if row["placement"] == placement]
        lines = []
        for contender in in_order(here):
            cells = [contender]
            for size in SIZES:
                mine = [
                    row for row in here if row["contender"] == contender and row["size"] == size
                ]
                lost = sum(row["lost"] for row in mine) / max(sum(row["sent"] for row in mine), 1)
                rate = quantity(over_rounds(mine, "per_s"))
                cells.append(f"{rate} ({lost:.0%} lost)" if lost else rate)
            lines.append(cells)
        title = f"Throughput, queue of {QUEUE_SIZE}, {placement}: messages a second"
        found.append(Table(title, ["", *SIZES], lines))
    return found


def _send(link: WriterLink, source: payload.Bytes, budget_s: float) -> Row:
    number = 0
    begin = time.monotonic_ns()
    end = begin + int(budget_s * 1e9)
    while time.monotonic_ns() < end:
        number += 1
        payload.stamp(source, number)
        link.send(source)
    link.send(payload.ASK)
    received = link.receive_reply()
    seconds = (time.monotonic_ns() - begin) / 1e9
    return {"per_s": received / seconds, "sent": number, "lost": number - received}


def _copies(session: Session, placement: Placement) -> list[Row]:
    budget_s = session.options.budget_s
    return [
        {
            "contender": contender,
            "size": size,
            "per_s": 1e6 / floors.copy(nbytes, budget_s, placement, targets=targets)["p50_us"],
            "sent": 0,
            "lost": 0,
        }
        for contender, targets in ((floors.COPY, 1), (floors.COPY_IN_TURN, QUEUE_SIZE))
        for size, nbytes in SIZES.items()
    ]
