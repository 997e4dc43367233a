"""The word of the clock: who is rung when it is set, and what a timer makes of it."""

from __future__ import annotations

import pytest

from dora_rt.errors import SharedMemoryError
from dora_rt.event import clock_of, encode_clock
from dora_rt.transport.clock import Clock, ClockHands, format_clock
from dora_rt.transport.input.timers import ClockTimer
from dora_rt.transport.output.clock_origins import ClockOrigins
from dora_rt.transport.output.origin import make_stamp
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import Segment

MS = 1_000_000


class Bell:
    """A semaphore that counts, and never sleeps."""

    def __init__(self) -> None:
        self.value = 0

    def acquire(self, timeout: float | None = None) -> None:
        self.value -= 1

    def release(self) -> None:
        self.value += 1

    def close(self) -> None:
        pass


@pytest.fixture
def words() -> memoryview:
    words = memoryview(bytearray(24)).cast("Q")
    format_clock(words)
    return words


def test_a_process_is_rung_only_when_one_of_its_timers_may_have_a_tick(words: memoryview):
    bells = [Bell(), Bell()]
    hands = ClockHands(words, [(bells[0], (100 * MS, 30 * MS)), (bells[1], (1000 * MS,))])

    rung = []
    for time_ms in (1, 2, 29, 30, 31, 99, 100, 1000, 5000, 4999, 4999):
        before = [bell.value for bell in bells]
        hands.set(time_ms * MS)
        changed = [bell.value - old for bell, old in zip(bells, before, strict=True)]
        rung.append((time_ms, *changed))

    assert [time_ms for time_ms, first, _ in rung if first] == [1, 30, 99, 100, 1000, 5000, 4999]
    assert [time_ms for time_ms, _, second in rung if second] == [1, 1000, 5000, 4999]


def test_a_process_started_again_rings_once_more_for_what_its_forerunner_had_set(
    words: memoryview,
):
    bell = Bell()
    ClockHands(words, [(bell, (100 * MS,))]).set(150 * MS)

    ClockHands(words, [(bell, (100 * MS,))]).set(151 * MS)

    assert bell.value == 2


def test_a_process_that_never_listens_is_not_rung_for_ever(words: memoryview):
    bell = Bell()
    hands = ClockHands(words, [(bell, (MS,))])

    for time_ms in range(1000):
        hands.set(time_ms * MS)

    assert bell.value == 64


def test_time_is_nothing_before_the_first_sample_and_0_is_a_time(words: memoryview):
    clock = Clock(words)

    before = clock.now_ns(), clock.time_ns()
    ClockHands(words, ()).set(0)

    assert before == (0, None)
    assert (clock.now_ns(), clock.time_ns()) == (0, 0)


def test_timer_that_looks_late_gets_one_tick_for_all_and_none_twice(words: memoryview):
    hands, timer = ClockHands(words, ()), ClockTimer("tick", 100 * MS, Clock(words))

    ticks = []
    for time_ms in (None, 5, 5, 99, 100, 1234, 1299, 7, 8, 100):
        if time_ms is not None:
            hands.set(time_ms * MS)
        tick = timer.take(0, 0)
        if tick is not None:
            due_ns = clock_of(tick.metadata_json)
            assert due_ns is not None and tick.sent_ns > 0
            ticks.append((time_ms, tick.seq, tick.dropped, due_ns / MS))

    assert ticks == [
        (5, 0, 0, 5),
        (100, 1, 0, 100),
        (1234, 12, 10, 1200),
        (7, 13, 0, 7),
        (100, 14, 0, 100),
    ]


def test_sample_has_its_own_time_or_that_of_its_stamp_or_of_what_it_answers_or_of_now(
    words: memoryview,
):
    ClockHands(words, ()).set(9)
    origins = ClockOrigins(Clock(words))

    def time_of(metadata: dict[str, object] | None, captured_ns: int | None = None) -> int | None:
        stamp = make_stamp(origins, "output 'x'", metadata, captured_ns, None)
        return clock_of(stamp.metadata_json)

    assert (time_of(None), time_of({"stamp_ns": 5})) == (9, 5)
    assert (time_of({"stamp_ns": 5, "clock_ns": 6}), time_of({"stamp_ns": "?"})) == (6, 9)
    origins.cause = 1, encode_clock(3), ""
    assert (time_of(None), time_of({"a": 1}), time_of({"stamp_ns": 5})) == (3, 3, 5)
    assert time_of(None, captured_ns=1) == 9, "a capture begins a new origin"
    origins.cause = 1, b"", ""
    assert time_of(None) == 9, "of an input without a time, such as a line of a log"


def test_segment_of_something_else_is_not_taken_for_the_clock():
    name = object_names.clock("0123abcd")
    segment = Segment.create(name, 24)
    try:
        with pytest.raises(SharedMemoryError, match="is not the clock of a run"):
            Clock.attach("0123abcd")
    finally:
        segment.close()
        segment.unlink()
