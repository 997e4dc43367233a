"""Findings go on their own picture or on none, whatever the detector's pace, in bounded memory."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from dora_rt.picture_matcher import (
    HELD_NBYTES,
    LEAST_HELD,
    MOST_HELD,
    Finding,
    Picture,
    PictureMatcher,
    View,
)

MS = 1_000_000
FRAME = 33 * MS
VGA = 640 * 480 * 3


def picture(origin_ms: int, **options: int) -> Picture[str]:
    return Picture(origin_ms * MS, f"pixels of {origin_ms}", **options)


def found(origin_ms: int, **options: int) -> Finding[str]:
    return Finding(origin_ms * MS, f"boxes of {origin_ms}", **options)


def tell(view: View[Any, Any] | None) -> Any:
    """Say which picture is shown, and with what."""
    if view is None:
        return None
    boxes = view.findings.get("bbox", "no boxes" if view.lacks_findings else "-")
    return view.picture.origin_ns // MS, boxes.replace("boxes of ", "")


def play(matcher: PictureMatcher[str, str], *script: tuple[str, int, int]) -> list[Any]:
    """Give what is shown after each of ("image" | "boxes", origin in ms, now in ms)."""
    shown = []
    for kind, origin_ms, now_ms in script:
        if kind == "image":
            view = matcher.add_picture(picture(origin_ms), now_ms * MS)
        else:
            view = matcher.add_finding("bbox", found(origin_ms), now_ms * MS)
        shown.append(tell(view))
    return shown


def new() -> PictureMatcher[str, str]:
    return PictureMatcher(["bbox"])


def test_without_a_detector_every_picture_is_shown_at_once_and_none_is_held():
    matcher: PictureMatcher[str, str] = PictureMatcher([])

    assert play(matcher, ("image", 0, 1), ("image", 33, 34)) == [(0, "-"), (33, "-")]
    assert matcher.held == 0


def test_picture_is_shown_when_its_boxes_come():
    matcher = new()

    shown = play(matcher, ("image", 0, 1), ("boxes", 0, 20), ("image", 33, 34), ("boxes", 33, 53))

    assert shown == [None, (0, "0"), None, (33, "33")]
    assert matcher.held == 0


def test_boxes_go_on_their_own_picture_although_newer_ones_came():
    shown = play(new(), ("image", 0, 1), ("image", 33, 34), ("boxes", 0, 50), ("boxes", 33, 80))

    assert shown == [None, None, (0, "0"), (33, "33")]


def test_boxes_that_overtake_their_picture_wait_for_it():
    assert play(new(), ("boxes", 33, 34), ("image", 33, 35)) == [None, (33, "33")]


def test_boxes_whose_picture_was_dropped_are_shown_on_no_other():
    matcher = new()

    shown = play(matcher, ("image", 0, 1), ("boxes", 20, 20), ("image", 33, 34), ("boxes", 10, 40))

    assert shown == [None, None, None, None]
    assert matcher.unmatched == 2


def test_pictures_are_shown_and_say_so_when_no_boxes_come_for_half_a_second():
    shown = play(
        new(),
        *(("image", 0, 0), ("boxes", 0, 10), ("image", 400, 400), ("image", 520, 520)),
        *(("image", 600, 600), ("boxes", 600, 610), ("image", 640, 640)),
    )

    assert shown == [
        *(None, (0, "0"), None, (520, "no boxes")),
        *((600, "no boxes"), (600, "600"), None),
    ]


def test_pictures_are_shown_and_say_so_when_the_detector_never_says_anything():
    shown = play(new(), *(("image", ms, ms) for ms in (0, 250, 500, 750, 1000)))

    assert shown == [None, None, None, (750, "no boxes"), (1000, "no boxes")]


def test_boxes_that_come_now_and_then_are_shown_though_newer_pictures_were():
    """A detector that sends only what it has found."""
    script = [("image", ms, ms) for ms in range(0, 5000, 40)]

    *_, last = play(new(), *script, ("boxes", 4880, 4965))

    assert last == (4880, "4880")


def test_first_boxes_of_a_detector_that_was_slow_to_start_do_not_turn_the_time_back():
    matcher = new()
    play(matcher, *(("image", ms, ms) for ms in range(0, 8000, 40)))

    shown = play(
        matcher,
        *(("boxes", 0, 8000), ("image", 8000, 8000), ("boxes", 8000, 8060), ("image", 8060, 8061)),
    )

    assert shown == [None, None, (8000, "8000"), None]


def test_detector_that_died_is_waited_for_no_longer_than_it_took():
    matcher = new()
    play(matcher, ("image", 0, 0), ("boxes", 0, 2000))

    shown = play(matcher, ("image", 5900, 5900), ("image", 6100, 6100))

    assert shown == [None, (6100, "no boxes")]


def test_pictures_of_one_origin_are_told_apart_by_their_number():
    """A node sends two pictures in answer to one tick."""
    matcher = new()
    for seq in (4, 5):
        matcher.add_picture(picture(10, seq=seq), 0)

    view = matcher.add_finding("bbox", found(10, seq=5), MS)

    assert view is not None
    assert (view.picture.seq, view.findings) == (5, {"bbox": "boxes of 10"})


def test_pictures_that_cannot_be_told_apart_get_no_boxes():
    matcher = new()
    for seq in (4, 5):
        matcher.add_picture(picture(10, seq=seq), 0)

    assert matcher.add_finding("bbox", found(10), MS) is None
    assert matcher.unmatched == 1


def test_picture_waits_for_the_findings_of_all_inputs_that_send():
    matcher: PictureMatcher[str, str] = PictureMatcher(["bbox", "masks", "keypoints"])
    shown = []
    for ms in (0, 33, 66):
        matcher.add_picture(picture(ms), ms * MS)
        for name in ("bbox", "masks"):
            view = matcher.add_finding(name, Finding(ms * MS, f"{name} of {ms}"), (ms + 5) * MS)
            shown += [] if view is None else [dict(view.findings)]

    # Of the first picture nobody knew yet that masks would come.
    assert shown[1:] == [{"bbox": f"bbox of {ms}", "masks": f"masks of {ms}"} for ms in (33, 66)]


def test_input_that_falls_silent_holds_up_one_picture_only():
    matcher: PictureMatcher[str, str] = PictureMatcher(["bbox", "masks"])
    for name in ("masks", "bbox"):
        matcher.add_finding(name, found(0), 0)
    matcher.add_picture(picture(0), 0)
    shown = []
    for ms in (33, 66, 99):
        matcher.add_picture(picture(ms), ms * MS)
        shown.append(tell(matcher.add_finding("bbox", found(ms), (ms + 5) * MS)))

    assert shown == [None, (66, "66"), (99, "99")]


def test_last_picture_is_left_for_the_end():
    matcher = new()
    play(matcher, ("image", 0, 0), ("image", 33, 33))

    assert tell(matcher.take_last()) == (33, "no boxes")
    assert matcher.held == 0


@dataclass
class World:
    """A camera, a detector that takes a picture when it is done, and the matcher, in steps of 1 ms.

    Attributes:
        work_ms: how long the detector takes.
        queue: pictures that wait at the detector: 1 is the policy `latest`.
        late_ms: how long boxes are on their way; the pictures go on coming meanwhile.
    """

    work_ms: int
    frame_ms: int = 33
    queue: int = 1
    late_ms: int = 0
    nbytes: int = VGA
    jitter_ms: int = 0
    matcher: PictureMatcher[str, str] = field(default_factory=new)
    exact: int = 0
    lacking: int = 0
    most_held_nbytes: int = 0
    most_held: int = 0

    def run(self, boxes: int, rng: random.Random) -> None:
        waiting: list[Picture[str]] = []
        at_work: Picture[str] | None = None
        done_ms = now_ms = sent = 0
        on_the_way: list[tuple[int, Finding[str]]] = []
        next_ms = 0
        while sent < boxes:
            if now_ms >= next_ms:
                next_ms += self.frame_ms
                captured = picture(now_ms, sent_ns=now_ms * MS, nbytes=self.nbytes)
                waiting = [*waiting, captured][-self.queue :]
                self.look(self.matcher.add_picture(captured, now_ms * MS))
            if at_work is not None and now_ms >= done_ms:
                boxes_of = found(at_work.origin_ns // MS, sent_ns=now_ms * MS)
                on_the_way.append((now_ms + self.late_ms, boxes_of))
                sent += 1
                at_work = None
            if at_work is None and waiting:
                at_work = waiting.pop(0)
                done_ms = now_ms + self.work_ms + rng.randint(0, self.jitter_ms)
            while on_the_way and on_the_way[0][0] <= now_ms:
                finding = on_the_way.pop(0)[1]
                self.look(self.matcher.add_finding("bbox", finding, now_ms * MS))
            self.most_held = max(self.most_held, self.matcher.held)
            self.most_held_nbytes = max(self.most_held_nbytes, self.matcher.held_nbytes)
            now_ms += 1

    def look(self, view: View[str, str] | None) -> None:
        if view is None:
            return
        if view.lacks_findings:
            self.lacking += 1
            return
        self.exact += 1
        assert view.findings["bbox"] == f"boxes of {view.picture.origin_ns // MS}"


@pytest.mark.parametrize("work_ms", [5, 20, 40, 60, 80, 100, 120, 150, 200, 300, 400, 1000, 2000])
@pytest.mark.parametrize(("queue", "late_ms"), [(1, 0), (1, 50), (4, 3), (10, 0)])
def test_every_answer_of_a_detector_is_shown_on_its_own_picture(
    work_ms: int, queue: int, late_ms: int
):
    world = World(work_ms, queue=queue, late_ms=late_ms, jitter_ms=work_ms // 4)

    world.run(60, random.Random(work_ms + queue))

    # Of a detector that is slower than half a second, raw pictures are shown before its first
    # boxes, which then would turn the time back.
    assert world.exact >= 60 - 3 - world.late_ms // work_ms
    assert world.lacking <= 75


@pytest.mark.parametrize("work_ms", [60, 150, 400, 2000])
@pytest.mark.parametrize("queue", [1, 4])
@pytest.mark.parametrize("nbytes", [1920 * 1080 * 3, 3840 * 2160 * 3])
def test_answers_find_their_large_pictures_among_the_few_that_are_held(
    work_ms: int, queue: int, nbytes: int
):
    world = World(work_ms, queue=queue, nbytes=nbytes, late_ms=4, jitter_ms=work_ms // 4)

    world.run(60, random.Random(work_ms))

    assert world.most_held_nbytes <= max(HELD_NBYTES, LEAST_HELD * nbytes) + nbytes
    assert world.exact >= 54


def test_silent_detector_costs_bounded_memory():
    for nbytes, most in ((VGA, HELD_NBYTES // VGA), (1, MOST_HELD), (HELD_NBYTES, LEAST_HELD)):
        matcher = new()
        for number in range(3000):
            matcher.add_picture(picture(number, sent_ns=number, nbytes=nbytes), number * MS)
            assert matcher.held <= most
        assert matcher.held_nbytes == matcher.held * nbytes


def test_boxes_without_pictures_cost_bounded_memory():
    matcher = new()

    for number in range(1000):
        matcher.add_finding("bbox", found(number), number)

    assert matcher.unmatched >= 900
