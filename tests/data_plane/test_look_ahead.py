"""An input that is held, and one that is read before it is taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dora_rt.event import Event
from dora_rt.node.session import Session
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.look_ahead import LookAhead
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import BusyError, find_semaphore
from tests.harness.ring import Reader
from tests.network.machines import Run

_STAMP = Stamp(b"", 1, 1)


@contextmanager
def flowing(reader: Reader) -> Iterator[tuple[Run, Session, Session]]:
    """Attach a writer and a reader to a run that has started."""
    run = Run(reader)
    writer, session = run.attach(0), run.attach(1)
    run.memory.start()
    try:
        yield run, writer, session
    finally:
        writer.close()
        session.close()
        run.close()


def send(writer: Session, *values: bytes) -> None:
    for value in values:
        writer.publisher("output").send(value, _STAMP)


def value_of(session: Session) -> bytes | None:
    try:
        event = session.wait_intact(0)
    except TimeoutError:
        return None
    assert isinstance(event, Event)
    return bytes(event.value)


def test_held_input_gives_nothing_and_its_queue_goes_by_its_policy() -> None:
    with flowing(Reader(queue_size=1, policy=QueuePolicy.LATEST)) as (run, writer, session):
        session.inbox.hold("input")
        send(writer, b"1", b"2", b"3")
        assert value_of(session) is None

        session.inbox.resume("input")

        assert value_of(session) == b"3"
        assert run.counts() == (3, 1, 2)


def test_sample_of_a_held_input_wakes_who_sleeps() -> None:
    with flowing(Reader()) as (_, writer, session):
        session.inbox.hold("input")
        assert value_of(session) is None
        send(writer, b"1")
        began_ns = time.monotonic_ns()

        session.inbox.sleep(began_ns + 60_000_000_000)

        assert time.monotonic_ns() - began_ns < 30_000_000_000


def test_samples_are_read_and_stay_in_the_ring_until_they_are_taken() -> None:
    with flowing(Reader(queue_size=3, policy=QueuePolicy.BLOCK)) as (run, writer, session):
        ahead = LookAhead(run.run, session.inbox.hold("input"), time.monotonic_ns)
        send(writer, b"1", b"2", b"3")

        read = [ahead.read() for _ in range(4)]

        assert [event and event.value for event in read] == [b"1", b"2", b"3", None]
        assert run.counts() == (3, 0, 0)
        assert ahead.take(1)
        assert run.counts() == (3, 2, 0)
        send(writer, b"4", b"5")
        again = ahead.read()
        assert again is not None
        assert again.value == b"4"


def test_reader_that_is_started_in_place_of_a_killed_one_finds_what_was_not_taken() -> None:
    with flowing(Reader(queue_size=5, policy=QueuePolicy.BLOCK)) as (run, writer, session):
        ahead = LookAhead(run.run, session.inbox.hold("input"), time.monotonic_ns)
        send(writer, b"1", b"2", b"3")
        for _ in range(3):
            assert ahead.read() is not None
        assert ahead.take(0)

        run.memory.mark_dead(1, returns=True)
        plan = run.memory.renew(1)
        writer.inbox.hear_news()
        second = run.attach(1, plan)
        ahead = LookAhead(run.run, second.inbox.hold("input"), time.monotonic_ns)
        writer.publisher("output").notice_readers()

        read = [ahead.read() for _ in range(3)]

        assert [event and event.value for event in read] == [b"2", b"3", None]
        assert ahead.take(2)
        second.close()


def test_read_array_is_a_copy() -> None:
    with flowing(Reader(queue_size=5, policy=QueuePolicy.BLOCK)) as (run, writer, session):
        ahead = LookAhead(run.run, session.inbox.hold("input"), time.monotonic_ns)
        writer.publisher("output").send(np.full((100, 100), 7, np.uint8), _STAMP)

        event = ahead.read()

        assert event is not None
        assert event.copied
        assert ahead.take(0)
        writer.publisher("output").send(np.full((100, 100), 8, np.uint8), _STAMP)
        assert (event.value == 7).all()


def test_ring_of_a_writer_that_has_gone_is_dry_when_all_is_read() -> None:
    with flowing(Reader(queue_size=5, policy=QueuePolicy.BLOCK)) as (run, writer, session):
        ahead = LookAhead(run.run, session.inbox.hold("input"), time.monotonic_ns)
        assert not ahead.is_dry
        send(writer, b"1")
        writer.close_output("output")
        assert not ahead.is_dry

        assert ahead.read() is not None

        assert ahead.is_dry


def test_ring_of_a_writer_that_was_killed_before_it_knew_the_reader_is_dry() -> None:
    with flowing(Reader(queue_size=5, policy=QueuePolicy.BLOCK)) as (run, writer, _):
        run.memory.mark_dead(1, returns=True)
        second = run.attach(1, run.memory.renew(1))
        ahead = LookAhead(run.run, second.inbox.hold("input"), time.monotonic_ns)
        assert ahead.read() is None

        # The writer has not looked at the board since.
        run.memory.mark_dead(0, returns=True)

        assert ahead.is_dry
        assert not writer.inbox.was_told_to_stop
        second.close()


def test_ring_of_a_writer_that_was_killed_before_it_posted_is_dry_all_the_same() -> None:
    with flowing(Reader(queue_size=5, policy=QueuePolicy.BLOCK)) as (run, writer, session):
        ahead = LookAhead(run.run, session.inbox.hold("input"), time.monotonic_ns)
        send(writer, b"1")
        # It has counted the sample, and its token is not there.
        edge = run.output.edges[0]
        assert sum(take_token(run, slot) for slot in range(edge.slots)) == 1
        run.memory.mark_dead(0, returns=True)
        run.memory.renew(0)

        event = ahead.read()

        assert event is not None
        assert not ahead.take(event.seq)
        assert ahead.is_dry


def take_token(run: Run, slot: int) -> bool:
    """Take the token of a slot, if there is one."""
    token = find_semaphore(object_names.token(run.run, 0, 0, slot))
    if token is None:
        return False
    try:
        token.acquire(0)
    except BusyError:
        return False
    finally:
        token.close()
    return True
