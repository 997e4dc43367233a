"""When a waiter polls before it sleeps, and when it does not."""

from __future__ import annotations

import time

import pytest

from dora_rt.transport.primitives import object_names, polling
from dora_rt.transport.primitives.doorbell import Doorbell
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import create_semaphore, unlink_run
from tests.harness.objects import new_run

SHORT_NS = 20_000
FRAME_NS = 33_000_000


@pytest.fixture(autouse=True)
def idle_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "has_idle_core", lambda: True)


def begin(adaptive: Spin) -> int:
    """Sleep shortly until it begins to poll; tell how often that took."""
    for count in range(1, 10_000):
        adaptive.slept(SHORT_NS)
        if adaptive.limit_ns:
            return count
    raise AssertionError("it never began")


def test_polling_begins_after_short_waits_and_never_between_the_frames_of_a_camera():
    camera = Spin(None)
    for _ in range(1000):
        camera.slept(FRAME_NS)

    assert camera.limit_ns == 0
    assert 1 < begin(Spin(None)) < 100


def test_one_long_wait_among_short_ones_starts_the_count_again():
    waiter = Spin(None)
    needed = begin(Spin(None))
    for _ in range(10):
        for _ in range(needed - 1):
            waiter.slept(SHORT_NS)
        waiter.slept(FRAME_NS)

    assert waiter.limit_ns == 0


def test_polling_in_vain_ends_soon_and_begins_again_later_each_time():
    waiter = Spin(None)
    needed = []
    for _ in range(5):
        needed.append(begin(waiter))
        polls = 0
        while waiter.limit_ns:
            waiter.was_in_vain()
            polls += 1
        assert polls <= 3

    assert needed == sorted(set(needed)), "each time later"


def test_polling_that_pays_survives_a_miss_now_and_then():
    waiter = Spin(None)
    begin(waiter)
    for _ in range(200):
        for _ in range(8):
            waiter.paid()
        waiter.was_in_vain()

    assert waiter.limit_ns > 0


def test_nobody_polls_without_an_idle_core(monkeypatch: pytest.MonkeyPatch):
    waiter = Spin(None)
    begin(waiter)
    monkeypatch.setattr(polling, "has_idle_core", lambda: False)
    for _ in range(1000):
        waiter.paid()

    assert waiter.limit_ns == 0
    for _ in range(1000):
        waiter.slept(SHORT_NS)
    assert waiter.limit_ns == 0


def test_poll_is_as_long_as_wake_ups_were_seen_to_cost():
    waiter = Spin(None)
    for _ in range(20):
        waiter.learn(8_000)
    waiter.learn(2_000_000)
    begin(waiter)

    assert 8_000 <= waiter.limit_ns < 25_000


def test_number_in_the_file_is_kept_to_whatever_happens():
    off, fixed = Spin(0), Spin(70_000)
    for waiter in (off, fixed):
        for _ in range(1000):
            waiter.slept(SHORT_NS)
            waiter.was_in_vain()
            waiter.paid()

    assert (off.limit_ns, fixed.limit_ns) == (0, 70_000)


def test_polling_wait_hears_the_ring_without_sleeping_and_ends_at_its_deadline():
    run = new_run()
    create_semaphore(object_names.doorbell(run, 0))
    try:
        doorbell = Doorbell(object_names.doorbell(run, 0), Spin(100_000_000_000))
        doorbell.ring()
        assert doorbell.wait(None)
        assert not doorbell.has_slept

        began_ns = time.monotonic_ns()
        assert not doorbell.wait(began_ns + 5_000_000)

        assert 5_000_000 <= time.monotonic_ns() - began_ns < 30_000_000_000
    finally:
        unlink_run(run)
