"""When a link that is slower than its source waits for a younger sample, and what becomes of it."""

from __future__ import annotations

import time

import pytest

from dora_rt.event import SourceRestarted
from dora_rt.network.source_rhythm import SourceRhythm
from dora_rt.node_config import QueuePolicy
from tests.harness.waiting import eventually
from tests.network.machines import Crossing, crossing

PERIOD = 33
SLOW = 100
LARGE = bytes(10_000)


def rhythm(*samples: tuple[int, int]) -> SourceRhythm:
    one = SourceRhythm()
    for seq, sent_ns in samples:
        one.note(seq, sent_ns)
    return one


@pytest.mark.parametrize(
    ("age", "until"),
    [(0, None), (11, None), (12, 3 * PERIOD + 41), (32, 3 * PERIOD + 41), (33, None), (90, None)],
)
def test_sample_older_than_a_third_of_the_period_gives_way_to_the_next(
    age: int, until: int | None
) -> None:
    # Two of three were dropped.
    one = rhythm((0, 0), (3, 3 * PERIOD))

    assert one.waits_until_ns(3 * PERIOD + age, SLOW) == until


def test_link_that_is_faster_than_its_source_waits_for_nothing() -> None:
    one = rhythm((0, 0), (1, PERIOD))

    assert one.waits_until_ns(PERIOD + 20, PERIOD) is None


@pytest.mark.parametrize("samples", [(), ((5, 100),), ((5, 100), (0, 133))])
def test_source_without_a_known_period_is_not_waited_for(
    samples: tuple[tuple[int, int], ...],
) -> None:
    assert rhythm(*samples).waits_until_ns(150, SLOW) is None


def test_source_that_was_started_again_has_no_period_yet() -> None:
    one = rhythm((0, 0), (1, PERIOD))
    one.forget()
    one.note(0, 2 * PERIOD)

    assert one.waits_until_ns(2 * PERIOD + 20, SLOW) is None


class Patient(SourceRhythm):
    """Waits with each sample for as long as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.wait_s = 0.0
        self.asked = 0

    def waits_until_ns(self, now_ns: int, sending_ns: int) -> int | None:
        self.asked += 1
        return now_ns + int(self.wait_s * 1e9) if self.wait_s else None


def patient(one: Crossing) -> Patient:
    """Have the sender wait from now on with each sample, for longer than a test takes."""
    one.send(LARGE)
    assert one.take().value == LARGE
    rhythm = Patient()
    rhythm.wait_s = 1000.0
    one.gateways["robot"].gateway.outgoing[0]._rhythm = rhythm
    return rhythm


def test_younger_sample_takes_the_place_of_the_one_that_waited_which_counts_as_dropped() -> None:
    with crossing(QueuePolicy.LATEST, queue_size=1) as one:
        rhythm = patient(one)
        one.send(b"older" + LARGE)
        eventually(lambda: rhythm.asked == 1)
        rhythm.wait_s = 0
        one.send(b"younger" + LARGE)

        event = one.take()

        assert event.value == b"younger" + LARGE
        gateway = one.gateways["robot"].gateway

        def is_counted() -> bool:
            (counts,) = gateway.status().streams
            return (counts.sent, counts.dropped_here, counts.network) == (3, 1, 0)

        eventually(is_counted)


def test_sample_that_waited_in_vain_is_sent() -> None:
    with crossing(QueuePolicy.LATEST, queue_size=1) as one:
        rhythm = patient(one)
        rhythm.wait_s = 0.2
        began = time.monotonic()
        one.send(b"the last for long" + LARGE)

        event = one.take()

        assert time.monotonic() - began > 0.2
        assert event.value == b"the last for long" + LARGE


def test_last_sample_of_a_source_does_not_wait() -> None:
    with crossing(QueuePolicy.LATEST, queue_size=1) as one:
        rhythm = patient(one)
        one.send(b"the last" + LARGE)
        eventually(lambda: rhythm.asked == 1)
        one.end_source()

        assert [event.value for event in one.take_all()] == [b"the last" + LARGE]


def test_last_sample_of_a_source_that_is_killed_does_not_wait() -> None:
    with crossing(QueuePolicy.LATEST, queue_size=1) as one:
        rhythm = patient(one)
        one.send(b"the last" + LARGE)
        eventually(lambda: rhythm.asked == 1)
        one.restart_source()

        # Before the next one is sent: the reader has room for one sample.
        changes = [one.take_any()]
        one.send(b"small")
        changes += [one.take_any() for _ in range(2)]

        assert changes[0].value == b"the last" + LARGE
        assert isinstance(changes[1], SourceRestarted)
        assert changes[2].value == b"small"


@pytest.mark.parametrize("policy", [QueuePolicy.BLOCK, QueuePolicy.DROP_OLDEST])
def test_only_the_newest_gives_way_to_a_newer(policy: QueuePolicy) -> None:
    with crossing(policy) as one:
        one.send(LARGE)
        one.take()

        assert one.gateways["robot"].gateway.outgoing[0]._rhythm is None
