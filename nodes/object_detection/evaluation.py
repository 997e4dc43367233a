"""Measure how well predicted boxes meet the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mean_average_precision(
    predictions: Sequence[NDArray[np.float32]],
    truths: Sequence[NDArray[np.float32]],
    iou_threshold: float = 0.5,
) -> float:
    """Return the mean of the average precisions of all classes that occur in the truth.

    Args:
        predictions: for each picture N x 6: x1, y1, x2, y2, score, class.
        truths: for each picture the boxes that are there, same columns; the score is not read.
        iou_threshold: least overlap of a prediction and a true box of its class, 0 to 1.

    Raises:
        ValueError: there are not as many pictures with predictions as with truths, or no truth.
    """
    if len(predictions) != len(truths):
        raise ValueError(
            f"{len(predictions)} pictures with predictions, {len(truths)} with truths; "
            "expected one of each for every picture"
        )
    classes = sorted({int(kind) for truth in truths for kind in truth[:, 5]})
    if not classes:
        raise ValueError("no true box in any picture; a precision needs at least one")
    return float(
        np.mean(
            [
                average_precision(
                    [predicted[predicted[:, 5] == kind] for predicted in predictions],
                    [truth[truth[:, 5] == kind] for truth in truths],
                    iou_threshold,
                )
                for kind in classes
            ]
        )
    )


def average_precision(
    predictions: Sequence[NDArray[np.float32]],
    truths: Sequence[NDArray[np.float32]],
    iou_threshold: float = 0.5,
) -> float:
    """Return the area under the precision-recall curve, at all points, for boxes of one class."""
    true_count = sum(len(truth) for truth in truths)
    scores = np.concatenate([predicted[:, 4] for predicted in predictions])
    hits = np.concatenate(
        [
            _hits(predicted, truth, iou_threshold)
            for predicted, truth in zip(predictions, truths, strict=True)
        ]
    )
    if true_count == 0 or len(scores) == 0:
        return 0.0
    # Stable, so that equal scores keep their order and the result does not hang on the sort.
    hits = hits[np.argsort(-scores, kind="stable")]
    found = np.cumsum(hits)
    recall = found / true_count
    precision = found / np.arange(1, len(hits) + 1)
    # At each recall the best precision that is still to be had at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def box_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of each of N boxes with each of M, as N x M."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    common = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0).astype(np.float32)


def _hits(
    predicted: NDArray[np.float32], truth: NDArray[np.float32], iou_threshold: float
) -> NDArray[np.bool_]:
    """Return for each prediction of one picture whether it is the first to find a true box."""
    hits = np.zeros(len(predicted), np.bool_)
    if not len(truth):
        return hits
    ious = box_iou(predicted, truth)
    for row in np.argsort(-predicted[:, 4], kind="stable"):
        best = int(np.argmax(ious[row]))
        if ious[row, best] >= iou_threshold:
            hits[row] = True
            # Found once: a second prediction of it is wrong.
            ious[:, best] = -1
    return hits
