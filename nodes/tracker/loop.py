"""The loop of the tracker node: boxes in, the same boxes with ids out."""

from __future__ import annotations

import logging

from dora_rt.detections import NoBoxesError, boxes_of
from dora_rt.event import TELEMETRY_KEY, Event
from dora_rt.interface import NodeLike

from ..odd_samples import FewWarnings
from ..used_ports import singles
from .tracks import Tracker

logger = logging.getLogger(__name__)

BOXES_INPUT, TRACKS_OUTPUT = "bbox", "tracks"
IDS_KEY = "ids"
"""Metadata key of the tracks: the id of each box, in their order."""


def run(node: NodeLike, tracker: Tracker) -> None:
    """Answer all boxes with tracks until the inputs end.

    An answer has the metadata of its boxes, such as `labels`, and their origin, so it belongs to
    the same picture.
    """
    warnings = FewWarnings()
    pictures = 0
    for event in singles(node):
        if event.id != BOXES_INPUT:
            continue
        try:
            _answer(node, tracker, event)
            pictures += 1
        except NoBoxesError as error:
            warnings.warn(f"input '{event.id}': {error}")
    logger.info("%d objects in the boxes of %d pictures", tracker.begun, pictures)


def _answer(node: NodeLike, tracker: Tracker, event: Event) -> None:
    tracks, ids = tracker.update(boxes_of(event.value), event.origin_ns)
    metadata = {key: value for key, value in event.metadata.items() if key != TELEMETRY_KEY}
    node.send_output(TRACKS_OUTPUT, tracks, {**metadata, IDS_KEY: ids})
