"""iceoryx2: publish-subscribe on shared memory, polled or woken by its own listener."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import Command, Contender, worker
from benchmarks.job import Job
from benchmarks.payload import NUMBER, Bytes, stamp

_FORWARD, _REPLY = "forward", "reply"


class Iceoryx(Contender):
    """Services of byte slices; loans for all that is sent."""

    modules = ("iceoryx2",)
    distribution = "iceoryx2"

    def __init__(self, name: str, *, spins: bool) -> None:
        self.name = name
        self.spins = spins

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Give the commands, and remove afterwards what a killed process leaves."""
        try:
            yield [worker(job, role) for role in job.roles]
        finally:
            for path in Path("/dev/shm").glob(f"{_prefix(job)}*"):
                path.unlink()

    def open_writer(self, job: Job) -> IceoryxWriter:
        """Open the writer's end."""
        return IceoryxWriter(job, spins=self.spins)

    def open_reader(self, job: Job, number: int) -> IceoryxReader:
        """Open a reader's end."""
        return IceoryxReader(job, number, spins=self.spins)


class _End:
    def __init__(self, job: Job, *, spins: bool) -> None:
        import iceoryx2

        self.iceoryx2 = iceoryx2
        self.job = job
        self.spins = spins
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        config = iceoryx2.config.default()
        config.global_cfg.prefix = iceoryx2.FileName.new(_prefix(job))
        config.global_cfg.root_path = iceoryx2.Path.new(str(job.folder / "iceoryx2"))
        self.node = (
            iceoryx2.NodeBuilder.new()
            .config(config)
            .signal_handling_mode(iceoryx2.SignalHandlingMode.Disabled)
            .create(iceoryx2.ServiceType.Ipc)
        )
        self._sample: Any = None

    def service(self, name: str, writers: int, readers: int) -> Any:
        builder = self.node.service_builder(self.iceoryx2.ServiceName.new(name))
        return (
            builder.publish_subscribe(self.iceoryx2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(not self.job.lossless)
            .subscriber_max_buffer_size(self.job.queue_size)
            .max_publishers(writers)
            .max_subscribers(readers)
            .open_or_create()
        )

    def bell(self, name: str) -> Any:
        """Give the event service that wakes the readers of a service."""
        builder = self.node.service_builder(self.iceoryx2.ServiceName.new(f"{name}-bell"))
        return builder.event().open_or_create()

    def publisher(self, service: Any, nbytes: int) -> Any:
        strategy = self.iceoryx2.BackpressureStrategy
        return (
            service.publisher_builder()
            .initial_max_slice_len(nbytes)
            .backpressure_strategy(
                strategy.RetryUntilDelivered if self.job.lossless else strategy.DiscardData
            )
            .create()
        )

    def receive_sample(self, subscriber: Any, listener: Any) -> Any:
        sample = subscriber.receive()
        while sample is None:
            if not self.spins:
                listener.blocking_wait()
            sample = subscriber.receive()
        # The one before is given back only now, as in a loop of a user.
        self._sample = sample
        return sample


class IceoryxWriter(_End):
    """Loans from one publisher."""

    def __init__(self, job: Job, *, spins: bool) -> None:
        super().__init__(job, spins=spins)
        forward = self.service(_FORWARD, 1, job.readers)
        bell = self.bell(_FORWARD)
        reply = self.service(_REPLY, job.readers, 1)
        self._publisher = self.publisher(forward, job.largest_nbytes)
        self._notifier = bell.notifier_builder().create()
        self._replies = reply.subscriber_builder().create()
        self._listener = self.bell(_REPLY).listener_builder().create()
        _wait_for(lambda: forward.dynamic_config.number_of_subscribers == job.readers)
        _wait_for(lambda: reply.dynamic_config.number_of_publishers == job.readers)

    def send(self, source: Bytes) -> None:
        """Copy into a loan."""
        loan = self._publisher.loan_slice_uninit(len(source))
        np.copyto(_view(loan.payload_ptr, len(source)), source)
        self._publish(loan)

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Stamp a loan."""
        loan = self._publisher.loan_slice_uninit(nbytes)
        stamp(_view(loan.payload_ptr, nbytes), number)
        self._publish(loan)

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        sample = self.receive_sample(self._replies, self._listener)
        return int(NUMBER.unpack_from(_view(sample.payload_ptr, NUMBER.size))[0])

    def _publish(self, loan: Any) -> None:
        loan.assume_init().send()
        if not self.spins:
            self._notifier.notify()


class IceoryxReader(_End):
    """Borrows samples of one subscriber."""

    def __init__(self, job: Job, number: int, *, spins: bool) -> None:
        super().__init__(job, spins=spins)
        reply = self.service(_REPLY, job.readers, 1)
        self._publisher = self.publisher(reply, NUMBER.size)
        self._notifier = self.bell(_REPLY).notifier_builder().create()
        self._listener = self.bell(_FORWARD).listener_builder().create()
        _wait_for(lambda: reply.dynamic_config.number_of_subscribers == 1)
        forward = self.service(_FORWARD, 1, job.readers)
        self._subscriber = forward.subscriber_builder().create()

    def receive(self) -> Bytes:
        """Wait for the next sample."""
        sample = self.receive_sample(self._subscriber, self._listener)
        array: Bytes = _view(sample.payload_ptr, sample.payload().len())
        return array

    def reply(self, number: int) -> None:
        """Send eight bytes."""
        loan = self._publisher.loan_slice_uninit(NUMBER.size)
        NUMBER.pack_into(_view(loan.payload_ptr, NUMBER.size), 0, number)
        loan.assume_init().send()
        if not self.spins:
            self._notifier.notify()


def _view(pointer: int, nbytes: int) -> Any:
    # The quickest of the ways: half a microsecond, where as_memory_view() takes 1.6.
    memory: Any = (ctypes.c_uint8 * nbytes).from_address(pointer)
    return np.frombuffer(memory, np.uint8)


def _wait_for(condition: Any) -> None:
    while not condition():
        time.sleep(0.001)


def _prefix(job: Job) -> str:
    return f"drtbench_{job.folder.name}_{os.getuid()}_"
