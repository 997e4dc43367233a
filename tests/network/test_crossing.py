"""Samples cross from one gateway to another: real rings, zenoh over loopback."""

from __future__ import annotations

import numpy as np
import pytest

from dora_rt.event import SourceRestarted
from dora_rt.node_config import QueuePolicy
from tests.harness.waiting import eventually
from tests.network.machines import crossing


@pytest.mark.parametrize("policy", QueuePolicy)
def test_samples_cross_as_they_are(policy: QueuePolicy) -> None:
    picture = np.arange(480 * 640 * 3, dtype=np.uint8).reshape(480, 640, 3)

    with crossing(policy) as one:
        one.send(b"eight by", b'{"frame":7}')
        first = one.take()
        one.send(picture)
        second = one.take()

        assert first.value == b"eight by"
        assert first.metadata["frame"] == 7
        assert second.value.dtype == np.uint8
        assert np.array_equal(second.value, picture)


@pytest.mark.parametrize("order", [("robot", "laptop"), ("laptop", "robot")])
def test_machines_start_in_any_order(order: tuple[str, str]) -> None:
    with crossing(QueuePolicy.BLOCK, started=order) as one:
        one.send(b"1")

        assert one.take().value == b"1"


@pytest.mark.parametrize("policy", QueuePolicy)
def test_reader_sees_that_a_far_source_was_started_again_in_front_of_its_first_sample(
    policy: QueuePolicy,
) -> None:
    with crossing(policy) as one:
        one.send(b"first life", b'{"life":1}')
        first = one.take_any()
        one.restart_source()
        one.send(b"second life")
        restarted, second = one.take_any(), one.take_any()
        one.send(b"still")
        third = one.take_any()

        assert (first.value, first.metadata["life"], first.metadata_json) == (
            b"first life",
            1,
            b'{"life":1}',
        )
        assert isinstance(restarted, SourceRestarted)
        assert restarted.id == "input"
        assert (second.value, second.metadata_json) == (b"second life", b"")
        assert third.value == b"still"


def test_end_of_a_source_crosses_behind_its_last_sample() -> None:
    with crossing(QueuePolicy.BLOCK) as one:
        for number in range(5):
            one.send(b"%d" % number)
        one.end_source()

        assert [event.value for event in one.take_all()] == [b"0", b"1", b"2", b"3", b"4"]
        eventually(lambda: all(gateway.is_over for gateway in one.gateways.values()))
