"""The floor for Python: shared memory and posix_ipc semaphores, with nothing around them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import posix_ipc

from benchmarks.contender import Command, Contender, worker
from benchmarks.job import Job
from benchmarks.payload import Bytes, stamp

_HEADER_NBYTES = 4096
_REPLY_WORD = 500
"""Reader r replies in word _REPLY_WORD + r; the words before have the size of each slot."""


class Bare(Contender):
    """One process writes into a ring of slots and posts each reader's semaphore.

    The busy one looks at the value of the semaphore until it is there, and never sleeps.
    """

    distribution = "posix_ipc"

    def __init__(self, name: str, *, spins: bool) -> None:
        self.name = name
        self.spins = spins

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Make the memory and all semaphores."""
        prefix = _prefix(job)
        names = [_semaphore(job, kind, reader) for kind in _KINDS for reader in range(job.readers)]
        memory = posix_ipc.SharedMemory(prefix, posix_ipc.O_CREX, size=_size(job))
        try:
            os.posix_fallocate(memory.fd, 0, _size(job))
            for name in names:
                free = _slots(job) if "free" in name else 0
                posix_ipc.Semaphore(name, posix_ipc.O_CREX, initial_value=free).close()
            yield [worker(job, role) for role in job.roles]
        finally:
            memory.close_fd()
            memory.unlink()
            for name in names:
                try:
                    posix_ipc.unlink_semaphore(name)
                except posix_ipc.ExistentialError:
                    continue

    def open_writer(self, job: Job) -> BareWriter:
        """Open the writer's end."""
        return BareWriter(job, spins=self.spins)

    def open_reader(self, job: Job, number: int) -> BareReader:
        """Open a reader's end."""
        return BareReader(job, number, spins=self.spins)


class _End:
    def __init__(self, job: Job, *, spins: bool) -> None:
        memory = posix_ipc.SharedMemory(_prefix(job))
        mapping = mmap.mmap(memory.fd, _size(job))
        memory.close_fd()
        self.words = memoryview(mapping)[:_HEADER_NBYTES].cast("Q")
        self.slots: Bytes = np.frombuffer(mapping, np.uint8, offset=_HEADER_NBYTES).reshape(
            _slots(job), -1
        )
        # Touched, so that no page fault is measured.
        self.slots[:, ::4096] |= 0
        self.acquire = _acquire_busily if spins else posix_ipc.Semaphore.acquire
        self.number = 0


class BareWriter(_End):
    """Sends into the next slot, once all readers have let go of it."""

    def __init__(self, job: Job, *, spins: bool) -> None:
        super().__init__(job, spins=spins)
        readers = range(job.readers)
        self._filled = [posix_ipc.Semaphore(_semaphore(job, "filled", n)) for n in readers]
        self._replied = [posix_ipc.Semaphore(_semaphore(job, "replied", n)) for n in readers]
        free = [posix_ipc.Semaphore(_semaphore(job, "free", n)) for n in readers]
        self._free = free if not job.is_answered else []
        for semaphore in self._replied:
            semaphore.acquire()  # the reader is there

    def send(self, source: Bytes) -> None:
        """Copy into the next slot."""
        slot = self._next_slot(len(source))
        np.copyto(slot, source)
        self._publish()

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Stamp what is in the next slot."""
        stamp(self._next_slot(nbytes), number)
        self._publish()

    def receive_reply(self) -> int:
        """Wait for the first reader."""
        self.acquire(self._replied[0])
        return int(self.words[_REPLY_WORD])

    def _next_slot(self, nbytes: int) -> Bytes:
        for semaphore in self._free:
            self.acquire(semaphore)
        index = self.number % len(self.slots)
        self.words[index] = nbytes
        return self.slots[index, :nbytes]

    def _publish(self) -> None:
        self.number += 1
        for semaphore in self._filled:
            semaphore.release()


class BareReader(_End):
    """Takes one slot after the other."""

    def __init__(self, job: Job, number: int, *, spins: bool) -> None:
        super().__init__(job, spins=spins)
        self._reader = number
        self._filled = posix_ipc.Semaphore(_semaphore(job, "filled", number))
        self._replied = posix_ipc.Semaphore(_semaphore(job, "replied", number))
        free = posix_ipc.Semaphore(_semaphore(job, "free", number))
        self._free = free if not job.is_answered else None
        self._replied.release()

    def receive(self) -> Bytes:
        """Give the next slot, and the one before back."""
        if self._free is not None and self.number:
            self._free.release()
        self.acquire(self._filled)
        index = self.number % len(self.slots)
        self.number += 1
        return self.slots[index, : self.words[index]]

    def reply(self, number: int) -> None:
        """Write the number into this reader's word."""
        self.words[_REPLY_WORD + self._reader] = number
        self._replied.release()


_KINDS = ("filled", "free", "replied")


def _acquire_busily(semaphore: posix_ipc.Semaphore) -> None:
    while not semaphore.value:
        pass
    semaphore.acquire(0)


def _prefix(job: Job) -> str:
    return f"/drtbench-{job.folder.name}"


def _semaphore(job: Job, kind: str, reader: int) -> str:
    return f"{_prefix(job)}-{kind}{reader}"


def _size(job: Job) -> int:
    slot_nbytes = -(-job.largest_nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    return _HEADER_NBYTES + _slots(job) * slot_nbytes


def _slots(job: Job) -> int:
    # A single reader that is waited for needs only one slot, which stays in the cache.
    # As few as will do, so that they stay in the cache.
    if job.is_answered:
        return 1
    return job.queue_size if job.lossless else 2
