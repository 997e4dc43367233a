"""What a contender offers: how its processes start, and a link for its writer and its readers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from benchmarks.job import WRITER, Job
from benchmarks.payload import END, Bytes

Command = Sequence[str]


class WriterLink(Protocol):
    """The end that sends to all readers. It opens when everything it sends will arrive."""

    def send(self, source: Bytes) -> None:
        """Send a copy of bytes that the caller goes on to use."""

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Send a message whose bytes are where they are best sent from, only stamped anew."""

    def receive_reply(self) -> int:
        """Wait for the number that a reader replies with."""


class ReaderLink(Protocol):
    """The end of one reader."""

    def receive(self) -> Bytes | None:
        """Wait for the next message; it is valid until the next call. None: the writer is gone."""

    def reply(self, number: int) -> None:
        """Send eight bytes to the writer."""


class Contender:
    """One way to move bytes between processes."""

    name = ""
    """As it stands in the tables."""
    modules: tuple[str, ...] = ()
    """What must be importable."""
    distribution: str | None = None
    """Whose version the results name."""
    has_loans = True
    """Whether `send_in_place` differs from `send`."""
    spins = False
    """Whether it waits without sleeping."""

    def missing(self) -> str | None:
        """Say why it cannot run here; None if it can."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed (pip install -e '.[bench]')"
        return None

    def version(self) -> str | None:
        """Give the version of what is installed."""
        return importlib.metadata.version(self.distribution) if self.distribution else None

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Make what the job's processes share, give their commands, and remove it afterwards."""
        yield [worker(job, role) for role in job.roles]

    def open_writer(self, job: Job) -> WriterLink:
        """Open the writer's end, in the writer's process."""
        raise NotImplementedError

    def open_reader(self, job: Job, number: int) -> ReaderLink:
        """Open a reader's end, in its process."""
        raise NotImplementedError


def end_all(job: Job, link: WriterLink) -> None:
    """Tell the readers that this was all, again and again until all have ended.

    It may get lost: among several readers, or because a process ends before it is on its way.
    """
    results = [job.result_file(role) for role in job.roles if role != WRITER]
    while not all(result.exists() for result in results):
        link.send(END)
        again = time.monotonic() + 0.05
        while time.monotonic() < again and not all(result.exists() for result in results):
            time.sleep(0.002)


def worker(job: Job, role: str) -> list[str]:
    """Give the command of one process of a job."""
    return [sys.executable, "-m", "benchmarks.worker", str(job.file), role]
