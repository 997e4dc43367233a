"""The loop of the detection node: one answer with all that was found for each picture."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import CorruptSampleError, NodeClosedError
from dora_rt.interface import NodeLike
from dora_rt.latency import BUCKETS, bucket, percentile_ns
from dora_rt.picture import NoPictureError, picture_of

from ..used_ports import singles
from .box_layout import Task
from .detector import Detector
from .found_objects import NOTHING, Found

IMAGE_INPUT = "image"
BBOX_OUTPUT = "bbox"
OTHER_OUTPUTS = {
    "masks": Task.SEGMENT,
    "keypoints": Task.POSE,
    "oriented": Task.ORIENTED,
    "classes": Task.CLASSIFY,
}
"""Outputs for what models find beyond boxes, each of one task."""

SCENE_KEY = "scene"
"""Metadata key of the frames of the webcam node's synthetic scene."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """Counters of a run of the node.

    Attributes:
        frames: pictures that were looked at.
        unusable: samples that were no picture.
        detect_ns: sum of the times of all detect calls.
        seen: boxes of each label.
    """

    frames: int = 0
    unusable: int = 0
    detect_ns: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    _histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, detect_ns: int, labels: list[str]) -> None:
        """Count one frame."""
        self.frames += 1
        self.detect_ns += detect_ns
        self._histogram[bucket(detect_ns)] += 1
        self.seen.update(labels)

    def __str__(self) -> str:
        parts = [f"{self.frames} frames"]
        p50_ns = percentile_ns(self._histogram, 0.5)
        p99_ns = percentile_ns(self._histogram, 0.99)
        if p50_ns is not None and p99_ns is not None:
            mean_ms, p50_ms, p99_ms = (
                ns / 1e6 for ns in (self.detect_ns / self.frames, p50_ns, p99_ns)
            )
            parts.append(f"detect mean {mean_ms:.1f} ms, p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
            seen = ", ".join(f"{count} {label}" for label, count in self.seen.most_common())
            parts.append(f"seen: {seen or 'nothing'}")
        if self.unusable:
            parts.append(f"{self.unusable} inputs were no picture")
        return "; ".join(parts)


def run(
    node: NodeLike,
    open_detector: Callable[[bool], Detector],
    clock: Callable[[], int] = time.monotonic_ns,
) -> Tally:
    """Answer each `image` with a `bbox` until the inputs end, and log the counters.

    Every image gets exactly one answer, also one that is no picture, so that no reader waits:
    N x 6 float32 (x1, y1, x2, y2 in pixels of the picture, confidence, class) with the metadata
    `labels` (all class names), `width` and `height` (of the picture, in pixels), `model` (file
    name), `detect_ms` and `seq` (of the picture at its sender). Models that find more (masks, key
    points, oriented boxes, classes) are answered at the outputs of these names as well, where the
    dataflow file has them.

    Args:
        node: the node.
        open_detector: called at the first picture, with whether it is of the synthetic scene.
        clock: returns nanoseconds.

    Raises:
        ModelError: from `open_detector`.
    """
    tally = Tally()
    try:
        _answer_all(node, open_detector, tally, clock)
    except NodeClosedError:
        # The stop may come while an answer is made; it is no error.
        _logger.debug("told to stop while sending")
    _logger.info("%s", tally)
    return tally


def _answer_all(
    node: NodeLike,
    open_detector: Callable[[bool], Detector],
    tally: Tally,
    clock: Callable[[], int],
) -> None:
    detector: Detector | None = None
    known = (BBOX_OUTPUT, *OTHER_OUTPUTS)
    asked = [name for name in node.output_ids() if name in known] or [BBOX_OUTPUT]
    for event in singles(node):
        if event.id != IMAGE_INPUT:
            continue
        try:
            picture = picture_of(event.value, event.metadata)
        except (NoPictureError, CorruptSampleError) as error:
            if not tally.unusable:
                text = "input '%s': %s; answered with no boxes, and not said again"
                _logger.warning(text, IMAGE_INPUT, error)
            tally.unusable += 1
            _send(node, NOTHING, asked, _describe(detector, None, 0, event.seq))
            continue
        if detector is None:
            detector = open_detector(SCENE_KEY in event.metadata)
            _tell_outputs(detector, asked)
        detector.confidence = node.parameter("confidence", detector.confidence)
        detector.iou = node.parameter("iou", detector.iou)
        started_ns = clock()
        found = detector.look(picture, with_masks="masks" in asked)
        detect_ns = clock() - started_ns
        tally.add(detect_ns, [detector.label(number) for number in _numbers_of(found)])
        _send(node, found, asked, _describe(detector, picture, detect_ns, event.seq))


def _numbers_of(found: Found) -> list[int]:
    """Return the classes of what was found: of the boxes, or the best one of the picture."""
    if found.classes is not None:
        return [int(number) for number in found.classes[:1, 0]]
    return [int(number) for number in found.boxes[:, 5]]


def _send(node: NodeLike, found: Found, asked: list[str], about: dict[str, Any]) -> None:
    """Send what the dataflow file has an output for."""
    for name, array in found.outputs().items():
        if name in asked:
            node.send_output(name, array, about)


def _tell_outputs(detector: Detector, asked: list[str]) -> None:
    """Say what the model finds that nobody gets, and what is awaited that it does not find."""
    for name, task in OTHER_OUTPUTS.items():
        if task is detector.task and name not in asked:
            _logger.warning(
                "%s finds more than boxes: add '%s' to the outputs of this node to get it",
                detector.model_path.name,
                name,
            )
        elif name in asked and task is not detector.task:
            _logger.warning(
                "nothing comes at the output '%s': %s is no model for it (its task: %s)",
                name,
                detector.model_path.name,
                detector.task.value,
            )


def _describe(
    detector: Detector | None, picture: NDArray[np.uint8] | None, detect_ns: int, seq: int
) -> dict[str, Any]:
    """Make the metadata of an answer; empty or 0 where there is no picture or no model yet."""
    return {
        "labels": list(detector.labels) if detector is not None else [],
        "width": picture.shape[1] if picture is not None else 0,
        "height": picture.shape[0] if picture is not None else 0,
        "model": detector.model_path.name if detector is not None else "",
        "detect_ms": round(detect_ns / 1e6, 3),
        "seq": seq,
    }
