"""Edges between operators of one process: values by reference, in a queue."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

from dora_rt.latency import BUCKETS, bucket
from dora_rt.node_config import LinkConfig
from dora_rt.transport.status_pipe import LinkCounters


class Passed(NamedTuple):
    """One value on its way from one operator to another."""

    value: Any
    metadata: dict[str, Any]
    sent_ns: int
    origin_ns: int


class Link:
    """An edge between two operators: a queue that drops its oldest like any other edge."""

    def __init__(self, config: LinkConfig) -> None:
        self.config = config
        self.queue: deque[Passed] = deque()
        self.sent = self.delivered = self.dropped = 0
        self.latencies = [0] * BUCKETS

    def push(self, passed: Passed) -> None:
        """Put a value at the end of the queue."""
        self.sent += 1
        self.queue.append(passed)
        if self.config.queue_size is not None and len(self.queue) > self.config.queue_size:
            self.queue.popleft()
            self.dropped += 1

    def pop(self) -> Passed:
        """Take the value at the front of the queue."""
        passed = self.queue.popleft()
        self.delivered += 1
        self.latencies[bucket(time.monotonic_ns() - passed.sent_ns)] += 1
        return passed

    def clear(self) -> None:
        """Drop all values that are still queued."""
        self.dropped += len(self.queue)
        self.queue.clear()

    def counters(self) -> LinkCounters:
        """Return the counters so far."""
        return LinkCounters(
            self.config.number, self.sent, self.delivered, self.dropped, tuple(self.latencies)
        )
