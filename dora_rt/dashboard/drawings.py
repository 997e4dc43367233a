"""What was found on a picture, as the page draws it over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.dashboard.picture_codec import LONGEST_LABEL, Encoded, boxes_on
from dora_rt.detections import (
    LEAST_POINT_CONFIDENCE,
    SKELETONS,
    Detections,
    corners_of,
    label_of,
    outlines_of,
)

# What comes with a picture is a header of its answer: browsers take 256 KiB of these.
_MOST_OBJECTS = 100
_MOST_POINTS = 4000

Drawing = dict[str, Any]


def drawings_on(picture: Encoded, found: Detections) -> Drawing | None:
    """Return what was found as the page draws it; None for that of a picture of another size.

    Returns:
        `boxes`, as `boxes_on` gives them; and of what models find beyond boxes: `outlines` of
        masks, `points` and the lines between them (`bones`), `turned` boxes, and `classes` of the
        whole picture. Places are in pixels of the picture.
    """
    boxes = boxes_on(picture, found)
    if boxes is None:
        return None
    drawing: Drawing = {"boxes": boxes}
    if found.masks is not None:
        drawing["outlines"] = _outlines(found)
    if found.keypoints is not None:
        drawing |= _points(found)
    if found.oriented is not None:
        drawing["turned"] = _turned(found)
        # The upright boxes around them would say less.
        drawing["boxes"] = []
    if found.classes is not None:
        drawing["classes"] = [
            {"class": int(number), "label": _label(found, number), "confidence": _share(sure)}
            for number, sure in found.classes[:_MOST_OBJECTS]
        ]
    return drawing


def _label(found: Detections, number: float) -> str:
    return label_of(int(number), found.labels)[:LONGEST_LABEL]


def _outlines(found: Detections) -> list[Drawing]:
    assert found.masks is not None
    outlines: list[Drawing] = []
    left = _MOST_POINTS
    for number, points in outlines_of(found.masks):
        left -= len(points)
        if left < 0:
            break
        outlines.append(
            {"class": _class_of(found, number, number), "corners": points.reshape(-1).tolist()}
        )
    return outlines


def _points(found: Detections) -> Drawing:
    """Return the points that are seen, and the lines between those that belong together."""
    assert found.keypoints is not None
    lines = SKELETONS.get(found.keypoints.shape[1], ())
    points, bones = [], []
    for number, one in enumerate(found.keypoints[:_MOST_OBJECTS]):
        kind = _class_of(found, number, 0)
        is_seen = one[:, 2] >= LEAST_POINT_CONFIDENCE
        points.append({"class": kind, "corners": _rounded(one[is_seen, :2])})
        for first, second in lines:
            if is_seen[first] and is_seen[second]:
                bones.append({"class": kind, "corners": _rounded(one[[first, second], :2])})
    return {"points": points, "bones": bones}


def _turned(found: Detections) -> list[Drawing]:
    assert found.oriented is not None
    surest = found.oriented[np.argsort(-found.oriented[:, 5], kind="stable")][:_MOST_OBJECTS]
    return [
        {
            "class": int(row[6]),
            "label": _label(found, row[6]),
            "confidence": _share(row[5]),
            "corners": _rounded(corners),
        }
        for row, corners in zip(surest, corners_of(surest), strict=True)
    ]


def _class_of(found: Detections, number: int, otherwise: int) -> int:
    """Return the class of the box of a mask or of key points, by which it is coloured."""
    return int(found.boxes[number, 5]) if number < len(found.boxes) else otherwise


def _rounded(points: NDArray[np.float32]) -> list[float]:
    return [round(float(side), 1) for side in points.reshape(-1)]


def _share(confidence: float) -> float:
    return round(float(confidence), 3)
