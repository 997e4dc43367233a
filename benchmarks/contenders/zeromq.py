"""pyzmq: ZeroMQ sockets between processes of one machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contender import Contender
from benchmarks.job import Job
from benchmarks.payload import NUMBER, Bytes, make_source, stamp


class ZeroMq(Contender):
    """PUSH and PULL to one reader, PUB and SUB to several; replies are pushed.

    With a short queue PUB drops now and then although its reader is fast.
    """

    name = "pyzmq"
    modules = ("zmq",)
    distribution = "pyzmq"

    def open_writer(self, job: Job) -> ZeroMqWriter:
        """Open the writer's end."""
        return ZeroMqWriter(job)

    def open_reader(self, job: Job, number: int) -> ZeroMqReader:
        """Open a reader's end."""
        return ZeroMqReader(job)


class ZeroMqWriter:
    """Sends buffers."""

    def __init__(self, job: Job) -> None:
        import zmq

        context = _context(zmq)
        self._forward = context.socket(zmq.PUSH if job.readers == 1 else zmq.XPUB)
        self._forward.set_hwm(job.queue_size)
        if job.readers > 1:
            self._forward.setsockopt(
                zmq.XPUB_VERBOSE, 1
            )  # tell of each subscriber, not of new ones
        self._forward.bind(_address(job, "forward"))
        self._replies = context.socket(zmq.PULL)
        self._replies.bind(_address(job, "reply"))
        if job.readers > 1:
            for _ in range(job.readers):
                self._forward.recv()  # a subscription
        self._places: dict[int, Bytes] = {}

    def send(self, source: Bytes) -> None:
        """Let ZeroMQ copy the bytes."""
        self._forward.send(source, copy=True)

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Let ZeroMQ send from the array itself."""
        place = self._places.get(nbytes)
        if place is None:
            place = self._places[nbytes] = make_source(nbytes)
        stamp(place, number)
        self._forward.send(place, copy=False)

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        return int(NUMBER.unpack(self._replies.recv())[0])


class ZeroMqReader:
    """Receives frames without a copy of its own."""

    def __init__(self, job: Job) -> None:
        import zmq

        context = _context(zmq)
        self._replies = context.socket(zmq.PUSH)
        self._replies.connect(_address(job, "reply"))
        self._forward: Any = context.socket(zmq.PULL if job.readers == 1 else zmq.SUB)
        self._forward.set_hwm(job.queue_size)
        if job.readers > 1:
            self._forward.subscribe(b"")
        self._forward.connect(_address(job, "forward"))

    def receive(self) -> Bytes:
        """Wait for the next frame."""
        return np.frombuffer(self._forward.recv(copy=False).buffer, np.uint8)

    def reply(self, number: int) -> None:
        """Send eight bytes."""
        self._replies.send(NUMBER.pack(number))


def _context(zmq: Any) -> Any:
    context = zmq.Context.instance()
    # How long the end waits for what is not sent yet; its default is for ever.
    context.setsockopt(zmq.LINGER, 2000)
    return context


def _address(job: Job, name: str) -> str:
    return f"ipc://{job.folder / name}"
