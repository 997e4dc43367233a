"""The accounts of a stream balance at both of its ends, whoever was started again."""

from __future__ import annotations

import json

from dora_rt.network.accounts import (
    EndedRuns,
    ReceiverCounts,
    SenderCounts,
    account_of_receiver,
    account_of_sender,
)


def test_what_the_ring_gave_and_nobody_received_was_lost_in_the_network() -> None:
    sender = SenderCounts(sent=100, taken=90, ring_dropped=10, thrown_away=3, is_final=True)
    receiver = ReceiverCounts(85, {"a/in": 80}, {"a/in": 5})

    account = account_of_sender(1, sender, receiver, {})

    assert account.network == 2
    assert account.received is not None
    assert account.sent == account.dropped_here + account.received + account.network
    assert account == account_of_receiver(1, sender, receiver, EndedRuns())


def test_nothing_is_said_of_the_network_before_the_other_end_has_told() -> None:
    account = account_of_sender(1, SenderCounts(sent=9, taken=9, lost=4), None, {})

    assert account.network is None
    assert account.delivered is None


def test_killed_receiver_has_what_it_got_and_takes_its_rings_along() -> None:
    sender = SenderCounts(
        sent=100, taken=90, ring_dropped=10, received_before=40, lost=1, is_final=True
    )
    receiver = ReceiverCounts(49, {"a/in": 49}, {"a/in": 0})

    here = account_of_sender(1, sender, receiver, {"a/in": 38})
    there = account_of_receiver(1, sender, receiver, EndedRuns())

    assert (here.received, here.network) == (89, 1)
    assert (here.delivered, here.dropped_there) == ({"a/in": 87}, {"a/in": 2})
    assert (there.sent, there.dropped_here, there.received, there.network) == (60, 10, 49, 1)


def test_killed_sender_has_sent_what_came_of_it_at_least() -> None:
    ended = EndedRuns()
    ended.add(SenderCounts(sent=50, taken=45, ring_dropped=5), ReceiverCounts(44))
    ended.add(None, ReceiverCounts(47))
    sender = SenderCounts(sent=20, taken=20, is_final=True)
    receiver = ReceiverCounts(66, {"a/in": 66}, {"a/in": 0})

    account = account_of_receiver(1, sender, receiver, ended)

    assert account.sent == 50 + 3 + 20
    assert (account.dropped_here, account.received, account.network) == (6, 66, 1)


def test_sender_that_was_started_again_hears_only_of_what_it_has_sent() -> None:
    ended = EndedRuns()
    # Of 47 that had come, five were in the ring of "a/in", and three are dropped there later.
    ended.add(SenderCounts(sent=50), ReceiverCounts(47, {"a/in": 40, "b/in": 47}, {"a/in": 2}))
    receiver = ReceiverCounts(66, {"a/in": 59, "b/in": 65}, {"a/in": 5, "b/in": 1})
    sender = SenderCounts(sent=20, taken=20, is_final=True)

    told = ended.taken_from(receiver)
    account = account_of_sender(1, sender, told, {})

    assert (account.received, account.network) == (19, 1)
    assert (told.delivered, told.dropped) == ({"a/in": 14, "b/in": 18}, {"a/in": 3, "b/in": 1})
    assert EndedRuns().taken_from(receiver) == receiver


def test_gateway_that_was_started_again_knows_the_runs_of_the_sender_before_it() -> None:
    ended = EndedRuns()
    ended.add(SenderCounts(sent=50), ReceiverCounts(47, {"a/in": 40}, {"a/in": 2}))

    again = EndedRuns.from_json(json.loads(json.dumps(ended.to_json())))

    assert again == ended
    # The launcher has not told it what was counted yet.
    assert again.taken_from(ReceiverCounts(0, {"a/in": 0}, {})) == ReceiverCounts(
        0, {"a/in": 0}, {"a/in": 0}
    )
