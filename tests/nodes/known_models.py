"""ONNX files that give the known answer for one photograph, for looking at what is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.nodes.tiny_onnx import write_outputs

_SIDE = 640
_PROTOTYPE_SIDE = 160
_ROWS = 300

# In pixels of skimage's coffee.png, 600 x 400.
SPOON = (383.0, 198.0, 258.0, 78.0, np.radians(101.5))
CUP = (
    *((174, 102), (184, 66), (214, 36), (260, 19), (310, 20), (360, 40), (394, 74), (405, 105)),
    *((402, 140), (392, 192), (368, 240), (330, 270), (262, 282), (216, 306), (197, 290)),
    *((216, 240), (196, 212), (178, 150)),
)
PLATE = (
    *((78, 225), (84, 175), (112, 122), (150, 88), (176, 76), (300, 60), (418, 105), (456, 150)),
    *((479, 225), (470, 282), (430, 342), (370, 374), (280, 383), (200, 370), (130, 326)),
    *((94, 280), (80, 245)),
)
# Of its astronaut.png, 512 x 512: nose, eyes, ears, shoulders, elbows, wrists, hips and below.
PERSON = (20.0, 14.0, 364.0, 512.0)
POINTS = (
    *((222, 122, 0.98), (243, 103, 0.97), (203, 103, 0.97), (274, 108, 0.9), (176, 112, 0.9)),
    *((318, 262, 0.93), (92, 262, 0.95), (352, 390, 0.6), (46, 400, 0.85)),
    *((0, 0, 0.0), (150, 496, 0.8), (268, 505, 0.5), (128, 506, 0.4)),
    *(((0, 0, 0.0),) * 4),
)


def write_masks(path: Path) -> Path:
    """Write a model that finds the cup and the plate of the coffee, and their masks."""
    ratio = _SIDE / 600
    fine = _PROTOTYPE_SIDE / 600
    shapes = []
    for outline in (CUP, PLATE):
        shape = np.zeros((_PROTOTYPE_SIDE, _PROTOTYPE_SIDE), np.uint8)
        corners = (np.array(outline) * fine).round().astype(np.int32)
        cv2.fillPoly(shape, [corners], (255,))
        # Soft edges, as those of networks.
        shapes.append(cv2.GaussianBlur(shape, (5, 5), 0).astype(np.float32) / 127.5 - 1)
    rows = np.zeros((1, _ROWS, 8), np.float32)
    for number, outline in enumerate((CUP, PLATE)):
        points = np.array(outline) * ratio
        box = [*points.min(axis=0), *points.max(axis=0)]
        rows[0, number] = [*box, 0.94 - number / 20, number, *np.eye(2)[number]]
    outputs = {"output0": rows, "output1": np.array([shapes], np.float32)}
    return _write(path, outputs, {"task": "segment", "names": "['cup', 'plate']"})


def write_oriented(path: Path) -> Path:
    """Write a model that finds the spoon of the coffee, as an oriented box."""
    ratio = _SIDE / 600
    rows = np.zeros((1, _ROWS, 7), np.float32)
    rows[0, 0] = [*(np.array(SPOON[:4]) * ratio), 0.91, 0, SPOON[4]]
    return _write(path, {"output0": rows}, {"task": "obb", "names": "['spoon']"})


def write_pose(path: Path) -> Path:
    """Write a model that finds the astronaut, and her key points."""
    ratio = _SIDE / 512
    points = np.array(POINTS, np.float32)
    points[:, :2] *= ratio
    rows = np.zeros((1, _ROWS, 6 + points.size), np.float32)
    rows[0, 0] = [*(np.array(PERSON) * ratio), 0.96, 0, *points.reshape(-1)]
    metadata = {"task": "pose", "names": "['person']", "kpt_shape": "[17, 3]"}
    return _write(path, {"output0": rows}, metadata)


def write_classes(path: Path) -> Path:
    """Write a model that takes the whole coffee for espresso."""
    scores = np.array([[0.82, 0.11, 0.04, 0.02, 0.01]], np.float32)
    names = "['espresso', 'cup', 'coffee mug', 'soup bowl', 'plate']"
    return _write(path, {"output0": scores}, {"task": "classify", "names": names})


def _write(
    path: Path, outputs: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]
) -> Path:
    return write_outputs(path, outputs, input_shape=(1, 3, _SIDE, _SIDE), metadata=metadata)
