"""multiprocessing.Queue: what Python itself brings.

python -m benchmarks.contenders.queues job.json
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import Command, Contender
from benchmarks.job import Job
from benchmarks.payload import Bytes

_queues: dict[str, Any] = {}
"""Inherited from the parent: by no other way can a process have such a queue."""


class Queues(Contender):
    """A queue to each reader and one back; arrays are pickled. A full queue always blocks."""

    name = "multiprocessing.Queue"
    has_loans = False

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Give the command of the parent, which starts writer and readers."""
        yield [[sys.executable, "-m", "benchmarks.contenders.queues", str(job.file)]]

    def open_writer(self, job: Job) -> QueueWriter:
        """Open the writer's end."""
        return QueueWriter([_queues[role] for role in job.roles[1:]], _queues["reply"])

    def open_reader(self, job: Job, number: int) -> QueueReader:
        """Open a reader's end."""
        return QueueReader(_queues[f"reader{number}"], _queues["reply"])


class QueueWriter:
    """Puts arrays into the queue of each reader."""

    def __init__(self, forward: list[Any], replies: Any) -> None:
        self._forward = forward
        self._replies = replies

    def send(self, source: Bytes) -> None:
        """Pickle and put; the queue's own thread pickles it later, so it must be a copy."""
        for queue in self._forward:
            queue.put(source.copy())

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Do not: a queue has no place of its own."""
        raise NotImplementedError

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        return int(self._replies.get())


class QueueReader:
    """Gets arrays."""

    def __init__(self, forward: Any, replies: Any) -> None:
        self._forward = forward
        self._replies = replies

    def receive(self) -> Bytes:
        """Wait for the next array."""
        array: Bytes = self._forward.get()
        return array

    def reply(self, number: int) -> None:
        """Put the number."""
        self._replies.put(number)


def _start(file: str) -> None:
    job = Job.load(Path(file))
    context = multiprocessing.get_context("spawn")
    queues = {role: context.Queue(job.queue_size) for role in job.roles[1:]}
    queues["reply"] = context.Queue()
    children = [context.Process(target=_run, args=(file, role, queues)) for role in job.roles]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(abs(child.exitcode or 0) for child in children))


def _run(file: str, role: str, queues: dict[str, Any]) -> None:
    # In the module of this name: what was started is __main__, a second one.
    from benchmarks.contenders import queues as module
    from benchmarks.worker import main

    module._queues.update(queues)
    main(file, role)


if __name__ == "__main__":
    _start(sys.argv[1])
