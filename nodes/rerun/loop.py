"""The loop of the rerun node: each input is logged to the viewer."""

from __future__ import annotations

import logging
import time

from dora_rt.event import Event
from dora_rt.interface import NodeLike

from ..plot.matching import Matcher, Picture, View
from ..plot.received import InputError, read_detections
from .feed import Feed

logger = logging.getLogger(__name__)

IMAGE_INPUT, BOXES_INPUT = "image", "bbox"


def run(node: NodeLike, feed: Feed, *, expects_boxes: bool) -> None:
    """Hand what comes in to the feed until the inputs end; never waits for the viewer."""
    matcher: Matcher[Event] = Matcher(expects_boxes=expects_boxes)
    told: set[str] = set()
    for event in node:
        try:
            view = _match(matcher, event)
        except InputError as error:
            if str(error) not in told and len(told) < 20:
                told.add(str(error))
                logger.warning("%s", error)
            continue
        if view is not None:
            feed.offer_view(view)
        elif event.id not in (IMAGE_INPUT, BOXES_INPUT):
            feed.offer_value(event)
    # The last picture, if its boxes never came and none was shown.
    last = matcher.take_last()
    if last is not None and not feed.has_pictures:
        feed.offer_view(last)


def _match(matcher: Matcher[Event], event: Event) -> View[Event] | None:
    match event.id:
        case "image":
            picture = Picture(event.origin_ns, event)
            return matcher.add_picture(picture, time.monotonic_ns())
        case "bbox":
            return matcher.add_detections(read_detections(event), time.monotonic_ns())
        case "sync" if {IMAGE_INPUT, BOXES_INPUT} <= event.value.keys():
            picture = Picture(event.origin_ns, event[IMAGE_INPUT])
            return View(picture, read_detections(event[BOXES_INPUT]))
    return None
