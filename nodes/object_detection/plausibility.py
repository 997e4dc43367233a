"""Find out from the values of an output that a reading of it cannot be right."""

from __future__ import annotations

import numpy as np

from .box_layout import Layout, Task
from .decoder import Array, Columns, Decoder, has_corners

_SLACK = 0.01
"""Of confidences: half precision and quantised models are a little above 1."""

_SURE = 0.25
"""Boxes of less confidence may have any corners: no network was trained on them."""

_LARGEST_EXPONENT = 12.0
"""A box of e to the 12 cells is a thousand times wider than any picture that fits an input."""

_LARGEST_ANGLE = 3.2  # radians: a little more than half a turn
_FEW_PIXELS = 4.0
"""Boxes in pixels reach further than that somewhere, and those in fractions never do."""

_GRID_LIKENESS = 0.9
_LEAST_CELLS = 16


def contradiction(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    """Return why values of a picture cannot be what a reading takes them for; None if they can.

    Args:
        decoder: with the reading.
        columns: all boxes of a picture.
        size: height and width of the input, in pixels.
    """
    if columns.scores.size and not np.isfinite(columns.scores).any():
        return "none of its confidences is a number"
    for check in (_scores, _classes, _objectness, _boxes, _extra):
        if (reason := check(decoder, columns, size)) is not None:
            return reason
    return None


def _scores(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    del decoder, size
    for what, values in (("confidences", columns.scores), ("objectness", columns.objectness)):
        if values is None or not values.size:
            continue
        low, high = _lowest(values), _highest(values)
        if low < -_SLACK or high > 1 + _SLACK:
            return f"its {what} would go from {low:.3g} to {high:.3g}, which is not 0 to 1"
    return None


def _classes(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    del size
    classes = columns.classes
    if classes is None or not classes.size:
        return None
    # Rows that are not used are zeros, or minus one.
    used = classes[columns.scores[:, 0] > 0]
    odd = used[(used != np.round(used)) | (used < 0)]
    if odd.size:
        return f"the numbers of its classes would be such as {float(odd[0]):.3g}"
    count = decoder.reading.class_count
    if count and used.size and used.max() >= count:
        return f"it would have the class {int(used.max())}, but there are {count}"
    if not used.size and (classes != np.round(classes)).any():
        return "nothing has any confidence, but its classes would be broken numbers"
    return None


def _objectness(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    del size
    if columns.objectness is None or not columns.objectness.size:
        return None
    is_one = bool((columns.objectness == 1).all())
    if decoder.reading.layout is Layout.YOLOV6 and not is_one:
        return "its objectness is not 1 everywhere, as that of YOLOv6 is"
    if decoder.reading.layout is not Layout.YOLOV6 and is_one and len(columns.objectness) > 1:
        return "its objectness is 1 everywhere, as that of YOLOv6 is"
    return None


def _boxes(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    boxes = columns.boxes
    if not boxes.size:
        return None
    if decoder.reading.layout is Layout.YOLOX:
        return _offsets(decoder, boxes, size)
    largest = _highest(np.abs(boxes))
    if decoder.reading.are_fractions:
        if largest > _FEW_PIXELS:
            return f"its boxes would lie up to {largest:.3g} pictures away"
    elif 0 < largest <= _FEW_PIXELS:
        return f"all its boxes would lie within {largest:.2g} pixels"
    sure = boxes[columns.best() >= _SURE]
    if not len(sure):
        return None
    sides = sure[:, 2:] - sure[:, :2] if has_corners(decoder.reading) else sure[:, 2:]
    if 2 * np.count_nonzero((sides <= 0).any(axis=1)) > len(sure):
        worst = sure[(sides <= 0).any(axis=1)][0]
        what = "corners the wrong way round" if has_corners(decoder.reading) else "no size"
        return f"its boxes would have {what}, such as {[round(float(x), 3) for x in worst]}"
    return None


def _offsets(decoder: Decoder, boxes: Array, size: tuple[int, int]) -> str | None:
    """Check the boxes of a YOLOX that is not decoded: offsets in cells, logarithms of sizes."""
    exponent = _highest(boxes[:, 2:])
    if exponent > _LARGEST_EXPONENT:
        return f"its boxes would be exp({exponent:.0f}) cells wide"
    offset = _highest(np.abs(boxes[:, :2]))
    if offset > max(size) / 8:
        return f"its boxes would lie {offset:.0f} cells beside their own"
    for side in (0, 1):
        given, own = boxes[:, side], decoder.grid[:, side]
        if len(own) < _LEAST_CELLS or given.std() == 0:
            continue
        # Offsets know nothing of where their cell is; decoded centres know only that.
        with np.errstate(invalid="ignore", divide="ignore"):
            likeness = float(np.corrcoef(given, own)[0, 1])
        if likeness > _GRID_LIKENESS:
            return "its centres follow the grid, so that they are decoded already"
    return None


def _extra(decoder: Decoder, columns: Columns, size: tuple[int, int]) -> str | None:
    extra = columns.extra
    if not extra.size:
        return None
    if decoder.reading.task is Task.ORIENTED:
        largest = _highest(np.abs(extra[:, 0]))
        if largest > _LARGEST_ANGLE:
            return f"its angles would go to {largest:.3g}, which are no radians"
        if decoder.reading.is_guess and _are_scores(extra):
            return "its angles would all lie within 0 and 1, as scores of a class do"
    if decoder.reading.task is Task.POSE:
        points = extra.reshape(len(extra), *decoder.reading.keypoint_shape)
        sure = points[columns.best() >= _SURE]
        if points.shape[2] == 3 and len(sure):
            low, high = _lowest(sure[:, :, 2]), _highest(sure[:, :, 2])
            if low < -_SLACK or high > 1 + _SLACK:
                return f"its key points would have confidences from {low:.3g} to {high:.3g}"
        if decoder.reading.is_guess and _highest(np.abs(points[:, :, :2])) <= _FEW_PIXELS:
            return "all its key points would lie within a few pixels"
        unit = 1 if decoder.reading.are_fractions else max(size)
        if len(sure) and _highest(np.abs(sure[:, :, :2])) > 10 * unit:
            return "its key points would lie far outside of the picture"
    return None


def _are_scores(values: Array) -> bool:
    return _lowest(values) >= -_SLACK and _highest(values) <= 1 + _SLACK


def _lowest(values: Array) -> float:
    """Return the least value that is a number; 0 if none is, as after an overflow in float16."""
    return float(np.min(values, initial=np.inf, where=~np.isnan(values))) if _any(values) else 0.0


def _highest(values: Array) -> float:
    return float(np.max(values, initial=-np.inf, where=~np.isnan(values))) if _any(values) else 0.0


def _any(values: Array) -> bool:
    return not bool(np.isnan(values).all())
