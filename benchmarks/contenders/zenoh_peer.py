"""Eclipse zenoh between two peers, over a Unix socket, and with its shared memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.contender import Command, Contender
from benchmarks.job import Job
from benchmarks.leftovers import removed
from benchmarks.payload import NUMBER, Bytes, make_source, stamp

_FORWARD, _REPLY = "forward", "reply"
_SHARE_FROM_NBYTES = 3072
"""Its own default for what is worth shared memory."""
_GREETING = 2**63
"""Reader r answers a greeting with _GREETING + r."""


class Zenoh(Contender):
    """A publisher each way. Python sees payloads as bytes, so what arrives is copied once."""

    modules = ("zenoh",)
    distribution = "eclipse-zenoh"

    def __init__(self, name: str, *, shares_memory: bool) -> None:
        self.name = name
        self.has_loans = shares_memory
        self._shares_memory = shares_memory

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Give the commands, and remove afterwards what its shared memory leaves."""
        with removed("*.zenoh"), super().prepared(job) as commands:
            yield commands

    def open_writer(self, job: Job) -> ZenohWriter:
        """Open the writer's end."""
        return ZenohWriter(job, shares_memory=self._shares_memory)

    def open_reader(self, job: Job, number: int) -> ZenohReader:
        """Open a reader's end."""
        return ZenohReader(job, number, shares_memory=self._shares_memory)


class _End:
    def __init__(self, job: Job, side: str, *, shares_memory: bool) -> None:
        import zenoh

        self.zenoh = zenoh
        self._job = job
        config = zenoh.Config()
        config.insert_json5("mode", '"peer"')
        # Found by its address, never by asking the network.
        config.insert_json5("scouting/multicast/enabled", "false")
        config.insert_json5(f"{side}/endpoints", f'["unixsock-stream/{job.folder}/zenoh"]')
        config.insert_json5("transport/shared_memory/enabled", "true" if shares_memory else "false")
        self.session = zenoh.open(config)

    def publisher(self, name: str) -> Any:
        control = self.zenoh.CongestionControl
        # To drop is a choice for several readers; else it drops what is large now and then.
        is_lossless = self._job.readers == 1 or name == _REPLY
        publisher = self.session.declare_publisher(
            f"{self._job.folder.name}/{name}",
            congestion_control=control.BLOCK if is_lossless else control.DROP,
            express=True,  # not collected into batches
        )
        while not publisher.matching_status:
            time.sleep(0.001)
        return publisher

    def subscriber(self, name: str) -> Any:
        channel = self.zenoh.handlers.FifoChannel(self._job.queue_size)
        if self._job.readers > 1 and name == _FORWARD:
            channel = self.zenoh.handlers.RingChannel(self._job.queue_size)
        return self.session.declare_subscriber(f"{self._job.folder.name}/{name}", channel)


class ZenohWriter(_End):
    """Puts bytes, or buffers of shared memory."""

    def __init__(self, job: Job, *, shares_memory: bool) -> None:
        super().__init__(job, "listen", shares_memory=shares_memory)
        self._provider = None
        if shares_memory:
            # As many as may be on their way, and one more.
            nbytes = (3 if job.readers == 1 else 12) * (job.largest_nbytes + 4096)
            self._provider = self.zenoh.shm.ShmProvider.default_backend(nbytes)
        self._policy = self.zenoh.shm.BlockOn(self.zenoh.shm.GarbageCollect())
        self._replies = self.subscriber(_REPLY)
        self._publisher = self.publisher(_FORWARD)
        self._places: dict[int, Bytes] = {}
        self._greet(job.readers)

    def _greet(self, readers: int) -> None:
        # The first samples can get lost although there is a subscriber, so ask until it answers.
        answered: set[int] = set()
        while len(answered) < readers:
            self._publisher.put(b"")
            time.sleep(0.01)
            while (reply := self._replies.try_recv()) is not None:
                answered.add(NUMBER.unpack(reply.payload.to_bytes())[0])

    def send(self, source: Bytes) -> None:
        """Copy into a buffer of zenoh's."""
        if self._provider is None or len(source) < _SHARE_FROM_NBYTES:
            self._publisher.put(source.tobytes())
            return
        buffer = self._provider.alloc(len(source), self._policy)
        buffer[:] = source.tobytes()
        self._publisher.put(buffer)

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Stamp a buffer of shared memory."""
        if self._provider is None or nbytes < _SHARE_FROM_NBYTES:
            place = self._places.setdefault(nbytes, make_source(nbytes))
            stamp(place, number)
            self._publisher.put(place.tobytes())
            return
        buffer = self._provider.alloc(nbytes, self._policy)
        buffer[: NUMBER.size] = NUMBER.pack(number)
        buffer[nbytes - 1] = number & 0xFF
        self._publisher.put(buffer)

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        while (number := NUMBER.unpack(self._replies.recv().payload.to_bytes())[0]) >= _GREETING:
            continue
        return int(number)


class ZenohReader(_End):
    """Takes payloads as bytes."""

    def __init__(self, job: Job, number: int, *, shares_memory: bool) -> None:
        super().__init__(job, "connect", shares_memory=shares_memory)
        self._greeting = _GREETING + number
        self._publisher = self.publisher(_REPLY)
        self._samples = self.subscriber(_FORWARD)

    def receive(self) -> Bytes:
        """Wait for the next sample."""
        while not (payload := self._samples.recv().payload.to_bytes()):
            self.reply(self._greeting)
        return np.frombuffer(payload, np.uint8)

    def reply(self, number: int) -> None:
        """Send eight bytes."""
        self._publisher.put(NUMBER.pack(number))
