"""Samples of several inputs that belong to the same moment."""

from __future__ import annotations

import random

import pytest

from dora_rt.event import Event, MatchedEvents, encode_clock
from dora_rt.transport.input.sync import Matcher, clock_moment

MS = 1_000_000


def event(name: str, origin_ms: float, *, dropped: int = 0) -> Event:
    return Event(name, b"", origin_ns=int(origin_ms * MS), dropped=dropped)


def feed(matcher: Matcher, *events: Event) -> list[MatchedEvents]:
    found = []
    for one in events:
        match = matcher.add(one)
        while match is not None:
            found.append(match)
            match = matcher.take()
    return found


def origins(sets: list[MatchedEvents]) -> list[tuple[float, ...]]:
    return [tuple(one.origin_ns / MS for one in found.value.values()) for found in sets]


@pytest.fixture
def exact() -> Matcher:
    return Matcher(["image", "boxes"], slop_ns=0, depth=10)


def test_boxes_find_their_own_picture_however_late_they_are(exact: Matcher):
    pictures = [event("image", number) for number in range(1, 6)]

    assert feed(exact, *pictures) == []
    (found,) = feed(exact, event("boxes", 3))

    assert found["image"] is pictures[2]
    assert (found.id, found.origin_ns, found.seq) == ("sync", 3 * MS, 0)
    assert found.dropped == 2, "pictures 1 and 2"
    assert exact.unmatched == {"image": 2, "boxes": 0}


def test_boxes_whose_picture_was_dropped_are_counted_as_unmatched(exact: Matcher):
    found = feed(exact, event("boxes", 1), event("image", 2, dropped=1), event("boxes", 2))

    assert origins(found) == [(2, 2)]
    assert exact.unmatched == {"image": 1, "boxes": 1}


def test_what_waits_too_long_makes_room_for_what_is_newer():
    matcher = Matcher(["image", "boxes"], slop_ns=0, depth=3)

    feed(matcher, *[event("image", number) for number in range(10)])

    assert matcher.unmatched["image"] == 7
    assert origins(feed(matcher, event("boxes", 8))) == [(8, 8)]


def test_two_cameras_are_matched_within_the_tolerance_and_the_nearest_is_taken():
    matcher = Matcher(["left", "right"], slop_ns=10 * MS, depth=10)

    found = feed(
        matcher,
        event("left", 100),
        event("right", 91),
        event("left", 133),
        event("right", 120),
        event("right", 131),
        event("left", 200),
        event("right", 250),
    )

    assert origins(found) == [(100, 91), (133, 131)]
    assert matcher.unmatched == {"left": 1, "right": 1}


def test_three_inputs_need_all_three():
    matcher = Matcher(["a", "b", "c"], slop_ns=0, depth=10)

    assert feed(matcher, event("a", 1), event("b", 1), event("a", 2), event("b", 2)) == []
    assert origins(feed(matcher, event("c", 2))) == [(2, 2, 2)]


def test_nothing_is_held_for_partners_that_cannot_come_any_more(exact: Matcher):
    feed(exact, event("image", 1), event("image", 2))

    exact.close("boxes")
    feed(exact, event("image", 3))

    assert exact.is_over
    assert exact.unmatched == {"image": 3, "boxes": 0}


def test_what_waits_when_its_partner_closes_is_still_matched(exact: Matcher):
    feed(exact, event("image", 1), event("image", 2))
    exact.close("image")

    assert origins(feed(exact, event("boxes", 1), event("boxes", 2))) == [(1, 1), (2, 2)]


def test_every_sample_is_either_in_one_set_or_unmatched():
    rng = random.Random(1)
    matcher = Matcher(["a", "b"], slop_ns=3 * MS, depth=5)
    sent = {"a": 0, "b": 0}
    found = []
    clock = {"a": 0.0, "b": 0.0}
    for _ in range(2000):
        name = rng.choice("ab")
        clock[name] += rng.uniform(1, 12)
        sent[name] += 1
        found += feed(matcher, event(name, clock[name]))
    for name in "ab":
        matcher.close(name)
    feed(matcher, event("a", 1e6), event("b", 2e6))

    assert all(abs(a - b) <= 3 for a, b in origins(found))
    assert len({a for a, _ in origins(found)}) == len(found) > 100
    for name in "ab":
        assert len(found) + matcher.unmatched[name] == sent[name] + 1


def test_set_is_read_by_the_names_of_its_inputs(exact: Matcher):
    (found,) = feed(exact, event("image", 1), event("boxes", 1))

    input_id, value, metadata = found
    assert input_id == "sync"
    assert value["boxes"] is found["boxes"]
    assert metadata == {"open_telemetry_context": ""}
    assert repr(found) == "MatchedEvents(image, boxes, seq=0, unmatched=0)"


def test_input_that_comes_back_is_matched_again_and_what_came_meanwhile_is_counted(exact: Matcher):
    assert origins(feed(exact, event("image", 1), event("boxes", 1))) == [(1, 1)]
    exact.close("boxes")
    assert feed(exact, event("image", 2), event("image", 3)) == []
    assert exact.unmatched == {"image": 2, "boxes": 0}

    exact.reopen("boxes")
    found = feed(exact, event("image", 4), event("boxes", 4), event("boxes", 5), event("image", 5))

    assert origins(found) == [(4, 4), (5, 5)]
    assert [one.dropped for one in found] == [2, 0], "pictures 2 and 3"
    assert not exact.is_over


def test_what_still_waits_is_in_the_totals(exact: Matcher):
    feed(exact, event("boxes", 1), event("image", 2), event("image", 3))

    assert exact.totals() == {"image": 2, "boxes": 1}
    assert exact.unmatched == {"image": 0, "boxes": 1}


def test_by_a_clock_samples_match_by_its_time_and_not_by_real_time():
    matcher = Matcher(["left", "right"], slop_ns=MS, depth=5, moment_of=clock_moment)
    left, late, right = (
        Event(name, b"", encode_clock(clock_ms * MS), origin_ns=origin_ms * MS)
        for name, clock_ms, origin_ms in (("left", 10, 0), ("right", 20, 1), ("right", 10, 900))
    )

    assert feed(matcher, left, late) == []
    assert matcher.unmatched == {"left": 1, "right": 0}
    # The clock has jumped back: what waits from after that would never find a partner.
    assert feed(matcher, right) == []
    assert matcher.unmatched == {"left": 1, "right": 1}
    (found,) = feed(matcher, left)
    assert (found["left"], found["right"]) == (left, right)


def test_a_sample_without_a_time_is_of_the_beginning_of_the_clock():
    matcher = Matcher(["left", "right"], slop_ns=0, depth=5, moment_of=clock_moment)

    (found,) = feed(matcher, event("left", 700), Event("right", b"", encode_clock(0)))

    assert found["left"].origin_ns == 700 * MS
