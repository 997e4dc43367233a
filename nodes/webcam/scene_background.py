"""Draw the table top behind the toys of the synthetic camera, once for each scene."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.float32]


def draw_background(
    width: int, height: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one table top twice, with the lamp at either end; a blend of both moves the lamp."""
    paint = _TABLES[int(rng.integers(len(_TABLES)))]
    table = paint(width, height, rng)
    table *= 1 + 0.10 * _clouds(width, height, 5, rng)[:, :, None]
    table *= 1 + 0.035 * rng.standard_normal((height, width, 1), np.float32)
    _lay_tape(table, rng)
    y0 = float(rng.uniform(-0.2, 0.6))
    lamps = (_lamp(width, height, 0.1, y0), _lamp(width, height, 0.9, 0.4 - y0))
    first, second = (np.clip(table * lamp, 0, 255).astype(np.uint8) for lamp in lamps)
    return first, second


def draw_noise(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw sensor noise around 128, a little larger than a frame, to be cut at any offset."""
    strength = rng.uniform(1.5, 5.0)
    noise = 128 + strength * rng.standard_normal((height + 64, width + 64, 3), np.float32)
    return np.asarray(np.clip(noise, 0, 255), np.uint8)


def _lamp(width: int, height: int, x: float, y: float) -> Picture:
    across = (np.arange(width, dtype=np.float32) / width - x) ** 2
    down = (np.arange(height, dtype=np.float32) / height - y) ** 2 * 0.7
    light = 0.62 + 0.58 * np.exp(-1.6 * (across[None, :] + down[:, None]))
    return light[:, :, None].astype(np.float32)


def _clouds(width: int, height: int, cells: int, rng: np.random.Generator) -> Picture:
    """Return smooth noise, about -1 to 1, with blobs of a `cells`-th of the picture."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    fine = rng.uniform(-0.4, 0.4, (cells * 5, cells * 5)).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        + cv2.resize(fine, (width, height), interpolation=cv2.INTER_CUBIC),
        np.float32,
    )


def _plain(width: int, height: int, bgr: tuple[float, float, float]) -> Picture:
    return np.full((height, width, 3), bgr, np.float32)


def _paint_wood(width: int, height: int, rng: np.random.Generator) -> Picture:
    tone = rng.uniform(0.7, 1.1)
    table = _plain(width, height, (105 * tone, 150 * tone, 190 * tone))
    planks = int(rng.integers(4, 8))
    edges = np.linspace(0, height, planks + 1).round().astype(int)
    for top, bottom in itertools.pairwise(edges):
        # Grain: noise that is stretched along the plank.
        grain = rng.standard_normal((max(2, (bottom - top) // 2), 9)).astype(np.float32)
        stretched = cv2.resize(grain, (width, bottom - top), interpolation=cv2.INTER_CUBIC)
        table[top:bottom] *= rng.uniform(0.88, 1.08) + 0.055 * stretched[:, :, None]
        table[top : top + max(1, height // 240)] *= 0.6
        joint = int(rng.integers(width))
        table[top:bottom, joint : joint + max(1, width // 320)] *= 0.65
    return table


def _paint_mat(width: int, height: int, rng: np.random.Generator) -> Picture:
    """Paint a cutting mat: dark, with a grid."""
    colors = ((96.0, 92.0, 42.0), (110.0, 70.0, 45.0), (62.0, 58.0, 56.0), (70.0, 95.0, 60.0))
    table = _plain(width, height, colors[int(rng.integers(len(colors)))])
    step = max(8, height // int(rng.integers(9, 15)))
    for spacing, gain in ((step, 1.16), (step * 4, 1.45)):
        for x in range(step // 2, width, spacing):
            table[:, x : x + max(1, width // 640)] *= gain
        for y in range(step // 2, height, spacing):
            table[y : y + max(1, height // 480)] *= gain
    return table


def _paint_concrete(width: int, height: int, rng: np.random.Generator) -> Picture:
    gray = rng.uniform(105, 175)
    table = _plain(width, height, (gray * 1.02, gray, gray * rng.uniform(0.92, 1.0)))
    table *= 1 + 0.06 * _clouds(width, height, 30, rng)[:, :, None]
    return table


def _paint_tiles(width: int, height: int, rng: np.random.Generator) -> Picture:
    side = max(8, height // int(rng.integers(4, 8)))
    rows, columns = height // side + 2, width // side + 2
    light, dark = rng.uniform(150, 205), rng.uniform(85, 150)
    checks = np.indices((rows, columns)).sum(axis=0) % 2
    tones = np.where(checks == 0, light, dark) * rng.uniform(0.95, 1.05, (rows, columns))
    y, x = np.arange(height) // side, np.arange(width) // side
    tint = np.array(rng.uniform(0.86, 1.08, 3), np.float32)
    table: Picture = (tones[y][:, x, None] * tint).astype(np.float32)
    table[np.arange(height) % side < max(1, height // 240)] *= 0.72
    table[:, np.arange(width) % side < max(1, width // 320)] *= 0.72
    return table


def _lay_tape(table: Picture, rng: np.random.Generator) -> None:
    """Stick a few strips and worn stamps on the table: things that are not toys."""
    height, width = table.shape[:2]
    for _ in range(int(rng.integers(0, 4))):
        layer = np.zeros((height, width), np.uint8)
        start, end = (
            (int(rng.uniform(-0.1, 1.1) * width), int(rng.uniform(-0.1, 1.1) * height))
            for _ in range(2)
        )
        thickness = max(1, int(height * rng.uniform(0.008, 0.045)))
        if rng.random() < 0.6:
            cv2.line(layer, start, end, 255, thickness, cv2.LINE_AA)
        else:
            cv2.rectangle(layer, start, end, 255, max(1, thickness // 3), cv2.LINE_AA)
        color = rng.uniform(30, 235, 3).astype(np.float32)
        opacity = (layer.astype(np.float32) * (rng.uniform(0.25, 0.7) / 255))[:, :, None]
        table += opacity * (color - table)


_TABLES: tuple[Callable[[int, int, np.random.Generator], Picture], ...] = (
    _paint_wood,
    _paint_mat,
    _paint_concrete,
    _paint_tiles,
)
