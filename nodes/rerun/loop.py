"""The loop of the rerun node: each input is logged to the viewer."""

from __future__ import annotations

import time

from dora_rt.detections import Detections, NoBoxesError
from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.interface import NodeLike
from dora_rt.picture_matcher import PictureMatcher, View, received_finding, received_picture

from ..odd_samples import OddSamples
from .feed import Feed

IMAGE_INPUT, BOXES_INPUT = "image", "bbox"


def run(node: NodeLike, feed: Feed, *, expects_boxes: bool) -> None:
    """Hand what comes in to the feed until the inputs end; never waits for the viewer."""
    expected = [BOXES_INPUT] if expects_boxes else []
    matcher: PictureMatcher[Event, Detections] = PictureMatcher(expected)
    odd = OddSamples()
    for event in node:
        try:
            view = _match(matcher, event)
        except (NoBoxesError, CorruptSampleError) as error:
            odd.add(BOXES_INPUT, error)
            continue
        if view is not None:
            feed.offer_view(view)
        elif event.id not in (IMAGE_INPUT, BOXES_INPUT):
            feed.offer_value(event)
    # The last picture, if its boxes never came and none was shown.
    last = matcher.take_last()
    if last is not None and not feed.has_pictures:
        feed.offer_view(last)


def _match(
    matcher: PictureMatcher[Event, Detections], event: Event
) -> View[Event, Detections] | None:
    now_ns = time.monotonic_ns()
    match event.id:
        case "image":
            return matcher.add_picture(received_picture(event), now_ns)
        case "bbox":
            return matcher.add_finding(BOXES_INPUT, received_finding(event), now_ns)
        case "sync" if {IMAGE_INPUT, BOXES_INPUT} <= event.value.keys():
            found = received_finding(event[BOXES_INPUT]).content
            return View(received_picture(event[IMAGE_INPUT]), {BOXES_INPUT: found})
    return None
