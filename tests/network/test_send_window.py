"""How much of a stream is under way at once."""

from __future__ import annotations

import pytest

from dora_rt.network.receive_order import ReceiveOrder, Verdict
from dora_rt.network.send_window import Probe, SendWindow
from dora_rt.network.wire import Ack, Head, Kind, Number

_MS = 1_000_000
_LARGE = 1_000_000


def ack(
    last: Number | None, *, probe: int = 0, received: int = 0, taken: Number | None = None
) -> Ack:
    return Ack(life=1, receiver_life=2, last=last, taken=taken, probe=probe, received=received)


def opened(*, is_lossless: bool = False, most_held: int = 256) -> SendWindow[str]:
    window: SendWindow[str] = SendWindow(1, is_lossless=is_lossless, most_held=most_held)
    window.connect(2, 0)
    (probe,) = window.due(0)
    assert isinstance(probe, Probe)
    window.hear(ack(None, probe=probe.id), 0)
    return window


def fill(window: SendWindow[str], nbytes: int) -> int:
    """Send as long as there is credit; return how many."""
    count = 0
    while window.has_credit:
        window.add((0, count), nbytes, "", 0)
        count += 1
    return count


def test_nothing_is_sent_before_the_receiver_has_answered() -> None:
    window: SendWindow[str] = SendWindow(1, is_lossless=True)
    assert not window.has_credit

    window.connect(2, 0)

    assert not window.has_credit
    assert opened().has_credit


def test_one_large_sample_is_under_way() -> None:
    assert fill(opened(), _LARGE) == 1


def test_two_are_where_the_link_would_stand_still_between_them() -> None:
    window = opened()
    window.round_trip_ns = 40 * _MS
    window.add((0, 0), _LARGE, "", 0)
    window.hear(ack((0, 0), received=1), 50 * _MS)

    window.add((0, 1), _LARGE, "", 0)
    assert window.has_credit
    window.add((0, 2), _LARGE, "", 0)
    assert not window.has_credit


def test_small_samples_are_up_to_64_kib() -> None:
    assert fill(opened(), 1024) == 64
    assert fill(opened(), 8) == 256


def test_no_more_is_kept_than_the_ring_can_hold() -> None:
    window = opened(is_lossless=True, most_held=10)

    assert fill(window, 8) == 10
    window.hear(ack((0, 9)), _MS)
    assert not window.in_flight
    assert not window.has_credit
    window.hear(ack((0, 9), taken=(0, 3)), _MS)
    assert window.released == (0, 3)
    assert window.has_credit


def test_silence_is_asked_about_and_what_did_not_arrive_is_sent_again() -> None:
    window = opened(is_lossless=True)
    for number in range(3):
        window.add((0, number), 8, str(number), 0)
    assert list(window.due(900 * _MS)) == []

    (probe,) = window.due(1100 * _MS)
    assert isinstance(probe, Probe)
    window.hear(ack((0, 0), probe=probe.id, received=1), 1200 * _MS)

    assert [put.item for put in window.due(1200 * _MS) if not isinstance(put, Probe)] == ["1", "2"]  # type: ignore[union-attr]
    assert window.resent == 2


def test_other_streams_lose_what_did_not_arrive_and_go_on_with_the_newest() -> None:
    window = opened()
    window.add((0, 0), _LARGE, "", 0)
    window.disconnect()

    window.connect(2, 10)
    (probe,) = window.due(10)
    assert isinstance(probe, Probe)
    window.hear(ack(None, probe=probe.id), 20)

    assert (window.lost, window.in_flight) == (1, 0)
    assert window.has_credit


def test_given_up_receiver_keeps_nothing_here() -> None:
    window = opened(is_lossless=True)
    window.add((0, 0), 8, "", 0)

    window.give_up()

    assert window.is_idle
    assert window.lost == 1
    assert not window.has_credit


@pytest.mark.parametrize("has_arrived", [False, True])
def test_newest_that_was_given_up_can_come_once_more_and_what_follows_it(has_arrived: bool) -> None:
    window: SendWindow[str] = SendWindow(1, is_lossless=True)
    receiver = ReceiveOrder(2, is_lossless=True)
    receiver.connect(1)
    connect(window, receiver)
    for seq in range(2):
        flight = window.add((0, seq), 8, "", 0)
        if seq == 0 or has_arrived:
            assert receiver.judge(sample(flight.number, flight.previous)) is Verdict.NEW
            receiver.note_published(flight.number)
    window.give_up()

    window.go_back((0, 1))
    connect(window, receiver)

    assert window.has_resumed
    assert window.receiver_last == ((0, 1) if has_arrived else (0, 0))
    if has_arrived:
        window.go_on((0, 1))
    else:
        again = window.add((0, 1), 8, "", 0)
        assert receiver.judge(sample(again.number, again.previous)) is Verdict.NEW
        receiver.note_published(again.number)
    following = window.add((0, 2), 8, "", 0)
    assert not following.has_arrived
    assert receiver.judge(sample(following.number, following.previous)) is Verdict.NEW


def test_receiver_that_has_forgotten_what_it_had_gets_the_newest() -> None:
    window: SendWindow[str] = SendWindow(1, is_lossless=True)
    window.connect(2, 0)
    (probe,) = window.due(0)
    assert isinstance(probe, Probe)
    window.hear(ack((0, 5), probe=probe.id), 0)
    assert window.add((0, 5), 8, "", 0).has_arrived
    window.give_up()

    window.go_back((0, 5))
    receiver = ReceiveOrder(3, is_lossless=True)
    receiver.connect(1)
    connect(window, receiver, life=3)

    assert window.receiver_last == (0, 4)
    again = window.add((0, 5), 8, "", 0)
    assert not again.has_arrived
    assert receiver.judge(sample(again.number, again.previous)) is Verdict.NEW


def connect(window: SendWindow[str], receiver: ReceiveOrder, *, life: int = 2) -> None:
    window.has_resumed = False
    window.connect(life, 0)
    (probe,) = window.due(0)
    assert isinstance(probe, Probe)
    head = Head(Kind.PROBE, 7, 1, None, probe.base, probe=probe.id)
    assert receiver.judge(head) is Verdict.ANSWER
    window.hear(receiver.ack(), 0)


def sample(number: Number, previous: Number | None) -> Head:
    return Head(Kind.SAMPLE, 7, 1, number, previous)
