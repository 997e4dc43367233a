"""Turn the raw outputs of a network into candidate boxes, by one reading of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .box_layout import Layout, Reading, Task, make_grid

Array = NDArray[np.float32]
RawOutputs = Sequence[NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Columns:
    """The numbers of all boxes of a picture, sorted by what they mean; N boxes.

    Attributes:
        boxes: N x 4 as the network wrote them: not decoded, in pixels or in fractions.
        objectness: N, or None in layouts without.
        scores: N x C, one for each class; N x 1, that of the best, in end-to-end layouts.
        classes: N, in end-to-end layouts; else None.
        extra: N x E, of masks, key points or angles.
    """

    boxes: Array
    objectness: Array | None
    scores: Array
    classes: Array | None
    extra: Array

    def best(self) -> Array:
        """Return the confidence of each box."""
        best: Array = self.scores.max(axis=1) if len(self.scores) else self.scores[:, 0]
        return best if self.objectness is None else best * self.objectness


class Decoder:
    """Read candidates out of raw outputs by one reading.

    Attributes:
        reading: the one.
    """

    def __init__(
        self, reading: Reading, names: Sequence[str], height: int, width: int, batch: int = 1
    ) -> None:
        """Prepare for a network.

        Args:
            reading: how its outputs are understood.
            names: of its outputs.
            height: of its input, in pixels.
            width: of its input, in pixels.
            batch: of its input; only the first picture is read.
        """
        self.reading = reading
        self._numbers = {name: number for number, name in enumerate(names)}
        self._size = np.array([width, height, width, height], np.float32)
        self._batch = batch
        if reading.layout is Layout.YOLOX:
            self.grid, self._strides = make_grid(height, width)

    def columns(self, raw: RawOutputs) -> Columns:
        """Sort the numbers of raw outputs; each is the first of a batch."""
        reading = self.reading
        if reading.layout in (Layout.DFINE, Layout.RTDETR_LOGITS):
            return self._of_three(raw)
        rows: Array = np.asarray(raw[reading.output]).astype(np.float32, copy=False)
        if reading.layout is Layout.YOLOV7_END_TO_END and rows.ndim == 2:
            rows = rows[rows[:, 0] == 0] if self._batch > 1 else rows
        else:
            rows = rows[0]
        if reading.is_transposed != (reading.layout is Layout.YOLOV8):
            rows = rows.T
        if reading.layout.is_end_to_end:
            box, confidence, number = reading.layout.columns
            first = max(box + 4, confidence + 1, number + 1)
            return Columns(
                rows[:, box : box + 4],
                None,
                rows[:, confidence : confidence + 1],
                rows[:, number],
                rows[:, first : first + reading.extra_count],
            )
        classes = 5 if reading.layout.has_objectness else 4
        assert reading.class_count is not None
        end = classes + reading.class_count
        return Columns(
            rows[:, :4],
            rows[:, 4] if reading.layout.has_objectness else None,
            rows[:, classes:end],
            None,
            rows[:, end : end + reading.extra_count],
        )

    def candidates(self, columns: Columns, confidence: float) -> Array:
        """Return the boxes at or above a confidence.

        Returns:
            N x (6 + E): x1, y1, x2, y2 in pixels of the network's input, confidence, class, and
            the numbers of masks, key points or angle as they are.
        """
        scores, extra = columns.scores, columns.extra
        if columns.objectness is None:
            best = columns.best()
            chosen = np.flatnonzero(best >= confidence)
            best = best[chosen]
        else:
            # The product with a class score only gets smaller: most boxes fall here already.
            chosen = np.flatnonzero(columns.objectness >= confidence)
            best = scores[chosen].max(axis=1) if len(chosen) else scores[:0, 0]
            best = best * columns.objectness[chosen]
            is_sure = best >= confidence
            chosen, best = chosen[is_sure], best[is_sure]
        candidates = np.empty((len(chosen), 6 + extra.shape[1]), np.float32)
        candidates[:, :4] = self.corners(columns.boxes[chosen], chosen)
        candidates[:, 4] = best
        if columns.classes is not None:
            candidates[:, 5] = columns.classes[chosen]
        elif len(chosen):
            candidates[:, 5] = scores[chosen].argmax(axis=1)
        candidates[:, 6:] = extra[chosen]
        if self.reading.task is Task.POSE and self.reading.are_fractions:
            points = candidates[:, 6:].reshape(len(chosen), *self.reading.keypoint_shape)
            points[:, :, :2] *= self._size[:2]
        return candidates

    def corners(self, boxes: Array, cells: NDArray[np.intp]) -> Array:
        """Return boxes as corners in pixels of the input; `cells` are their numbers of rows."""
        if self.reading.layout is Layout.YOLOX:
            strides = self._strides[cells]
            centres = (boxes[:, :2] + self.grid[cells]) * strides
            with np.errstate(over="ignore"):
                sizes = np.exp(boxes[:, 2:]) * strides
        else:
            if self.reading.are_fractions:
                boxes = boxes * self._size
            if has_corners(self.reading):
                return boxes
            centres, sizes = boxes[:, :2], boxes[:, 2:]
        return np.hstack((centres - sizes / 2, centres + sizes / 2))

    def _of_three(self, raw: RawOutputs) -> Columns:
        def output(name: str) -> Array:
            first: Array = np.asarray(raw[self._numbers[name]])[0].astype(np.float32)
            return first

        if self.reading.layout is Layout.RTDETR_LOGITS:
            boxes, logits = output("pred_boxes"), output("logits")
            scores = (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)
            return Columns(boxes, None, scores, None, boxes[:, :0])
        boxes = output("boxes")
        labels, scores = output("labels").reshape(-1), output("scores").reshape(-1, 1)
        return Columns(boxes, None, scores, labels, boxes[:, :0])


def has_corners(reading: Reading) -> bool:
    """Whether boxes are two corners; oriented ones have a centre, whatever the layout."""
    return reading.layout.has_corners and reading.task is not Task.ORIENTED
