"""Restarts as the two ends of an edge see them, step by step in one process."""

from __future__ import annotations

import time

import pytest

from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.board import Board, Fate, Peer
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import attach_semaphore, attach_words, create_semaphore
from dora_rt.transport.ring import protocol as words
from tests.harness.objects import new_run, own_objects
from tests.harness.ring import Reader, Wired, config_of, plan_of, wired

BLOCK = Reader(3, QueuePolicy.BLOCK)


def restart_reader(ring: Wired) -> Subscriber:
    config = ring.memory.renew(1)
    (entry,) = config.inputs
    return Subscriber(config_of(config, ring.run), entry, ring.board)


def restart_writer(ring: Wired) -> Publisher:
    config = ring.memory.renew(0)
    ring.publisher = Publisher(ring.run, "writer", config.outputs[0], ring.board)
    return ring.publisher


def values(subscriber: Subscriber) -> list[bytes]:
    return [event.value for event in iter(subscriber.take, None)]


def test_queue_of_a_dead_reader_waits_for_the_next_one():
    with wired(BLOCK) as ring:
        for value in (b"0", b"1", b"2"):
            ring.send(value)
        assert ring.take().value == b"0"
        ring.memory.mark_dead(1, returns=True)
        ring.send(b"3")

        reader = restart_reader(ring)
        assert reader.take() is None, "the writer has not noticed yet"
        ring.look_at_readers()

        assert values(reader) == [b"1", b"2", b"3"]
        assert ring.counters().sent == ring.counters().delivered == 4


def test_drops_while_nobody_reads_are_counted():
    with wired(Reader(2)) as ring:
        ring.send(b"0")
        ring.take()
        ring.memory.mark_dead(1, returns=True)
        for value in range(1, 11):
            ring.send(str(value).encode())

        reader = restart_reader(ring)
        ring.look_at_readers()

        assert values(reader) == [b"9", b"10"]
        counters = ring.counters()
        assert (counters.sent, counters.delivered, counters.dropped) == (11, 3, 8)


def test_drops_that_a_killed_reader_had_not_seen_are_counted():
    with wired(Reader(2)) as ring:
        for value in range(10):
            ring.send(str(value).encode())
        ring.memory.mark_dead(1, returns=True)

        reader = restart_reader(ring)
        ring.look_at_readers()

        assert values(reader) == [b"8", b"9"]
        counters = ring.counters()
        assert (counters.sent, counters.delivered, counters.dropped) == (10, 2, 8)


def test_reader_that_dies_again_before_it_was_noticed_costs_nothing():
    with wired(BLOCK) as ring:
        ring.send(b"0")
        for _ in range(20):
            ring.memory.mark_dead(1, returns=True)
            reader = restart_reader(ring)
            ring.memory.note_attached(1)
            ring.memory.remove_outdated()
        ring.send(b"1")

        assert values(reader) == [b"0", b"1"]


def test_slots_of_all_dead_readers_come_back():
    with wired(Reader(3)) as ring:
        all_slots = ring.free_slots
        reader = ring.subscribers[0]
        for _ in range(50):
            for _ in range(5):
                ring.send(b"x" * 1000)
            assert reader.take() is not None
            ring.memory.mark_dead(1, returns=True)
            ring.look_at_readers()
            reader = restart_reader(ring)
            ring.look_at_readers()
        values(reader)

        assert ring.free_slots == all_slots


def test_reader_reads_a_dead_writer_to_its_end_and_then_the_new_one():
    with wired(BLOCK) as ring:
        ring.send(b"old 0")
        ring.send(b"old 1")
        ring.memory.mark_dead(0, returns=True)
        old = ring.subscribers[0]
        assert not old.notice_end(), "away is not gone"

        restart_writer(ring)
        ring.send(b"new 0")

        assert old.notice_end()
        assert values(old) == [b"old 0", b"old 1"]
        assert old.is_ended
        new = old.successor()
        assert new is not None
        event = new.take()
        assert event is not None
        assert (event.value, event.seq) == (b"new 0", 0)


def test_writer_that_dies_again_before_its_reader_looked_is_skipped_over():
    with wired(BLOCK) as ring:
        ring.send(b"first")
        for _ in range(5):
            ring.memory.mark_dead(0, returns=True)
            restart_writer(ring)
            ring.memory.note_attached(0)
            ring.memory.remove_outdated()
        ring.send(b"last")
        old = ring.subscribers[0]
        old.notice_end()
        assert values(old) == [b"first"]

        new = old.successor()

        assert new is not None
        assert values(new) == [b"last"]


def test_array_of_a_dead_writer_stays_what_it_was():
    import numpy as np

    with wired(Reader(3)) as ring:
        ring.send(np.full(1000, 7))
        held = ring.take().value
        ring.memory.mark_dead(0, returns=True)
        restart_writer(ring)
        for _ in range(20):
            ring.send(np.full(1000, 9))
        ring.memory.remove_outdated()

        assert (held == 7).all()


def test_objects_of_earlier_generations_are_removed_when_nobody_needs_them():
    with wired(BLOCK) as ring:
        names = objects(ring.memory)
        for _ in range(3):
            ring.memory.mark_dead(1, returns=True)
            restart_reader(ring)
            ring.memory.note_attached(1)
            ring.look_at_readers()
        assert len(objects(ring.memory)) > len(names)

        ring.memory.remove_outdated()

        assert len(objects(ring.memory)) == len(names)


def test_what_a_slow_reader_has_not_read_yet_is_not_removed():
    with wired(BLOCK) as ring:
        ring.send(b"unread")
        ring.memory.mark_dead(0, returns=True)
        restart_writer(ring)
        ring.memory.note_attached(0)

        ring.memory.remove_outdated()

        assert ring.memory.has_outdated
        old = ring.subscribers[0]
        old.notice_end()
        assert values(old) == [b"unread"]
        ring.memory.remove_outdated()
        assert not ring.memory.has_outdated


def objects(memory: RunMemory) -> set[str]:
    return {name for name in own_objects() if f"drt-{memory._run}-" in name}


def test_objects_stay_for_a_process_that_has_not_attached_to_them_yet():
    plan = plan_of(Reader())
    with RunMemory.create(plan, run := new_run()) as memory:
        # The writer dies and comes back while its reader still imports its libraries.
        memory.mark_dead(0, returns=True)
        memory.renew(0)
        memory.remove_outdated()

        name = object_names.board(run)
        board = Board(attach_words(name, lambda *_: None, writable=False), 2, 1, name)
        config = config_of(plan.processes[1].config, run)
        reader = Subscriber(config, config.inputs[0], board)

        assert reader.notice_end()
        assert reader.take() is None
        assert reader.successor() is not None


@pytest.mark.parametrize("closing", [words.CLOSED, words.CLOSED_FOR_GOOD])
@pytest.mark.parametrize("policy", list(QueuePolicy), ids=lambda policy: policy.value)
def test_input_that_its_reader_has_closed_is_closed_for_later_writers(
    policy: QueuePolicy, closing: int
):
    with wired(Reader(3, policy)) as ring:
        ring.subscribers[0].close(closing)
        before = objects(ring.memory)

        for _ in range(5):
            ring.memory.mark_dead(0, returns=True)
            restart_writer(ring)
            ring.memory.note_attached(0)
            deadline = Stamp(b"", 1, 1, time.monotonic_ns() + 2_000_000_000)
            for _ in range(10):
                ring.send(b"x", deadline)
            ring.memory.remove_outdated()

        assert not ring.memory.has_outdated
        # The pool is made with the first sample, so the first writer had none.
        assert len(objects(ring.memory)) == len(before) + 1
        counters = ring.counters()
        assert (counters.sent, counters.delivered, counters.dropped) == (50, 0, 0)


def test_restarted_reader_opens_again_what_the_one_before_it_had_closed():
    with wired(BLOCK) as ring:
        ring.subscribers[0].close(words.CLOSED_FOR_GOOD)
        ring.memory.mark_dead(0, returns=True)
        ring.memory.mark_dead(1, returns=True)
        restart_writer(ring)
        reader = restart_reader(ring)
        ring.look_at_readers()

        ring.send(b"0")

        assert values(reader) == [b"0"]


@pytest.mark.parametrize("policy", list(QueuePolicy), ids=lambda policy: policy.value)
def test_writers_that_their_reader_was_too_busy_to_meet_leave_nothing_and_lose_nothing_in_silence(
    policy: QueuePolicy,
):
    with wired(Reader(3, policy)) as ring:
        reader = ring.subscribers[0]
        ring.send(b"first")
        for life in range(10):
            ring.memory.mark_dead(0, returns=True)
            restart_writer(ring)
            ring.memory.note_attached(0)
            for number in range(2):
                ring.send(b"%d.%d" % (life, number))
            ring.memory.remove_outdated()

        received = values(reader)
        while reader.notice_end():
            received += values(reader)
            successor = reader.successor()
            assert successor is not None
            reader = successor
            received += values(reader)
        ring.memory.remove_outdated()

        assert not ring.memory.has_outdated
        assert received[0] == b"first"
        assert received[-1] == b"9.1"
        counters = ring.counters()
        assert counters.sent == 21
        assert counters.delivered == len(received)
        assert counters.delivered + counters.dropped == 21
        if policy is QueuePolicy.BLOCK:
            assert counters.dropped == 0


def test_generation_goes_when_its_reader_has_left_it_whatever_its_counts_say():
    with wired(BLOCK) as ring:
        ring.send(b"0")
        ring.take()
        # Killed between HEAD and the token: this sample is neither delivered nor dropped.
        ring.publisher._words[words.HEAD] += 1
        ring.memory.mark_dead(0, returns=True)
        restart_writer(ring)
        ring.memory.note_attached(0)
        ring.memory.remove_outdated()
        assert ring.memory.has_outdated

        ring.subscribers[0]._words[words.LEFT] = 1
        ring.memory.remove_outdated()

        assert not ring.memory.has_outdated


def test_token_made_for_a_reader_that_is_long_gone_goes_with_the_next_restart():
    with wired(BLOCK) as ring:
        for restart in range(3):
            ring.memory.mark_dead(1, returns=True)
            restart_reader(ring)
            ring.memory.note_attached(1)
            if restart == 1:
                # By a writer that had not looked yet, and was killed before it did.
                create_semaphore(object_names.token(ring.run, 0, 0, 9)).close()
            ring.memory.remove_outdated()
            ring.look_at_readers()

        assert f"sem.drt-{ring.run}-e0.0t9" not in objects(ring.memory)


def test_news_of_both_ends_are_counted_and_rung_for():
    with wired(BLOCK) as ring:
        doorbells = [
            attach_semaphore(object_names.doorbell(ring.run, number)) for number in range(2)
        ]
        returned = ring.publisher._ends[0].edge.returned
        news = [ring.board.news_view(number) for number in range(2)]

        def changes() -> tuple[int, ...]:
            now = (*(word[0] for word in news), *(bell.value for bell in doorbells))
            return (*now, returned.value)

        before = changes()
        ring.memory.mark_dead(1, returns=True)
        after_death = changes()
        ring.memory.mark_dead(1, returns=True)
        again = changes()
        ring.memory.renew(1)
        after_renewal = changes()
        for bell in doorbells:
            bell.close()

    difference = [new - old for new, old in zip(after_death, before, strict=True)]
    assert difference == [1, 0, 1, 0, 1], "the writer is told that its reader has died"
    assert again == after_death, "nothing is new"
    difference = [new - old for new, old in zip(after_renewal, again, strict=True)]
    assert difference == [1, 1, 1, 1, 1], "both are told of the new generation"


def test_board_has_the_words_of_each_process_and_edge_apart():
    with wired(BLOCK, BLOCK) as ring:
        ring.memory.tell_to_stop(1)
        ring.memory.mark_dead(2, returns=False)
        ring.memory.mark_dead(0, returns=True)

        board = ring.board
        assert [board.is_stopped(number) for number in range(3)] == [False, True, False]
        # That the reader of 0 has died, that 1 is to end, and to both that their writer has died.
        assert [board.news_view(number)[0] for number in range(3)] == [1, 2, 1]
        readers = [Peer.from_word(board.reader_word(edge)).fate for edge in range(2)]
        assert readers == [Fate.ALIVE, Fate.GONE]
        writers = [Peer.from_word(board.writer_word(edge)).fate for edge in range(2)]
        assert writers == [Fate.AWAY, Fate.AWAY]
