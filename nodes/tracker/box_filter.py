"""A Kalman filter for many boxes at once: where each is, and how fast it moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# Of the height of a box; ByteTrack's and DeepSORT's numbers, for a frame of 1/30 s.
_POSITION = 1 / 20
_VELOCITY = 1 / 160
_ASPECT, _ASPECT_VELOCITY = 1e-2, 1e-5
_MEASURED_ASPECT = 1e-1
_STATES = 8


def measured(corners: Numbers) -> Numbers:
    """Return N x 4 corners (x1, y1, x2, y2) as what is measured: centre, aspect and height."""
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-3)
    centre = corners[:, :2] + size / 2
    return np.column_stack([centre, size[:, 0] / size[:, 1], size[:, 1]])


def corners_of(means: Numbers) -> Numbers:
    """Return the boxes of states as N x 4 corners."""
    height = np.maximum(means[:, 3], 1e-3)
    size = np.column_stack([np.maximum(means[:, 2], 1e-3) * height, height])
    return np.hstack([means[:, :2] - size / 2, means[:, :2] + size / 2])


def begin(boxes: Numbers) -> tuple[Numbers, Numbers]:
    """Return means and covariances of boxes that are measured for the first time, and at rest."""
    height = boxes[:, 3]
    position, velocity = 2 * _POSITION * height, 10 * _VELOCITY * height
    deviations = _columns(position, _ASPECT, velocity, _ASPECT_VELOCITY)
    return np.hstack([boxes, np.zeros_like(boxes)]), _diagonals(deviations)


def predict(means: Numbers, covariances: Numbers, frames: float) -> tuple[Numbers, Numbers]:
    """Return where boxes are expected after so many frames, which need not be a whole number."""
    motion = np.eye(_STATES)
    motion[range(4), range(4, 8)] = frames
    height = means[:, 3]
    noise = _columns(_POSITION * height, _ASPECT, _VELOCITY * height, _ASPECT_VELOCITY)
    moved = motion @ covariances @ motion.T + _diagonals(noise) * frames
    return means @ motion.T, moved


def correct(means: Numbers, covariances: Numbers, boxes: Numbers) -> tuple[Numbers, Numbers]:
    """Return what is known after boxes were measured again, one for each state."""
    height = means[:, 3]
    noise = np.column_stack(
        [
            _POSITION * height,
            _POSITION * height,
            np.full(len(height), _MEASURED_ASPECT),
            _POSITION * height,
        ]
    )
    projected = covariances[:, :4, :4] + _diagonals(noise)
    gain = np.swapaxes(np.linalg.solve(projected, covariances[:, :4, :]), 1, 2)
    innovation = boxes - means[:, :4]
    corrected = covariances - gain @ projected @ np.swapaxes(gain, 1, 2)
    return means + (gain @ innovation[:, :, None])[:, :, 0], corrected


def _columns(position: Numbers, aspect: float, velocity: Numbers, turn: float) -> Numbers:
    same = np.ones(len(position))
    columns = [position, position, aspect * same, position]
    return np.column_stack([*columns, velocity, velocity, turn * same, velocity])


def _diagonals(deviations: Numbers) -> Numbers:
    """Return for each row of standard deviations the covariance without correlations."""
    found = np.zeros((*deviations.shape, deviations.shape[1]))
    index = np.arange(deviations.shape[1])
    found[:, index, index] = deviations**2
    return found
