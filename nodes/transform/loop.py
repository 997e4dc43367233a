"""The loop of the node transform: one picture out for each that comes in."""

from __future__ import annotations

import logging
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import CorruptSampleError, NodeClosedError
from dora_rt.event import TELEMETRY_KEY, Event
from dora_rt.interface import NodeLike
from dora_rt.picture import NoPictureError, picture_of

from ..odd_samples import FewWarnings
from ..used_ports import singles
from .steps import Steps, TransformError

logger = logging.getLogger(__name__)

IMAGE_INPUT = "image"
IMAGE_OUTPUT = "image"
ENCODINGS = ("bgr8", "rgb8", "mono8", "jpeg")
# Places in the picture that came; they are no longer right.
_PLACES = ("truth",)


def run(node: NodeLike, steps: Steps, encoding: str = "bgr8", jpeg_quality: int = 90) -> None:
    """Send each picture changed, with the origin and the metadata of the one that came.

    Raises:
        CalibrationError: the calibration is of pictures with other proportions.
    """
    sent, warnings = 0, FewWarnings()
    try:
        for event in singles(node):
            if event.id != IMAGE_INPUT:
                continue
            try:
                image = steps.apply(picture_of(event.value, event.metadata))
                metadata = _metadata(event, image, encoding, keeps_places=not steps.moves_pixels)
                quality = node.parameter("jpeg_quality", jpeg_quality)
                node.send_output(IMAGE_OUTPUT, _encoded(image, encoding, quality), metadata)
            except (NoPictureError, CorruptSampleError, TransformError) as error:
                warnings.warn(f"input '{event.id}': {error}; left out, and not said again")
                continue
            sent += 1
    except NodeClosedError:
        # The stop may come while a picture is changed; it is no error.
        logger.debug("told to stop while sending")
    logger.info("changed %d pictures", sent)


def _encoded(image: NDArray[np.uint8], encoding: str, jpeg_quality: int) -> Any:
    match encoding:
        case "rgb8":
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        case "mono8":
            return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        case "jpeg":
            quality = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
            return cv2.imencode(".jpg", image, quality)[1].tobytes()
        case _:
            return np.ascontiguousarray(image)


def _metadata(
    event: Event, image: NDArray[np.uint8], encoding: str, *, keeps_places: bool
) -> dict[str, Any]:
    # The context of a trace is this node's own.
    left_out = (TELEMETRY_KEY, *(() if keeps_places else _PLACES))
    kept = {key: value for key, value in event.metadata.items() if key not in left_out}
    height, width = image.shape[:2]
    return {**kept, "encoding": encoding, "width": width, "height": height}
