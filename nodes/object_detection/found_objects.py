"""Make what a network found in its input into what is there in the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .boxes import best_candidates, no_boxes, onto_frame, sort_by_confidence

MAX_ORIENTED = 1000
"""Most oriented candidates that are compared with each other."""

MOST_CLASSES = 5
"""How many classes of a whole picture are given."""

_LARGEST_UINT8 = 255
_LEAST_CLASSES = 2

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a frame, in its pixels; None is what the model does not look for.

    Attributes:
        boxes: N x 6 float32: x1, y1, x2, y2, confidence, class, highest confidence first.
        keypoints: N x K x 3 float32: x, y, confidence of each key point of each box.
        oriented: N x 7 float32: centre x and y, width, height, angle in radians (clockwise from
            the x axis to the width), confidence, class. `boxes` are the upright boxes around them.
        masks: H x W uint8 (uint16 beyond 255 boxes): 0, or the number of the box plus 1.
        classes: K x 2 float32: class and confidence of the whole picture, the best first.
    """

    boxes: Array
    keypoints: Array | None = None
    oriented: Array | None = None
    masks: NDArray[np.uint8 | np.uint16] | None = None
    classes: Array | None = None

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return what there is by the name of its output."""
        named: dict[str, NDArray[np.generic] | None] = {
            "bbox": self.boxes,
            "keypoints": self.keypoints,
            "oriented": self.oriented,
            "masks": self.masks,
            "classes": self.classes,
        }
        return {name: array for name, array in named.items() if array is not None}


NOTHING = Found(
    no_boxes(),
    np.empty((0, 0, 3), np.float32),
    np.empty((0, 7), np.float32),
    np.empty((0, 0), np.uint8),
    np.empty((0, 2), np.float32),
)
"""The answer for what is no picture."""


def keypoints_of(placed: Array, shape: tuple[int, int], ratios: tuple[float, float]) -> Array:
    """Return key points in pixels of the frame; their confidence is 1 where they have none.

    What is no number, as after an overflow in float16, is 0 with its confidence.
    """
    points = placed[:, 6:].reshape(len(placed), *shape)
    keypoints = np.ones((len(placed), shape[0], 3), np.float32)
    keypoints[:, :, : shape[1]] = points
    keypoints[:, :, :2] /= np.array(ratios, np.float32)
    keypoints[~np.isfinite(keypoints).all(axis=2)] = 0
    return keypoints


def suppress_oriented(candidates: Array, iou: float) -> Array:
    """Keep of each class the best of the oriented candidates that overlap by more than `iou`."""
    candidates = best_candidates(candidates, MAX_ORIENTED)
    kept = [candidates[:0]]
    for number in np.unique(candidates[:, 5]):
        rows = candidates[candidates[:, 5] == number]
        centres, sides = (rows[:, :2] + rows[:, 2:4]) / 2, rows[:, 2:4] - rows[:, :2]
        rectangles = [
            (tuple(centre), tuple(size), angle)
            for centre, size, angle in zip(
                centres.tolist(), sides.tolist(), np.degrees(rows[:, 6]).tolist(), strict=True
            )
        ]
        chosen = cv2.dnn.NMSBoxesRotated(rectangles, rows[:, 4].tolist(), 0.0, iou)
        kept.append(rows[np.asarray(chosen, dtype=np.intp).reshape(-1)])
    return sort_by_confidence(np.concatenate(kept))


def oriented_onto_frame(
    candidates: Array, ratios: tuple[float, float], frame_height: int, frame_width: int
) -> tuple[Array, Array]:
    """Return the upright boxes around oriented ones, and these, in pixels of the frame."""
    centres, sides = (
        (candidates[:, :2] + candidates[:, 2:4]) / 2,
        (candidates[:, 2:4] - candidates[:, :2]),
    )
    angles = candidates[:, 6:7]
    cosines, sines = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    halves = (
        np.hstack(
            (
                sides[:, :1] * cosines + sides[:, 1:] * sines,
                sides[:, :1] * sines + sides[:, 1:] * cosines,
            )
        )
        / 2
    )
    rows = np.hstack(
        (centres - halves, centres + halves, candidates[:, 4:6], centres, sides, angles)
    )
    placed = onto_frame(rows.astype(np.float32), ratios, frame_height, frame_width)
    scale = np.array([*ratios, *ratios], np.float32)
    oriented = np.hstack((placed[:, 6:10] / scale, placed[:, 10:11], placed[:, 4:6]))
    return np.ascontiguousarray(placed[:, :6]), oriented.astype(np.float32)


def masks_of(
    placed: Array,
    prototypes: Array,
    ratios: tuple[float, float],
    input_size: tuple[int, int],
    frame_size: tuple[int, int],
) -> NDArray[np.uint8 | np.uint16]:
    """Return for each pixel of the frame the number of its box plus 1, or 0.

    As `process_mask` of https://github.com/ultralytics/ultralytics: a mask is the prototypes
    weighed by the coefficients of its box, cut off at the box. Where masks overlap the most
    confident is on top.

    Args:
        placed: boxes in pixels of the frame, highest confidence first, with their coefficients.
        prototypes: M x height x width, over the whole input.
        ratios: from `Letterbox.fit`.
        input_size: height and width of the input.
        frame_size: height and width of the frame.
    """
    masks = np.zeros(frame_size, np.uint8 if len(placed) <= _LARGEST_UINT8 else np.uint16)
    if not len(placed):
        return masks
    count, rows, columns = prototypes.shape
    sums = placed[:, 6:] @ prototypes.reshape(count, -1)
    # From pixels of the frame to those of the prototypes.
    scale_x = ratios[0] * columns / input_size[1]
    scale_y = ratios[1] * rows / input_size[0]
    for number in range(len(placed) - 1, -1, -1):
        left, top = (int(side) for side in np.floor(placed[number, :2]))
        right, bottom = (int(side) for side in np.ceil(placed[number, 2:4]))
        right, bottom = min(right, frame_size[1]), min(bottom, frame_size[0])
        if right <= left or bottom <= top:
            continue
        # Centres of pixels meet centres of pixels.
        matrix = np.array(
            [
                [scale_x, 0, scale_x * (left + 0.5) - 0.5],
                [0, scale_y, scale_y * (top + 0.5) - 0.5],
            ]
        )
        part = cv2.warpAffine(
            np.ascontiguousarray(sums[number].reshape(rows, columns)),
            matrix,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        # The sigmoid is above a half where the sum is above 0.
        masks[top:bottom, left:right][part > 0] = number + 1
    return masks


def classes_of(scores: Array) -> Array:
    """Return the best classes of a picture; scores that are no probabilities are made some."""
    scores = scores.reshape(-1).astype(np.float64)
    if not np.isfinite(scores).all():
        # Numbers that overflowed, as in float16, leave no order of the classes.
        return np.empty((0, 2), np.float32)
    is_probability = bool((scores >= -1e-3).all()) and abs(float(scores.sum()) - 1) < 0.02
    if not is_probability:
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    best = np.argsort(-scores, kind="stable")[:MOST_CLASSES]
    return np.stack((best, scores[best]), axis=1).astype(np.float32)
