from __future__ import annotations

import numpy as np
from dora_rt.nodes.plot.matching import Detections, Matcher, Picture

MS = 1_000_000


def picture(origin_ms):
    return Picture(origin_ms * MS, f"pixels of {origin_ms}")


def found(origin_ms):
    return Detections(origin_ms * MS, np.zeros((1, 6), np.float32), ("ball",))


def tell(view):
    """Say which picture is shown with the boxes of which."""
    if view is None:
        return None
    boxes = None if view.detections is None else view.detections.origin_ns // MS
    return view.picture.origin_ns // MS, boxes, view.is_exact


def play(matcher, *script):
    """Give what is shown after each of ("image" | "boxes", origin in ms, now in ms)."""
    shown = []
    for kind, origin_ms, now_ms in script:
        if kind == "image":
            view = matcher.add_picture(picture(origin_ms), now_ms * MS)
        else:
            view = matcher.add_detections(found(origin_ms), now_ms * MS)
        shown.append(tell(view))
    return shown


def test_without_boxes_every_picture_is_shown_at_once_and_none_is_held():
    matcher = Matcher(expects_boxes=False)

    assert play(matcher, ("image", 0, 1), ("image", 33, 34)) == [(0, None, True), (33, None, True)]
    assert matcher.held == 0


def test_picture_is_shown_when_its_boxes_come():
    matcher = Matcher(expects_boxes=True)

    shown = play(matcher, ("image", 0, 1), ("boxes", 0, 20), ("image", 33, 34), ("boxes", 33, 53))

    assert shown == [None, (0, 0, True), None, (33, 33, True)]
    assert matcher.held == 0


def test_boxes_go_on_their_own_picture_although_newer_ones_came():
    matcher = Matcher(expects_boxes=True)

    shown = play(matcher, ("image", 0, 1), ("image", 33, 34), ("boxes", 0, 50), ("boxes", 33, 80))

    assert shown == [None, None, (0, 0, True), (33, 33, True)]


def test_boxes_that_overtake_their_picture_wait_for_it():
    matcher = Matcher(expects_boxes=True)

    assert play(matcher, ("boxes", 33, 34), ("image", 33, 35)) == [None, (33, 33, True)]


def test_never_more_than_three_pictures_are_held():
    matcher = Matcher(expects_boxes=True)

    held = []
    for n in range(30):
        play(matcher, ("image", n * 10, n * 10))
        held.append(matcher.held)

    assert max(held) == 3


def test_boxes_of_a_slow_detector_find_their_picture():
    """It takes the newest picture whenever it is done, here every 200 ms of 30 fps."""
    matcher = Matcher(expects_boxes=True)
    shown = []
    at_work = None
    for n in range(60):
        now_ms = n * 33
        play(matcher, ("image", now_ms, now_ms))
        if n % 6 == 0:
            if at_work is not None:
                shown += play(matcher, ("boxes", at_work, now_ms))
            at_work = now_ms

    assert len(shown) == 9
    assert shown[1:] == [(198 * k, 198 * k, True) for k in range(1, 9)]


def test_boxes_without_their_picture_go_on_the_newest_and_say_so():
    matcher = Matcher(expects_boxes=True)
    play(matcher, *(("image", n, n) for n in (10, 20, 30, 40, 50)))

    assert play(matcher, ("boxes", 30, 55)) == [(50, 30, False)]


def test_boxes_that_match_no_picture_at_all_go_on_the_next_one():
    """A detector that gives no origin stamps its boxes with its own time."""
    matcher = Matcher(expects_boxes=True)

    shown = play(matcher, ("image", 0, 1), ("boxes", 20, 20), ("image", 33, 34))

    assert shown == [None, None, (33, 20, False)]


def test_pictures_are_shown_raw_when_no_boxes_come_for_half_a_second():
    matcher = Matcher(expects_boxes=True)

    shown = play(
        matcher,
        *(("image", 0, 0), ("boxes", 0, 10), ("image", 400, 400), ("image", 520, 520)),
        *(("image", 600, 600), ("boxes", 600, 610), ("image", 640, 640)),
    )

    assert shown == [
        *(None, (0, 0, True), None, (520, None, True)),
        *((600, None, True), (600, 600, True), None),
    ]


def test_pictures_are_shown_raw_when_the_detector_never_says_anything():
    matcher = Matcher(expects_boxes=True)

    shown = play(matcher, *(("image", ms, ms) for ms in (0, 250, 500, 750, 1000)))

    assert shown == [None, None, None, (750, None, True), (1000, None, True)]


def test_detector_of_one_a_second_does_not_make_the_view_flicker():
    matcher = Matcher(expects_boxes=True)
    kinds = []
    for n in range(100):
        now_ms = n * 100
        view = matcher.add_picture(picture(now_ms), now_ms * MS)
        kinds += [] if view is None else ["raw"]
        if n % 10 == 9:
            view = matcher.add_detections(found(now_ms - 900), (now_ms + 1) * MS)
            kinds += [] if view is None else ["boxes"]

    assert kinds[-8:] == ["boxes"] * 8


def test_last_picture_is_left_for_the_end():
    matcher = Matcher(expects_boxes=True)
    play(matcher, ("image", 0, 0), ("image", 33, 33))

    assert tell(matcher.take_last()) == (33, None, True)
