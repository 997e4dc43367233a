"""The protocol between two gateways, in hundreds of histories of a bad link and of kills."""

from __future__ import annotations

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
_SEEDS = range(100)


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("troubles", [Troubles(), _BAD_LINK, _KILLS], ids=["good", "bad", "kills"])
def test_lossless_stream_delivers_each_sample_once_and_in_order(
    seed: int, troubles: Troubles
) -> None:
    simulation = Simulation(seed, troubles, is_lossless=True)

    simulation.run(60)

    assert simulation.delivered == simulation.ring.sent
    assert not simulation.ring.dropped


@pytest.mark.parametrize("seed", _SEEDS)
def test_killed_far_machine_loses_nothing_that_its_readers_had_not_taken(seed: int) -> None:
    simulation = Simulation(seed, _FAR_KILLS, is_lossless=True)

    simulation.run(60)

    # What a reader took just before it was killed may come again: nobody knows whether it was used.
    assert sorted(set(simulation.delivered)) == simulation.ring.sent


@pytest.mark.parametrize("seed", _SEEDS)
def test_what_another_stream_loses_is_known_exactly(seed: int) -> None:
    troubles = Troubles(loss=0.05, cut=0.05)
    simulation = Simulation(seed, troubles, is_lossless=False)

    simulation.run(60)

    window, ring = simulation.window, simulation.ring
    assert window.arrived == simulation.received == len(simulation.delivered)
    assert window.arrived + window.lost == simulation.forwarded
    assert len(ring.sent) == ring.dropped + len(ring.waiting) + window.arrived + window.lost


@pytest.mark.parametrize("seed", _SEEDS)
def test_other_streams_deliver_in_order_and_nothing_twice(seed: int) -> None:
    simulation = Simulation(seed, _KILLS, is_lossless=False)

    simulation.run(60)

    delivered = simulation.delivered
    assert delivered == sorted(set(delivered))
    assert set(delivered) <= set(simulation.ring.sent)
