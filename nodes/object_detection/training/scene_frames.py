"""Render the frames that the scene model is trained and tested on."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

import cv2
import numpy as np
from dora_rt.nodes.webcam.scene import Scene
from numpy.typing import NDArray
from scene_network import INPUT_HEIGHT, INPUT_WIDTH

# Seeds from a million on are for evaluation, and the small ones are what people type.
TRAINING_SEED = 500_000
VALIDATION_SEED = 900_000
EVALUATION_SEED = 1_000_000

FRAMES_PER_SCENE = 8
# Frames of one scene that follow each other show nearly the same.
FRAME_STEP = 61
MAX_OBJECTS = 10
_SIZES = ((640, 480),) * 7 + ((640, 360), (480, 360), (320, 240))


@dataclass(frozen=True, slots=True)
class Frames:
    """Letterboxed BGR pictures and their true boxes.

    Attributes:
        images: N x height x width x 3.
        boxes: N x MAX_OBJECTS x 5: x1, y1, x2, y2 in pixels of the letterbox, class; -1 for none.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def render_frames(first_seed: int, scenes: int, processes: int = 2) -> Frames:
    """Render some frames of each of many scenes."""
    seeds = range(first_seed, first_seed + scenes)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.map(_render_scene, seeds, chunksize=8)
    return Frames(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.boxes for part in parts]),
    )


def letterbox(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Fit a frame into the network's input at the top left; also return the scale."""
    height, width = frame.shape[:2]
    ratio = min(INPUT_HEIGHT / height, INPUT_WIDTH / width)
    size = (round(width * ratio), round(height * ratio))
    boxed = np.full((INPUT_HEIGHT, INPUT_WIDTH, 3), 114, np.uint8)
    boxed[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return boxed, ratio


def _render_scene(seed: int) -> Frames:
    cv2.setNumThreads(1)
    choice = np.random.default_rng((seed, 7))
    width, height = _SIZES[int(choice.integers(len(_SIZES)))]
    scene = Scene(width, height, seed, int(choice.integers(3, MAX_OBJECTS + 1)))
    frame = np.zeros((height, width, 3), np.uint8)
    images = np.zeros((FRAMES_PER_SCENE, INPUT_HEIGHT, INPUT_WIDTH, 3), np.uint8)
    boxes = np.full((FRAMES_PER_SCENE, MAX_OBJECTS, 5), -1, np.float32)
    for k in range(FRAMES_PER_SCENE):
        truth = scene.render(k * FRAME_STEP, frame)
        images[k], ratio = letterbox(frame)
        boxes[k, : len(truth), :4] = truth[:, :4] * ratio
        boxes[k, : len(truth), 4] = truth[:, 5]
    return Frames(images, boxes)
