"""Who owns a received array: its slot stays the reader's until the last view of it is gone."""

from __future__ import annotations

import gc
import sys
import threading
from queue import SimpleQueue

import numpy as np
import pytest

from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.values.sendable import encode_metadata
from tests.harness.ring import NO_STAMP, Reader, wired


def frame(value: int) -> np.ndarray:
    return np.full((40, 30), value, np.int32)


def test_held_array_is_never_overwritten():
    with wired(Reader(2)) as ring:
        ring.send(frame(7))
        held = ring.take().value

        for value in range(1000, 1100):
            ring.send(frame(value))

        assert (held == 7).all()


@pytest.mark.parametrize(
    "look",
    [
        lambda array: array,
        lambda array: array[3:7, ::2],
        lambda array: array.reshape(-1)[600:].reshape(2, -1),
        lambda array: memoryview(array),
        lambda array: array.view(np.uint8)[:, 1],
        lambda array: iter(array),
    ],
    ids=["itself", "slice", "reshaped", "memoryview", "dtype view", "iterator"],
)
def test_slot_comes_back_with_the_last_view_of_it(look):
    with wired() as ring:
        all_slots = ring.free_slots
        ring.send(frame(1))
        view = look(ring.take().value)
        gc.collect()
        assert ring.free_slots == all_slots - 1

        del view
        gc.collect()

        assert ring.free_slots == all_slots


def test_sample_beyond_max_held_is_a_copy_that_says_so():
    with wired(Reader(10, max_held=2)) as ring:
        for value in range(4):
            ring.send(frame(value))

        events = [ring.take() for _ in range(4)]

        assert [event.copied for event in events] == [False, False, True, True]
        for value in range(100, 150):
            ring.send(frame(value))
        assert [int(event.value[0, 0]) for event in events] == [0, 1, 2, 3]
        assert not events[3].value.flags.writeable
        assert ring.counters().copied == 2


def test_letting_go_of_a_held_sample_ends_the_copying():
    with wired(Reader(10, max_held=1)) as ring:
        for value in range(3):
            ring.send(frame(value))
        first = ring.take()
        assert ring.take().copied

        del first

        assert not ring.take().copied


def test_views_may_be_dropped_in_any_thread_while_samples_are_taken():
    with wired(Reader(10, max_held=8)) as ring:
        all_slots = ring.free_slots
        hands: SimpleQueue[np.ndarray | None] = SimpleQueue()

        def drop() -> None:
            while hands.get() is not None:
                continue

        dropper = threading.Thread(target=drop)
        interval_s = sys.getswitchinterval()
        # Else each thread would do hundreds of rounds before it is the turn of the other.
        sys.setswitchinterval(1e-5)
        dropper.start()
        try:
            for value in range(5000):
                ring.send(frame(value))
                hands.put(ring.take().value)
        finally:
            hands.put(None)
            dropper.join(30)
            sys.setswitchinterval(interval_s)

        assert ring.free_slots == all_slots
        assert ring.counters().delivered == 5000


def test_loan_is_written_in_place_and_sent_at_the_end_of_the_block():
    with wired() as ring:
        loan = ring.publisher.loan(
            (3, 4), np.dtype(np.float32), lambda: NO_STAMP, has_metadata=False
        )
        with loan as array:
            array[:] = 2.5
            assert ring.subscribers[0].take() is None

        received = ring.take().value
        assert received.shape == (3, 4)
        assert (received == 2.5).all()


def test_loan_cannot_be_written_through_its_name_after_the_block():
    with wired() as ring:
        with ring.publisher.loan(
            (3,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False
        ) as array:
            array[:] = 1

        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2


def test_exception_inside_a_loan_sends_nothing_and_gives_the_slot_back():
    with wired() as ring:
        all_slots = ring.free_slots
        loan = ring.publisher.loan((3,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False)

        with pytest.raises(ZeroDivisionError), loan as array:
            array[:] = 1 // 0

        assert ring.subscribers[0].take() is None
        assert ring.free_slots == all_slots


def test_metadata_of_a_loan_may_be_filled_inside_the_block():
    with wired() as ring:
        metadata = {"frame": 1}
        with ring.publisher.loan(
            (5,),
            np.dtype(np.uint8),
            lambda: Stamp(encode_metadata(metadata), 1, 1),
            has_metadata=True,
        ) as array:
            array[:] = 9
            metadata["boxes"] = "x" * 30_000

        event = ring.take()
        assert len(event.metadata["boxes"]) == 30_000
        assert (event.value == 9).all()
