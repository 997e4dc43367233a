"""What a reader leaves to the next one when it dies, at the moments that are easily forgotten."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dora_rt.errors import SharedMemoryError
from dora_rt.event import Event
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import doorbell, object_names
from dora_rt.transport.primitives.noted_operations import posting
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import attach_semaphore, unlink_semaphores
from dora_rt.transport.ring import protocol as words
from dora_rt.transport.ring import writer
from tests.harness.ring import NO_STAMP, Reader, Wired, config_of, wired
from tests.harness.waiting import eventually

DROP, BLOCK = QueuePolicy.DROP_OLDEST, QueuePolicy.BLOCK


def restart(ring: Wired, process: int = 1) -> Subscriber:
    config = ring.memory.renew(process)
    ring.memory.note_attached(process)
    (entry,) = config.inputs
    return Subscriber(config_of(config, ring.run), entry, ring.board)


class Watched:
    """A semaphore at whose next look somebody else comes first."""

    def __init__(self, semaphore, happens) -> None:
        self._semaphore = semaphore
        self._happens = happens

    @property
    def value(self) -> int:
        value = self._semaphore.value
        happens, self._happens = self._happens, lambda: None
        happens()
        return value

    def acquire(self, timeout=None) -> None:
        self._semaphore.acquire(timeout)

    def release(self) -> None:
        self._semaphore.release()

    def close(self) -> None:
        self._semaphore.close()


def test_what_it_gave_back_before_it_died_is_not_given_back_again():
    # Between the writer's look at what came back and its look at who is there.
    with wired(Reader(3, DROP, max_held=3)) as ring:
        writer = ring.writer
        (edge,) = writer.edges
        ring.send(np.full(500, 0))
        held = [ring.take().value]
        ring.send(np.full(500, 1))

        def die() -> None:
            held.clear()
            ring.memory.mark_dead(1, returns=True)

        edge.returned = Watched(edge.returned, die)
        ring.send(np.full(500, 2))
        for value in range(3, 6):
            ring.send(np.full(500, value))

        waiting = [slot for _, slot in edge.pending]
        assert not set(waiting) & set(writer.free)
        assert all(writer._batons[slot] for slot in waiting)
        reader = restart(ring)
        ring.look_at_readers()
        views = list(iter(reader.take, None))
        for value in range(100, 120):
            ring.send(np.full(500, value))
        assert [event.seq for event in views] == [3, 4, 5]
        assert [int(event.value[0]) for event in views] == [3, 4, 5]


@pytest.mark.parametrize("had_all", [True, False], ids=["had all", "one waits"])
def test_its_hands_are_free_only_once_its_log_was_read(had_all: bool):
    # While the writer waits for room on another edge, and then gives up.
    with wired(Reader(3, DROP, max_held=3), Reader(1, BLOCK)) as ring:
        publisher = ring.publisher
        dying, blocking = publisher._ring.edges
        ring.send(np.full(500, 0))
        held = [ring.take(0).value]
        ring.take(1)
        ring.send(np.full(500, 1))
        if had_all:
            ring.take(0)

        def die() -> None:
            eventually(lambda: publisher._is_midway)
            held.clear()
            ring.memory.mark_dead(1, returns=True)
            blocking.returned.release()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(TimeoutError):
            publisher.send_in_time(
                np.full(500, 2), NO_STAMP._replace(deadline_ns=time.monotonic_ns() + 10**9)
            )
        thread.join()
        with publisher.loan((10,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False):
            ring.take(1)
            ring.send(np.full(500, 3))
            waiting = [slot for _, slot in dying.pending]
            assert not set(waiting) & set(publisher._ring.free)
            reader = restart(ring)
            publisher.notice_readers()
            values = [int(event.value[0]) for event in iter(reader.take, None)]
            counters = ring.counters(0)
            ring.take(1)

        assert values == ([3] if had_all else [1, 3])
        assert counters.sent == counters.delivered + counters.dropped


def test_gap_of_what_it_had_claimed_holds_nobody_up():
    with wired(Reader(2, DROP), Reader(6)) as ring:
        writer = ring.writer
        edge = writer.edges[0]
        ring.send(b"0")
        ring.take(1)
        writer.collect_all()
        for value in (b"1", b"2", b"3"):
            ring.send(value)
        # It has the newest, and nothing was said of that: it dies at this very step.
        slot = dict(edge.pending)[3]
        edge.tokens[slot].acquire(0)
        ring.memory.mark_dead(1, returns=True)
        reader = restart(ring)
        ring.look_at_readers()
        ring.send(b"4")

        events = list(iter(reader.take, None))

        assert [event.value for event in events] == [b"2", b"4"]
        assert [event.dropped for event in events] == [0, 1]
        assert all(token is None or not token.value for token in edge.tokens)


@pytest.mark.parametrize("policy", [DROP, BLOCK])
def test_gap_is_seen_also_by_who_has_claimed_what_follows_it(policy):
    # Found by the model: the slot of what the dead reader had claimed is used again while the next
    # reader finds out that nothing is missing before it.
    with wired(Reader(3, policy)) as ring:
        (edge,) = ring.writer.edges
        ring.send(b"0")
        ring.send(b"1")
        slots = dict(edge.pending)
        edge.tokens[slots[1]].acquire(0)
        ring.memory.mark_dead(1, returns=True)
        reader = restart(ring)
        ring.look_at_readers()
        late = edge.tokens[slots[0]]
        late.acquire(0)
        claim = reader._ring._claim

        def claim_late(slot: int) -> bool:
            reader._ring._claim = claim
            late.release()
            ring.send(b"2")
            return claim(slot)

        reader._ring._claim = claim_late

        events = [event for event in (reader.take() for _ in range(4)) if event is not None]

        assert dict(edge.pending)[2] == slots[1], "the same slot"
        assert [event.value for event in events] == [b"0", b"2"]


def test_idle_writer_that_waits_for_an_input_hands_the_queue_over():
    # A client that waits for an answer, and a server that was started again.
    with wired(Reader(3, BLOCK)) as ring:
        for value in (b"0", b"1", b"2"):
            ring.send(value)
        ring.memory.mark_dead(1, returns=True)
        reader = restart(ring)
        client = config_of(ring.memory._plan.processes[0].config, ring.run)
        inbox = Inbox(client, ring.board)
        inbox.publishers = (ring.publisher,)

        inbox.wait(time.monotonic_ns())

        assert [event.value for event in iter(reader.take, None)] == [b"0", b"1", b"2"]


def test_reader_on_another_edge_is_met_while_the_writer_waits_for_room():
    with wired(Reader(1, BLOCK), Reader(3, BLOCK)) as ring:
        ring.send(b"0")
        sender = threading.Thread(target=ring.send, args=(b"1",), daemon=True)
        sender.start()
        eventually(lambda: ring.publisher._is_midway)
        ring.memory.mark_dead(2, returns=True)
        reader = restart(ring, 2)
        found: list[Event] = []

        def receives() -> bool:
            event = reader.take()
            if event is not None:
                found.append(event)
            return bool(found)

        eventually(receives)

        assert found[0].value == b"0"
        assert ring.take(0).value == b"0"
        sender.join(30)
        assert not sender.is_alive()


def test_input_that_is_closed_while_its_writer_restarts_stays_closed():
    with wired(Reader(2, BLOCK)) as ring:
        reader = ring.subscribers[0]
        ring.memory.mark_dead(0, returns=True)
        ring.memory.renew(0)

        reader.close(words.CLOSED_FOR_GOOD)

        (output,) = ring.memory.current(ring.memory._plan.processes[0].config).outputs
        ring.publisher = Publisher(ring.run, "writer", output, ring.board)
        for value in range(20):
            ring.send(str(value).encode())
        assert ring.writer.edges[0].state.value == "closed"


def test_hand_over_that_is_broken_off_skips_nothing_when_the_reader_is_quick(
    monkeypatch: pytest.MonkeyPatch,
):
    with wired(Reader(3, BLOCK)) as ring:
        ring.send(b"0")
        ring.send(b"1")
        ring.memory.mark_dead(1, returns=True)
        reader = restart(ring)
        posted = []

        def post_one(token, note):
            if posted:
                raise KeyboardInterrupt
            posted.append(token)
            return posting(token, note)

        with monkeypatch.context() as patch:
            patch.setattr(writer, "posting", post_one)
            with pytest.raises(KeyboardInterrupt):
                ring.look_at_readers()
        first = reader.take()  # and its slot is given back
        ring.look_at_readers()
        second = reader.take()

        assert first is not None and first.value == b"0"
        assert second is not None and second.value == b"1"
        assert reader.take() is None


def test_semaphore_that_goes_while_a_doorbell_attaches_is_an_error_and_no_crash(
    monkeypatch: pytest.MonkeyPatch,
):
    with wired(Reader(1, BLOCK)) as ring:
        name = object_names.returned(ring.run, 0, 0)

        def attach_the_last_moment(name: str):
            semaphore = attach_semaphore(name)
            unlink_semaphores([name])
            return semaphore

        monkeypatch.setattr(doorbell, "attach_semaphore", attach_the_last_moment)
        mapped = Path("/proc/self/maps").read_text().count("sem.")

        with pytest.raises(SharedMemoryError, match="gone"):
            doorbell.Doorbell(name, Spin(0))

        assert Path("/proc/self/maps").read_text().count("sem.") <= mapped
