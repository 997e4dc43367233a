"""Queue policies: who gets which sample when a reader is slow, counted exactly."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque

import numpy as np
import pytest

from dora_rt.errors import NodeClosedError, SharedMemoryError
from dora_rt.node_config import QueuePolicy
from tests.harness.ring import NO_STAMP, Reader, wired
from tests.harness.waiting import PATIENCE_S, eventually

LATEST = Reader(1, QueuePolicy.LATEST)
BLOCK_TWO = Reader(2, QueuePolicy.BLOCK)


def number(value: int) -> bytes:
    return str(value).encode()


def test_drop_oldest_keeps_exactly_the_newest_of_a_burst():
    with wired(Reader(4)) as ring:
        for value in range(100):
            ring.send(number(value))

        events = [ring.take() for _ in range(4)]

        assert [event.value for event in events] == [b"96", b"97", b"98", b"99"]
        assert [event.seq for event in events] == [96, 97, 98, 99]
        assert [event.dropped for event in events] == [96, 0, 0, 0]
        assert ring.subscribers[0].take() is None


def test_latest_gives_only_the_newest():
    with wired(LATEST) as ring:
        for value in range(7):
            ring.send(number(value))

        event = ring.take()

        assert (event.value, event.dropped) == (b"6", 6)
        assert ring.subscribers[0].take() is None


def test_readers_of_one_output_do_not_disturb_each_other():
    with wired(Reader(1), Reader(3), Reader(10)) as ring:
        for value in range(5):
            ring.send(number(value))

        taken = [
            [event.value for event in iter(subscriber.take, None)]
            for subscriber in ring.subscribers
        ]

        assert taken == [
            [b"4"],
            [b"2", b"3", b"4"],
            [b"0", b"1", b"2", b"3", b"4"],
        ]


def test_sent_is_delivered_plus_dropped_for_each_reader():
    with wired(Reader(1), Reader(3), LATEST) as ring:
        for value in range(1000):
            ring.send(number(value))
            for reader, subscriber in enumerate(ring.subscribers):
                if value % (reader + 2) == 0:
                    subscriber.take()
        for subscriber in ring.subscribers:
            while subscriber.take() is not None:
                pass

        for reader in range(3):
            counters = ring.counters(reader)
            assert counters.sent == 1000
            assert counters.delivered + counters.dropped == 1000
            assert sum(counters.latencies) == counters.delivered


def test_fast_reader_drops_nothing():
    with wired(Reader(1)) as ring:
        for value in range(500):
            ring.send(number(value))
            assert ring.take().value == number(value)

        assert ring.counters().dropped == 0


def test_block_waits_for_room_and_loses_nothing():
    with wired(BLOCK_TWO) as ring:
        sender = threading.Thread(
            target=lambda: [ring.send(number(value)) for value in range(50)], daemon=True
        )
        sender.start()
        eventually(lambda: ring.counters().sent == 2)

        taken = []
        while len(taken) < 50:
            event = ring.subscribers[0].take()
            if event is not None:
                taken.append(int(event.value))
                assert ring.counters().sent <= len(taken) + 2
        sender.join(30)

        assert taken == list(range(50))
        assert ring.counters().dropped == 0


def test_blocked_writer_goes_on_when_its_reader_closes_the_input():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        sender = threading.Thread(target=lambda: ring.send(b"waits"), daemon=True)
        sender.start()

        ring.subscribers[0].close()

        sender.join(30)
        assert not sender.is_alive()
        assert ring.counters().sent == 2


def test_blocked_writer_goes_on_when_its_reader_dies():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        sender = threading.Thread(target=lambda: ring.send(b"waits"), daemon=True)
        sender.start()

        ring.memory.mark_dead(1, returns=False)

        sender.join(30)
        assert not sender.is_alive()


def test_blocked_writer_that_is_closed_raises():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        raised = []

        def send() -> None:
            try:
                ring.send(b"waits")
            except NodeClosedError as error:
                raised.append(str(error))

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        eventually(lambda: ring.publisher._is_midway)
        ring.publisher.close()
        sender.join(30)

        assert raised == ["node 'writer', output 'output': closed, nothing can be sent any more"]


def test_slots_in_the_hands_of_a_dead_reader_come_back():
    with wired(Reader(3), Reader(3)) as ring:
        all_slots = ring.free_slots
        for _ in range(8):
            ring.send(np.zeros(10))
        held = [ring.take(0) for _ in range(3)]
        kept = ring.take(1)
        while ring.subscribers[1].take() is not None:
            pass
        del kept

        ring.memory.mark_dead(1, returns=False)
        ring.look_at_readers()

        assert ring.free_slots == all_slots
        assert len(held) == 3


def test_dead_writer_ends_the_input_after_its_last_sample():
    with wired() as ring:
        ring.send(b"last words")

        ring.memory.mark_dead(0, returns=False)

        subscriber = ring.subscribers[0]
        assert subscriber.notice_end()
        assert ring.take().value == b"last words"
        assert subscriber.take() is None
        assert subscriber.is_ended


def test_token_that_a_dead_writer_never_posted_does_not_hold_up_the_end():
    with wired(Reader(2)) as ring:
        for value in range(3):
            ring.send(number(value))
        # Killed between taking a token back and saying so in FLOOR.
        edge = ring.writer.edges[0]
        edge.tokens[edge.pending[0][1]].acquire(0)
        ring.memory.mark_dead(0, returns=False)

        # A later token is there, and tokens are posted in order.
        event = ring.take()
        assert (event.value, event.dropped) == (b"2", 2)
        subscriber = ring.subscribers[0]
        assert subscriber.notice_end()
        assert subscriber.take() is None
        assert subscriber.is_ended


@pytest.mark.parametrize("policy", list(QueuePolicy))
def test_slots_all_come_back_under_every_policy(policy: QueuePolicy):
    with wired(Reader(1 if policy is QueuePolicy.LATEST else 4, policy)) as ring:
        all_slots = ring.free_slots
        for _ in range(50):
            ring.send(np.zeros(100))
            assert ring.subscribers[0].take() is not None

        eventually(lambda: ring.free_slots == all_slots)


@pytest.mark.parametrize("policy", [QueuePolicy.DROP_OLDEST, QueuePolicy.LATEST])
@pytest.mark.parametrize("queue_size", [1, 2, 4, 10, 30])
@pytest.mark.parametrize("held", [0, 3])
def test_reader_that_is_far_too_slow_gets_one_of_the_newest_at_each_take(
    policy: QueuePolicy, queue_size: int, held: int
):
    if policy is QueuePolicy.LATEST:
        queue_size = 1
    with wired(Reader(queue_size, policy, max_held=4)) as ring:
        views = deque(maxlen=held)
        oldest_behind = 0
        for sent in range(10, 2000, 10):
            for value in range(sent - 10, sent):
                ring.send(np.full(200, value))
            event = ring.take()
            views.append(event)
            oldest_behind = max(oldest_behind, sent - 1 - event.seq)
            assert (event.value == event.seq).all()
            assert not ring.reader()._early, "nothing newer was claimed meanwhile"

        assert oldest_behind == queue_size - 1
        counters = ring.counters()
        waiting = len(ring.writer.edges[0].pending)
        assert counters.delivered + counters.dropped + waiting >= counters.sent
        assert counters.dropped == counters.sent - counters.delivered - (queue_size - 1)


def test_send_with_a_time_out_does_not_wait_longer_for_another_thread():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        other = threading.Thread(target=ring.send, args=(b"waits",), daemon=True)
        other.start()
        eventually(lambda: ring.publisher._is_midway)
        began_s = time.monotonic()

        with pytest.raises(TimeoutError, match="another thread was sending all the time"):
            ring.publisher.send_in_time(
                b"", NO_STAMP._replace(deadline_ns=time.monotonic_ns() + 50_000_000)
            )

        assert 0.05 <= time.monotonic() - began_s < PATIENCE_S
        ring.take()
        other.join(30)
        assert ring.take().value == b"waits"


def test_close_ends_the_wait_of_a_thread_that_is_between_two_generations():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        raised: list[BaseException] = []

        def send() -> None:
            try:
                ring.send(b"waits")
            except NodeClosedError as error:
                raised.append(error)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        # Asleep: what has not begun to wait sees the flag, and needs no ring.
        eventually(lambda: sys._current_frames()[sender.ident or 0].f_code.co_name == "wait")
        # What `close` posts is the semaphore of the generation that the thread is about to leave.
        end = ring.publisher._ends[0]
        wake, posted = end.wake, []

        def wake_too_early() -> None:
            if posted:
                wake()
            posted.append(True)

        end.wake = wake_too_early

        ring.publisher.close()

        sender.join(30)
        assert raised
        assert len(posted) > 1


def test_what_cannot_be_done_behind_a_sample_is_told_by_the_next_send():
    with wired(Reader(3)) as ring:
        ring.send(b"0")
        ring.memory.mark_dead(1, returns=True)
        ring.memory.renew(1)
        end = ring.publisher._ends[0]
        connect = end._connect

        def fail(generation: int) -> None:
            raise SharedMemoryError("nothing more can be mapped")

        end._connect = fail
        ring.send(b"1")  # which goes out, so it does not fail

        with pytest.raises(SharedMemoryError, match="nothing more can be mapped"):
            ring.send(b"2")

        assert ring.writer.head == 2
        end._connect = connect
        ring.send(b"2")
        assert ring.writer.head == 3


def test_close_in_the_middle_of_a_send_comes_behind_its_sample():
    with wired(Reader(3)) as ring:
        edge = ring.writer.edges[0]
        doorbell = edge.doorbell

        class Bell:
            value = 0

            def release(self) -> None:
                edge.doorbell = doorbell
                ring.publisher.close()
                doorbell.release()

        edge.doorbell = Bell()

        ring.send(b"last")

        subscriber = ring.subscribers[0]
        assert subscriber.notice_end()
        assert ring.take().value == b"last"
        assert subscriber.take() is None
        assert subscriber.is_ended
        with pytest.raises(NodeClosedError):
            ring.send(b"too late")


def test_words_that_were_overwritten_do_not_stop_the_writer():
    with wired(Reader(1)) as ring:
        words = ring.publisher._words
        for index in range(8, len(words)):
            words[index] = 2**64 - 1
        for value in range(10):
            ring.send(str(value).encode())

        assert ring.counters().dropped > 0
