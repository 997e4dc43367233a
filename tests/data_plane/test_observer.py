"""Looking at an output without a place in anybody's queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from array import array

import numpy as np
import pyarrow
import pytest

from dora_rt.errors import SharedMemoryError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.observer import Observer
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.ring.protocol import BEING_WRITTEN, FLOOR
from tests.harness.ring import Reader, Wired, wired


def observer_of(live: Wired) -> Observer:
    return Observer(live.run, live.output)


def test_newest_sample_is_given_once_with_all_that_came_with_it():
    with wired(Reader(10)) as live:
        watch = observer_of(live)
        assert watch.newest("image") is None

        for number in range(3):
            live.send(np.full((4, 5), number, np.int16), Stamp(b'{"n":1}', 7, 5))
        event = watch.newest("image")

        assert event is not None
        assert (event.id, event.seq, event.origin_ns, event.metadata["n"]) == ("image", 2, 5, 1)
        assert event.value.dtype == np.int16
        assert (event.value == np.full((4, 5), 2)).all()
        assert not event.value.flags.writeable
        assert watch.newest("image") is None
        live.send(b"bytes")
        live.send(b"more")
        last = watch.newest("image")
        assert last is not None
        assert (last.value, last.dropped) == (b"more", 1)


def test_what_was_missed_between_two_looks_is_counted():
    with wired(Reader(2)) as live:
        watch = observer_of(live)
        for number in range(10):
            live.send(bytes([number]))
            if number in (3, 9):
                event = watch.newest("x")
                assert event is not None
                assert (event.seq, event.dropped) == (number, 0 if number == 3 else 5)


def test_samples_that_still_lie_there_are_given_in_their_order():
    with wired(Reader(3)) as live:
        watch = observer_of(live)
        live.send(b"before")
        live.send(b"first")
        begin = watch.following("x")
        assert begin is not None
        assert (begin.value, begin.dropped) == (b"first", 0), "nothing before it was missed"

        for number in range(3):
            live.send(bytes([number]))  # all of them wait in the reader's queue
        seen = [watch.following("x") for _ in range(4)]

        assert [event and event.value for event in seen] == [b"\0", b"\1", b"\2", None]
        for number in range(40):
            live.send(bytes([number]))
        assert watch.behind == 40
        caught = list(iter(lambda: watch.following("x"), None))
        assert caught[-1].value == bytes([39])
        assert len(caught) >= 3
        assert len(caught) + sum(event.dropped for event in caught) == 40
        assert watch.behind == 0


def test_array_of_arrow_is_given_as_one():
    with wired(Reader(1)) as live:
        watch = observer_of(live)

        live.send(pyarrow.array(["some", None]))

        event = watch.newest("x")
        assert event is not None
        assert event.value.to_pylist() == ["some", None]


def test_observers_take_no_place_in_the_queue_and_hold_no_slot():
    with wired(Reader(1, QueuePolicy.BLOCK)) as live:
        watchers = [observer_of(live) for _ in range(5)]
        for number in range(50):
            live.send(bytes([number]))
            seen = [watch.newest("x") for watch in watchers]
            assert [event.value for event in seen if event] == [bytes([number])] * 5
            assert live.take().value == bytes([number])

        assert live.free_slots == live.output.slots
        assert live.counters().dropped == 0


def test_sample_that_is_being_overwritten_is_not_given():
    with wired(Reader(1)) as live:
        watch = observer_of(live)
        live.send(b"first")
        words = live.publisher._words
        place = FLOOR + 3 * len(live.output.edges)
        slots = slice(place, place + live.output.slots)
        kept = list(words[slots])
        words[slots] = memoryview(array("Q", [BEING_WRITTEN] * live.output.slots))

        assert watch.newest("x") is None

        words[slots] = memoryview(array("Q", kept))
        event = watch.newest("x")
        assert event is not None
        assert event.value == b"first"


def test_newest_sample_is_seen_although_no_reader_is_left_and_its_slot_comes_next():
    with wired(Reader(1)) as live:
        watch = observer_of(live)
        live.subscribers[0].close()
        for number in range(3):
            live.send(bytes([number]))
            event = watch.newest("x")

            assert event is not None
            assert event.value == bytes([number])


def test_loan_that_is_open_does_not_show_through():
    with wired(Reader(1)) as live:
        watch = observer_of(live)
        live.send(np.zeros(100_000, np.uint8))
        live.take()
        loan = live.publisher.loan(
            (100_000,), np.dtype(np.uint8), lambda: Stamp(b"", 1, 1), has_metadata=False
        )
        with loan as array:
            array[:] = 7  # in the very slot of the sample before
            assert watch.newest("x") is None
        event = watch.newest("x")

        assert event is not None
        assert (event.value == 7).all()


@pytest.mark.slow
def test_no_copy_is_torn_while_the_writer_goes_on_at_full_speed():
    with wired(Reader(2)) as live:
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                live.send(np.full(20_000, number % 251, np.uint8))
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        watch = observer_of(live)
        seen = 0
        end = time.monotonic() + 45
        while seen < 100 and time.monotonic() < end:
            event = watch.newest("x")
            if event is not None:
                assert (event.value == event.seq % 251).all(), "torn"
                seen += 1
        stop.set()
        writer.join()

        assert seen == 100


@pytest.mark.programs
def test_killed_observer_leaves_nothing_and_changes_nothing():
    with wired(Reader(1)) as live:
        live.send(b"here")
        program = (
            "import sys, time\n"
            "from dora_rt.node_config import EdgeConfig, OutputConfig, QueuePolicy\n"
            "from dora_rt.transport.input.observer import Observer\n"
            f"watch = Observer({live.run!r}, {live.output!r})\n".replace(
                "<QueuePolicy.DROP_OLDEST: 'drop_oldest'>", "QueuePolicy.DROP_OLDEST"
            )
            + "print(watch.newest('x').value, flush=True)\n"
            "while True: watch.newest('x')\n"
        )
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"b'here'\n"

        os.kill(child.pid, signal.SIGKILL)
        child.communicate()

        for number in range(20):
            live.send(bytes([number]))
            assert live.take(0).value in (b"here", bytes([number]))
        assert live.free_slots == live.output.slots


def test_flow_that_is_gone_is_an_error_that_says_so():
    with wired(Reader(1)) as live:
        run, output = live.run, live.output

    with pytest.raises(SharedMemoryError, match="the dataflow has ended"):
        Observer(run, output)
