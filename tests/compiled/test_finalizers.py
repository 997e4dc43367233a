"""A finalizer may run wherever Python makes an object: it may send, and close, like any code."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from dora_rt.errors import DoraRtError, NodeClosedError
from dora_rt.transport.ring import protocol
from tests.harness.ring import NO_STAMP, Reader, Wired, wired

BYTE = np.dtype(np.uint8)
MOST_ALLOCATIONS = 25
"""More than a send or a loan makes of what the collector of circles looks after."""


@pytest.fixture(autouse=True)
def small_heap() -> Iterator[None]:
    """Let the collector pass over all that other tests have left, which takes long."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Circle:
    """Garbage that only the collector of circles finds."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.myself = self
        self._run = run

    def __del__(self) -> None:
        self._run()


@contextmanager
def finalizing(run: Callable[[], None], *, after: int) -> Iterator[None]:
    """Call `run` out of a finalizer, as soon as so many objects have been made."""
    threshold = gc.get_threshold()
    gc.collect()
    Circle(run)
    gc.set_threshold(after)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.collect()


def use_all_slots(ring: Wired, send: Callable[[Wired, int], None], number: int) -> None:
    """Let all that is made at the first use of a slot be there."""
    for _ in range(2 * ring.output.slots):
        send(ring, number)
    for _ in iter(ring.subscribers[0].take, None):
        pass


def send_array(ring: Wired, number: int) -> None:
    ring.send(np.full(10 + number, 1, np.uint8))


def send_bytes(ring: Wired, number: int) -> None:
    ring.send(bytes([1] * (10 + number)))


def send_loan(ring: Wired, number: int) -> None:
    loan = ring.publisher.loan((10 + number,), BYTE, lambda: NO_STAMP, has_metadata=False)
    with loan as array:
        array[:] = 1


SENDS = pytest.mark.parametrize("send", [send_array, send_bytes, send_loan])


@SENDS
def test_sample_that_a_finalizer_sends_in_between_arrives_whole_beside_the_other(
    send: Callable[[Wired, int], None],
):
    finalized = 0
    other = np.full(5, 2, np.uint8)
    with wired(Reader(10)) as ring:
        use_all_slots(ring, send, 0)
        free_slots = ring.free_slots
        for number in range(1, MOST_ALLOCATIONS):
            for form in (0, number):  # what is known, and what is new
                sent: list[bool] = []

                def send_other(sent: list[bool] = sent) -> None:
                    with suppress(DoraRtError):  # in the middle of a send
                        ring.send(other)
                        sent.append(True)

                send(ring, 0)
                with finalizing(send_other, after=number):
                    send(ring, form)

                values = [bytes(event.value) for event in iter(ring.subscribers[0].take, None)]
                expected = [bytes([1] * 10), bytes([1] * (10 + form))]
                if sent:
                    finalized += 1
                    assert bytes(other) in values[1:], values
                    values.remove(bytes(other))
                assert values == expected, number
                assert ring.free_slots == free_slots

    assert finalized, "a finalizer has sent"


@SENDS
def test_nothing_is_sent_behind_the_end_that_a_finalizer_brings(
    send: Callable[[Wired, int], None],
):
    for number in range(1, MOST_ALLOCATIONS):
        with wired(Reader(10)) as ring:
            words = ring.publisher._words
            ends: list[int] = []

            def close(ring: Wired = ring, words: Any = words, ends: list[int] = ends) -> None:
                ring.publisher.close()
                if words[protocol.WRITER_CLOSED] != protocol.OPEN:
                    ends.append(words[protocol.HEAD])

            use_all_slots(ring, send, 0)
            with finalizing(close, after=number), suppress(NodeClosedError):
                send(ring, 1)

            assert words[protocol.WRITER_CLOSED] == protocol.CLOSED
            assert ends in ([], [words[protocol.HEAD]]), number
