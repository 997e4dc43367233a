"""The protocol between two gateways, in hundreds of histories of a bad link and of kills."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.network.simulation import Simulation, Troubles

_BAD_LINK = Troubles(loss=0.2, doubling=0.1, reorders=True, cut=0.02)
_KILLS = Troubles(
    loss=0.1,
    doubling=0.1,
    reorders=True,
    cut=0.02,
    sender_killed=0.02,
    receiver_killed=0.02,
    source_restarted=0.02,
)
_FAR_KILLS = Troubles(loss=0.1, cut=0.02, sender_killed=0.02, far_killed=0.03)
# One seed is one history; here in one test, since each test of its own would cost more than it.
_SEEDS = range(1000 if os.environ.get("SOAK") == "1" else 60)


def histories(troubles: Troubles, *, is_lossless: bool) -> Iterator[Simulation]:
    """Run one history after the other; a failure names its seed."""
    for seed in _SEEDS:
        simulation = Simulation(seed, troubles, is_lossless=is_lossless)
        simulation.run(60)
        yield simulation


@pytest.mark.parametrize("troubles", [Troubles(), _BAD_LINK, _KILLS], ids=["good", "bad", "kills"])
def test_lossless_stream_delivers_each_sample_once_and_in_order(troubles: Troubles) -> None:
    for one in histories(troubles, is_lossless=True):
        assert one.delivered == one.ring.sent, f"seed {one.seed}"
        assert not one.ring.dropped, f"seed {one.seed}"


def test_killed_far_machine_loses_nothing_that_its_readers_had_not_taken() -> None:
    for one in histories(_FAR_KILLS, is_lossless=True):
        # What a reader took just before it was killed may come again: nobody knows whether it was
        # used.
        assert sorted(set(one.delivered)) == one.ring.sent, f"seed {one.seed}"


def test_what_another_stream_loses_is_known_exactly() -> None:
    for one in histories(Troubles(loss=0.05, cut=0.05), is_lossless=False):
        window, ring = one.window, one.ring
        assert window.arrived == one.received == len(one.delivered), f"seed {one.seed}"
        assert window.arrived + window.lost == one.forwarded, f"seed {one.seed}"
        kept = ring.dropped + len(ring.waiting)
        assert len(ring.sent) == kept + window.arrived + window.lost, f"seed {one.seed}"


def test_other_streams_deliver_in_order_and_nothing_twice() -> None:
    for one in histories(_KILLS, is_lossless=False):
        assert one.delivered == sorted(set(one.delivered)), f"seed {one.seed}"
        assert set(one.delivered) <= set(one.ring.sent), f"seed {one.seed}"


def test_optional_machine_holds_up_nobody_and_goes_on_where_the_sender_is() -> None:
    troubles = Troubles(cut=0.1, far_killed=0.01, receiver_killed=0.02, is_optional=True)
    for one in histories(troubles, is_lossless=True):
        numbers = one.ring.sent
        assert set(one.delivered) <= set(numbers), f"seed {one.seed}"
        assert len(set(one.delivered)) + one.thrown_away >= len(numbers), f"seed {one.seed}"
