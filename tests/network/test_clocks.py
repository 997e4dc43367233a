"""The offset of another clock is found by the shortest round trip."""

from __future__ import annotations

import random

from dora_rt.network.clocks import ClockOffset

_MS = 1_000_000


def is_true(seed: int) -> bool:
    """Return whether the true offset is always within the error that is told."""
    chance = random.Random(seed)
    offset_ns = chance.randrange(-(10**15), 10**15)
    clock = ClockOffset()

    now_ns = 10**16
    for _ in range(200):
        now_ns += 250 * _MS
        # Queues make most probes slow, and one way slower than the other.
        forth, back = (int(chance.expovariate(1 / (20 * _MS))) + 100_000 for _ in range(2))
        there_ns = now_ns + forth + offset_ns
        clock.add(now_ns, there_ns, there_ns + 50_000, now_ns + forth + 50_000 + back)

        assert clock.offset_ns is not None
        assert clock.error_ns is not None
        if abs(clock.offset_ns - offset_ns) > clock.error_ns:
            return False
    return True


def test_true_offset_is_within_the_error_that_is_told() -> None:
    assert [seed for seed in range(50) if not is_true(seed)] == []


def test_drift_is_followed_because_old_probes_are_forgotten() -> None:
    clock = ClockOffset()
    clock.add(0, 50, 50, 2)

    for second in range(1, 40):
        sent_ns = second * 1_000_000_000
        clock.add(sent_ns, sent_ns + 1_000_000, sent_ns + 1_000_000, sent_ns + 1000)

    assert clock.offset_ns == 1_000_000 - 500
    assert clock.round_trip_ns == 1000


def test_probe_that_cannot_be_is_left_out() -> None:
    clock = ClockOffset()

    clock.add(100, 50, 40, 200)
    clock.add(100, 50, 500, 200)

    assert clock.offset_ns is None
    assert not clock.round_trip_ns


def test_translated_times_are_never_in_the_future_and_never_none_at_all() -> None:
    clock = ClockOffset()
    assert clock.to_here(5, now_ns=77) == 77

    clock.add(1000, 11_000, 11_000, 1000)

    assert clock.to_here(10_500, now_ns=2000) == 500
    assert clock.to_here(99_000, now_ns=2000) == 2000
    assert clock.to_here(3, now_ns=2000) == 1
