"""The loop of the node video_writer: from received pictures to the file."""

from __future__ import annotations

import logging

from dora_rt.errors import CorruptSampleError
from dora_rt.interface import NodeLike
from dora_rt.picture import NoPictureError, picture_of

from ..used_ports import singles
from .parts import Parts

logger = logging.getLogger(__name__)

IMAGE_INPUT = "image"


def run(node: NodeLike, parts: Parts) -> None:
    """Write each picture until the inputs end.

    Raises:
        VideoFileError: the video cannot be written, or the disk is full.
    """
    dropped = unusable = 0
    for event in singles(node):
        if event.id != IMAGE_INPUT:
            continue
        dropped += event.dropped
        try:
            image = picture_of(event.value, event.metadata)
        except (NoPictureError, CorruptSampleError) as error:
            if not unusable:
                logger.warning("input '%s': %s; left out, and not said again", event.id, error)
            unusable += 1
            continue
        parts.add(image, event.origin_ns or event.sent_ns)
    if dropped:
        logger.info("%d pictures were dropped on the way here", dropped)
    if unusable:
        logger.info("%d samples were no pictures", unusable)
