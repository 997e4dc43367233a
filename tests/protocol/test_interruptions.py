"""An exception out of a signal handler at every point of an operation, on real shared memory.

The same process then goes on with the same objects, and nothing may be missing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.subscriber import Subscriber
from tests.harness.ring import NO_STAMP, Reader, Wired, config_of, wired
from tests.protocol.interrupts import Interrupted, Interrupter
from tests.protocol.scheduler import Process

LARGE = 500  # 8-byte numbers: a reader keeps a view of so many
MOST_POINTS = 2_000
READERS = {
    "block": Reader(2, QueuePolicy.BLOCK, max_held=2),
    "drop_oldest": Reader(2, QueuePolicy.DROP_OLDEST, max_held=2),
    "latest": Reader(1, QueuePolicy.LATEST, max_held=2),
}
Operation = Callable[[Wired], None]


@pytest.fixture(autouse=True)
def nobody_reads_of_what_a_finalizer_raised(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield


def numbers(value: int) -> np.ndarray[Any, Any]:
    return np.full(LARGE, value)


def send(ring: Wired) -> None:
    ring.send(numbers(10))


def send_through_a_loan(ring: Wired) -> None:
    loan = ring.publisher.loan((LARGE,), np.dtype(np.int64), lambda: NO_STAMP, has_metadata=False)
    with loan as array:
        array[:] = 10


def take(ring: Wired) -> None:
    ring.subscribers[0].take()


def take_all(ring: Wired) -> None:
    while ring.subscribers[0].take() is not None:
        pass


def notice(ring: Wired) -> None:
    ring.look_at_readers()


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("operation", [send, send_through_a_loan, take, take_all])
def test_operation_that_is_broken_off_at_any_point_loses_nothing(
    operation: Operation, reader: Reader
):
    for points in range(MOST_POINTS):
        with wired(reader) as ring:
            ring.send(numbers(0))
            if operation in (take, take_all):
                ring.send(numbers(1)) if reader.queue_size > 1 else None
            was_interrupted = interrupt(operation, ring, points)

            assert_all_is_there(ring, f"point {points}")
        if not was_interrupted:
            break
    assert 10 < points < MOST_POINTS


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_giving_back_that_is_broken_off_at_any_point_loses_nothing(reader: Reader):
    for points in range(MOST_POINTS):
        with wired(reader) as ring:
            ring.send(numbers(0))
            held = [ring.take()]

            was_interrupted = interrupt(lambda _, held=held: held.clear(), ring, points)

            assert_all_is_there(ring, f"point {points}")
        if points > 60:
            break
    assert not was_interrupted, "nothing comes out of a finalizer"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_look_after_a_restarted_reader_that_is_broken_off_at_any_point_loses_nothing(
    reader: Reader,
):
    for points in range(MOST_POINTS):
        with wired(reader) as ring:
            ring.send(numbers(0))
            ring.memory.mark_dead(1, returns=True)
            config = config_of(ring.memory.renew(1), ring.run)
            was_interrupted = interrupt(notice, ring, points)
            ring.look_at_readers()
            ring.subscribers = [Subscriber(config, config.inputs[0], ring.board)]

            assert_all_is_there(ring, f"point {points}")
        if not was_interrupted:
            break
    assert 10 < points < MOST_POINTS


def interrupt(operation: Operation, ring: Wired, points: int) -> bool:
    interrupter = Interrupter(lambda _: True)
    interrupter.start(Process("here", 0, 0), points)
    try:
        operation(ring)
    except Interrupted:
        return True
    finally:
        interrupter.stop()
    return False


def assert_all_is_there(ring: Wired, where: str) -> None:
    received = []
    for value in (20, 21, 22):
        while (event := ring.subscribers[0].take()) is not None:
            received.append(int(event.value[0]))
        event = None
        ring.send(numbers(value))
    while (event := ring.subscribers[0].take()) is not None:
        received.append(int(event.value[0]))
    event = None
    gc.collect(0)
    ring.subscribers[0].take()

    counters = ring.counters()
    assert counters is not None
    assert counters.sent == counters.delivered + counters.dropped, where
    assert received[-1] == 22, where
    assert len(set(received)) == len(received), where
    if ring.output.edges[0].queue_policy is QueuePolicy.BLOCK:
        assert counters.dropped == 0, where
    ring.publisher.loans.collect()
    ring.writer.find_free()
    assert ring.free_slots == ring.output.slots, where
