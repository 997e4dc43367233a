"""Reduce a network's candidates to the boxes of a frame.

Candidates and boxes are N x 6 float32: x1, y1, x2, y2 in pixels, confidence, class. Candidates may
have further columns, of masks, key points or angles, which stay with their box.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 3000
"""Most candidates that `suppress` looks at; its time grows with the square (3000: 30 ms)."""

_FAR = 1e5


def no_boxes() -> NDArray[np.float32]:
    """Return the answer for a picture with nothing in it: 0 x 6."""
    return np.empty((0, 6), np.float32)


def suppress(candidates: NDArray[np.float32], iou: float) -> NDArray[np.float32]:
    """Keep of each class the best of the candidates that overlap by more than `iou`.

    The greedy non-maximum suppression of https://arxiv.org/abs/1704.04503, section 3. The result
    is sorted by confidence, highest first.
    """
    candidates = best_candidates(candidates, MAX_CANDIDATES)
    if not len(candidates):
        return candidates
    # Each class is moved to an area of its own, where no other reaches. (An absurdly large
    # coordinate, which an untrained network does give, would blur all others.)
    # `NMSBoxesBatched` does the same, but OpenCV 4.6 has none.
    corners = np.clip(candidates[:, :4].astype(np.float64), -_FAR, _FAR)
    corners -= np.min(corners)
    sides = corners[:, 2:] - corners[:, :2]
    places = corners[:, :2] + candidates[:, 5:6] * (np.max(corners) + 1)
    kept = cv2.dnn.NMSBoxes(
        np.hstack((places, sides)),  # type: ignore[arg-type]  # N x 4 is rectangles to it
        candidates[:, 4],  # type: ignore[arg-type]
        0.0,
        iou,
    )
    return sort_by_confidence(candidates[np.asarray(kept, dtype=np.intp)])


def best_candidates(candidates: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the most confident candidates, without those that are not numbers."""
    candidates = candidates[np.isfinite(candidates).all(axis=1)]
    if len(candidates) <= count:
        return candidates
    chosen: NDArray[np.float32] = candidates[np.argpartition(candidates[:, 4], -count)[-count:]]
    return chosen


def sort_by_confidence(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the highest confidence first; equal ones keep their order."""
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def onto_frame(
    boxes: NDArray[np.float32], ratios: tuple[float, float], frame_height: int, frame_width: int
) -> NDArray[np.float32]:
    """Return boxes of an input in pixels of the frame, clipped to it.

    Boxes that lie outside (in the padding) are left out. `ratios` comes from `Letterbox.fit`.
    """
    placed = boxes.copy()
    placed[:, :4] /= np.array([*ratios, *ratios], np.float32)
    np.clip(placed[:, 0:4:2], 0, frame_width, out=placed[:, 0:4:2])
    np.clip(placed[:, 1:4:2], 0, frame_height, out=placed[:, 1:4:2])
    has_area = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
    return np.ascontiguousarray(placed[has_area])
