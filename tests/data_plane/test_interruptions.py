"""An exception of a signal handler may come between any two bytecodes: each of them is tried."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dora_rt.transport
from dora_rt.compiled import IS_COMPILED
from dora_rt.errors import NodeClosedError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output.origin import Stamp
from tests.harness.interruptions import Interrupted, interrupting
from tests.harness.ring import NO_STAMP, Reader, Wired, config_of, wired

FOLDER = str(Path(dora_rt.transport.__file__).parent)
READERS = {
    "block": Reader(2, QueuePolicy.BLOCK),
    "drop_oldest": Reader(2),
    "latest": Reader(1, QueuePolicy.LATEST),
}
# No handler runs within compiled code, and the ordinary case is nothing else.
MOMENTS = 0 if IS_COMPILED else 10
SMALL, LARGE = np.zeros(4), np.zeros(400)


@pytest.fixture(autouse=True)
def finalizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python swallow what comes out of a finalizer, as it does, without telling of it here."""
    hook = sys.unraisablehook

    def swallow(unraisable: Any) -> None:
        if unraisable.exc_type is not Interrupted:
            hook(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", swallow)


def interrupting_the_data_plane(at: list[int]) -> AbstractContextManager[list[int]]:
    return interrupting(at, lambda file: file.startswith(FOLDER), Interrupted)


def interrupt_everywhere(
    prepare: Callable[[Wired], Any],
    act: Callable[[Wired, Any], Any],
    *readers: Reader,
    step: int = 1,
) -> int:
    """Interrupt an act at each of its moments, and look at what is left of it.

    Args:
        prepare: makes what the act needs, from a ring in which nothing waits.
        act: what is interrupted.
        readers: of the ring.
        step: 1: at each moment; else at every so manieth.

    Gives the number of moments.
    """
    with wired(*readers) as ring:
        all_slots = ring.free_slots
        check(ring, all_slots, "before")
        moment = 1 - step
        while True:
            moment += step
            for again in (None, 7):  # the second one comes while the first is being dealt with
                state = prepare(ring)
                at = [moment] if again is None else [moment, moment + again]
                with interrupting_the_data_plane(at) as count, suppress(Interrupted):
                    act(ring, state)
                is_over = count[0] < moment
                del state
                check(ring, all_slots, f"interrupted at {at}")
            if is_over:
                return moment


def check(ring: Wired, all_slots: int, when: str) -> None:
    """Let both sides go on as if nothing had been: all is accounted for, in order."""
    ring.look_at_readers()
    for number in range(12):
        if number:  # at first the queue may be full
            ring.send(SMALL)
        for subscriber in ring.subscribers:
            last_seq, delivered = subscriber._ring.arrived
            while (event := subscriber.take()) is not None:
                # Also the one that was just being given may come again: it was not received.
                assert event.seq > last_seq or subscriber._ring.arrived[1] == delivered, when
                if delivered and event.seq > last_seq:
                    assert event.dropped == event.seq - last_seq - 1, when
                last_seq, delivered = event.seq, subscriber._ring.arrived[1]
    for number, subscriber in enumerate(ring.subscribers):
        assert subscriber.take() is None, when
        counters = ring.counters(number)
        assert subscriber._ring.arrived[0] == ring.writer.head - 1, when
        assert counters.delivered + counters.dropped == counters.sent, (when, counters)
        for token in subscriber._ring._tokens:
            assert token is None or token.value == 0, when
    assert ring.free_slots == all_slots, when
    assert sorted(ring.writer.free) == list(range(ring.output.slots)), when


def nothing(_: Wired) -> None:
    return None


def fill(value: np.ndarray) -> Callable[[Wired], None]:
    def prepare(ring: Wired) -> None:
        room = min(end.edge.queue_size for end in ring.publisher._ends)
        for _ in range(room):
            ring.send(value)

    return prepare


@pytest.mark.parametrize("policy", READERS)
@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["copied", "viewed"])
def test_send_that_is_interrupted_sends_all_or_nothing(policy: str, value: np.ndarray):
    tried = interrupt_everywhere(nothing, lambda ring, _: ring.send(value), READERS[policy])

    assert tried > MOMENTS


@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
def test_send_that_drops_and_is_interrupted_drops_once(policy: str):
    interrupt_everywhere(fill(SMALL), lambda ring, _: ring.send(SMALL), READERS[policy])


@pytest.mark.parametrize("policy", READERS)
@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["copied", "viewed"])
def test_take_that_is_interrupted_loses_nothing(policy: str, value: np.ndarray):
    tried = interrupt_everywhere(
        fill(value), lambda ring, _: ring.subscribers[0].take(), READERS[policy]
    )

    assert tried > MOMENTS


@pytest.mark.parametrize("policy", READERS)
def test_time_limit_during_a_take_costs_no_sample(policy: str, monkeypatch: pytest.MonkeyPatch):
    class TimeIsOverError(TimeoutError):
        pass

    monkeypatch.setitem(globals(), "Interrupted", TimeIsOverError)
    dropped: list[int] = []

    def take(ring: Wired, _: None) -> None:
        dropped.append(ring.counters().dropped)
        ring.subscribers[0].take()

    interrupt_everywhere(fill(LARGE), take, READERS[policy])

    assert policy != "block" or set(dropped) == {0}


def test_take_of_the_newest_that_is_interrupted_counts_each_sample_once():
    def overtake(ring: Wired) -> None:
        # The writer publishes another one between the two looks of the reader.
        ring.send(SMALL)
        reader = ring.reader()
        find = reader._find_token

        def find_late(slot: int) -> Any:
            reader._find_token = find
            ring.send(SMALL)
            return find(slot)

        reader._find_token = find_late

    interrupt_everywhere(
        overtake, lambda ring, _: ring.subscribers[0].take(), Reader(2, QueuePolicy.LATEST)
    )


# Python swallows what is raised in a finalizer, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("policy", READERS)
def test_view_that_is_let_go_meanwhile_comes_back(policy: str):
    def hold(ring: Wired) -> list[Any]:
        ring.send(LARGE)
        return [ring.take()]

    interrupt_everywhere(hold, lambda _, held: held.clear(), READERS[policy])


def test_collecting_that_is_interrupted_collects_once():
    def hold(ring: Wired) -> None:
        for _ in range(2):
            ring.send(LARGE)
        held = [ring.take(), ring.take()]
        held.clear()

    for reader in READERS.values():
        if reader.queue_size == 2:
            interrupt_everywhere(hold, lambda ring, _: ring.send(SMALL), reader)


@pytest.mark.parametrize("policy", READERS)
def test_wait_for_room_that_is_interrupted_can_be_done_again(policy: str):
    def wait(ring: Wired, _: None) -> None:
        with suppress(TimeoutError):
            ring.publisher.send_in_time(SMALL, NO_STAMP._replace(deadline_ns=1))

    interrupt_everywhere(fill(SMALL), wait, READERS[policy])


@pytest.mark.parametrize("policy", READERS)
def test_loan_that_is_interrupted_is_sent_or_comes_back(policy: str):
    def stamp() -> Stamp:
        return NO_STAMP

    def lend(ring: Wired, _: None) -> None:
        with ring.publisher.loan(
            (400,), LARGE.dtype, lambda: NO_STAMP, has_metadata=False
        ) as array:
            array[:] = 1

    interrupt_everywhere(nothing, lend, READERS[policy])


@pytest.mark.parametrize("policy", READERS)
def test_reader_that_dies_and_comes_back_is_met_once(policy: str):

    from dora_rt.transport.input.subscriber import Subscriber

    def restart(ring: Wired) -> None:
        fill(SMALL)(ring)
        ring.memory.mark_dead(1, returns=True)
        config = ring.memory.renew(1)
        ring.memory.note_attached(1)
        ring.memory.remove_outdated()
        (entry,) = config.inputs
        ring.subscribers[0] = Subscriber(config_of(config, ring.run), entry, ring.board)

    interrupt_everywhere(restart, lambda ring, _: ring.look_at_readers(), READERS[policy], step=4)


@pytest.mark.parametrize("policy", READERS)
def test_reader_that_is_gone_leaves_nothing(policy: str):
    def leave(ring: Wired) -> None:
        fill(LARGE)(ring)
        ring.memory.mark_dead(1, returns=False)

    def settle(ring: Wired) -> None:
        ring.look_at_readers()
        ring.send(SMALL)

    moment, is_over = 0, False
    while not is_over:
        moment += 1
        with wired(READERS[policy]) as ring:
            all_slots = ring.free_slots
            leave(ring)
            with interrupting_the_data_plane([moment]) as count, suppress(Interrupted):
                ring.look_at_readers()
            is_over = count[0] < moment
            settle(ring)
            assert ring.free_slots == all_slots, moment
            assert ring.counters().dropped == 0, "nobody was too slow for it"


def test_close_that_is_interrupted_closes_when_it_is_called_again():
    moment, is_over = 0, False
    while not is_over:
        moment += 1
        with wired() as ring:
            ring.send(SMALL)
            with interrupting_the_data_plane([moment]) as count, suppress(Interrupted):
                ring.publisher.close()
            is_over = count[0] < moment
            ring.publisher.close()

            assert ring.take().seq == 0
            assert ring.subscribers[0].notice_end(), moment
            with pytest.raises(NodeClosedError):
                ring.send(SMALL)
