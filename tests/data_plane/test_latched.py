"""A latched output: a reader that comes later gets the newest sample first, and only once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dora_rt.compiled import IS_COMPILED
from dora_rt.event import Event
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.board import Fate, Peer
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.values.source_life import with_life
from tests.harness.ring import NO_STAMP, Reader, Wired, wired

READERS = [
    Reader(2, QueuePolicy.BLOCK),
    Reader(2, QueuePolicy.DROP_OLDEST),
    Reader(1, QueuePolicy.LATEST),
]
each_policy = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.policy.value)


def taken(ring: Wired, reader: int = 0) -> list[tuple[bytes, bool]]:
    """Take all that is there: values, and whether they are latched."""
    events = []
    while (event := ring.subscribers[reader].take()) is not None:
        events.append((bytes(event.value), event.latched))
    return events


@each_policy
def test_first_reader_gets_each_sample_once_and_none_as_latched(reader: Reader):
    with wired(reader, is_latched=True) as ring:
        ring.send(b"map")

        assert taken(ring) == [(b"map", False)]
        assert taken(ring) == []


@each_policy
def test_reader_that_is_started_again_gets_the_newest_sample_first(reader: Reader):
    with wired(reader, is_latched=True) as ring:
        ring.send(b"old map")
        taken(ring)
        ring.send(b"map")
        taken(ring)
        ring.restart_reader()
        assert taken(ring) == []  # the writer has not said yet where this reader begins
        ring.look_at_readers()

        assert taken(ring) == [(b"map", True)]
        ring.send(b"new map")
        assert taken(ring) == [(b"new map", False)]


@each_policy
def test_sample_that_waits_for_the_next_life_of_its_reader_comes_once(reader: Reader):
    with wired(reader, is_latched=True) as ring:
        ring.send(b"old map")
        taken(ring)
        ring.send(b"map")
        ring.restart_reader()
        ring.look_at_readers()

        assert taken(ring) == [(b"map", False)]


def test_dynamic_reader_that_comes_later_gets_the_newest_sample_first():
    with wired(Reader(), Reader(), is_latched=True) as ring:
        ring.memory.mark_dead(2, returns=True, keeps_queues=False)
        ring.look_at_readers()
        ring.send(b"old map")
        ring.send(b"map")
        ring.restart_reader(1, keeps_queue=False)
        ring.look_at_readers()

        assert taken(ring, 1) == [(b"map", True)]
        assert taken(ring, 0) == [(b"old map", False), (b"map", False)]


def test_sample_sent_between_the_writers_look_and_the_readers_is_enough():
    with wired(is_latched=True) as ring:
        ring.send(b"map")
        taken(ring)
        ring.restart_reader()
        ring.look_at_readers()
        ring.send(b"new map")

        assert taken(ring) == [(b"new map", False)]


def test_output_that_is_not_latched_keeps_nothing():
    with wired() as ring:
        ring.send(b"map")
        taken(ring)
        ring.restart_reader()
        ring.look_at_readers()

        assert taken(ring) == []
        assert ring.free_slots == ring.output.slots


def test_latched_array_is_a_copy_with_the_metadata_and_times_of_its_sample():
    picture = np.arange(1_000_000, dtype=np.int32).reshape(1000, 1000)
    with wired(is_latched=True) as ring:
        ring.send(picture, Stamp(b'{"frame": "map"}', 5, 7))
        ring.take()
        ring.restart_reader()
        ring.look_at_readers()

        event = ring.take()

        assert event.latched and event.copied and event.dropped == 0 and event.seq == 0
        assert event.metadata["frame"] == "map" and event.origin_ns == 7
        np.testing.assert_array_equal(event.value, picture)
        assert not event.value.flags.writeable


def test_counts_are_those_of_what_the_ring_delivered():
    with wired(Reader(2), is_latched=True) as ring:
        for value in (b"a", b"b", b"c"):
            ring.send(value)
        taken(ring)
        ring.restart_reader()
        ring.look_at_readers()
        assert taken(ring) == [(b"c", True)]
        ring.send(b"d")
        (event,) = [ring.take()]

        counters = ring.counters()
        assert (counters.sent, counters.delivered, counters.dropped) == (4, 3, 1)
        assert event.dropped == 0


@pytest.mark.parametrize("nbytes", [10, 1_000_000])
def test_neither_a_loan_nor_a_send_that_fails_writes_over_the_newest(nbytes: int):
    with wired(Reader(1, QueuePolicy.BLOCK), Reader(4), is_latched=True) as ring:
        ring.send(np.zeros(nbytes, np.uint8))
        ring.take(1)
        loans = [
            ring.publisher.loan((nbytes,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False)
            for _ in range(2)
        ]
        for loan in loans:
            loan.__enter__()[:] = 1
        with pytest.raises(TimeoutError):
            ring.send(np.full(nbytes, 2, np.uint8), NO_STAMP._replace(deadline_ns=1))
        ring.take(0)
        ring.restart_reader(1)
        ring.look_at_readers()

        event = ring.take(1)

        assert event.latched and not event.value.any()
        for loan in loans:
            loan.__exit__(ValueError, ValueError(), None)
        assert ring.free_slots == ring.output.slots - 1


def test_newest_sample_keeps_its_pool_when_a_loan_makes_a_larger_one():
    with wired(is_latched=True) as ring:
        ring.send(b"map")
        taken(ring)
        loan = ring.publisher.loan(
            (4_000_000,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False
        )
        loan.__enter__()
        ring.restart_reader()
        ring.look_at_readers()

        assert taken(ring) == [(b"map", True)]
        loan.__exit__(ValueError, ValueError(), None)


def test_newest_that_a_dead_reader_had_claimed_before_its_turn_comes_in_its_turn():
    with wired(Reader(3), is_latched=True) as ring:
        ring.send(b"old map")
        ring.send(b"map")
        slot_of_newest = ring.reader()._words[ring.reader()._order + 1] & 0xFFFF
        assert ring.reader()._claim(slot_of_newest)
        ring.restart_reader()
        ring.look_at_readers()

        assert taken(ring) == [(b"old map", False), (b"map", False)]
        assert ring.free_slots == ring.output.slots - 1


def test_reader_gets_the_newest_of_a_writer_that_has_ended():
    with wired(is_latched=True) as ring:
        ring.send(b"map")
        taken(ring)
        ring.publisher.close()
        ring.memory.mark_dead(0, returns=False)
        ring.restart_reader()
        subscriber = ring.subscribers[0]
        assert subscriber.notice_end()

        assert taken(ring) == [(b"map", True)]
        assert subscriber.is_ended


def test_reader_gets_the_newest_of_a_writer_that_was_killed_before_it_knew_of_it():
    with wired(is_latched=True) as ring:
        ring.send(b"map")
        taken(ring)
        ring.restart_reader()
        ring.memory.note_attached(1)
        ring.memory.mark_dead(0, returns=True)
        ring.memory.renew(0)
        ring.memory.remove_outdated()
        subscriber = ring.subscribers[0]
        assert subscriber.notice_end()

        assert taken(ring) == [(b"map", True)]
        assert subscriber.successor() is not None
        ring.memory.remove_outdated()
        assert not ring.memory.has_outdated


def test_writer_that_was_started_again_has_nothing_before_it_sends():
    with wired(is_latched=True) as ring:
        ring.send(b"map")
        taken(ring)
        ring.memory.mark_dead(0, returns=True)
        ring.memory.renew(0)
        ring.subscribers[0].notice_end()
        taken(ring)
        successor = ring.subscribers[0].successor()
        assert successor is not None
        word = Peer.from_word(ring.board.writer_word(0))
        assert word.fate is Fate.ALIVE and word.output_generation == 1

        assert successor.take() is None


def test_event_says_that_it_is_latched_also_in_another_process():
    event = Event("map", b"", latched=True)

    assert pickle.loads(pickle.dumps(event)).latched
    assert not pickle.loads(pickle.dumps(Event("map", b""))).latched


@pytest.mark.skipif(not IS_COMPILED, reason="there is no compiled code here")
def test_compiled_code_takes_over_with_the_first_sample():
    with wired(is_latched=True) as ring:
        assert ring.subscribers[0].awaits_latched
        ring.send(b"map")
        ring.take()

        assert not ring.subscribers[0].awaits_latched


def test_latched_sample_of_another_machine_says_which_life_has_made_it():
    metadata_json = with_life(b'{"frame": "map"}', 1, 2)
    with wired(is_latched=True) as ring:
        ring.send(b"map", NO_STAMP._replace(metadata_json=metadata_json))
        taken(ring)
        ring.restart_reader()
        ring.look_at_readers()

        assert ring.take().metadata_json == metadata_json
