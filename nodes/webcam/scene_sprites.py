"""Draw the toys of the synthetic camera, once for each scene, as premultiplied BGRA pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Color: TypeAlias = NDArray[np.float32]
Sprite: TypeAlias = NDArray[np.uint8]

# Drawn large and reduced with INTER_AREA, which smooths the edges.
_CANVAS = 384
_LIGHT = np.array([-0.5, -0.62, 0.6], np.float32)
_HALO = 1.16  # Half a canvas in units of the toy's radius: the rim keeps rotation from cutting it.


def draw_sprite(label: str, diameter: float, rng: np.random.Generator) -> Sprite:
    """Draw a toy with random colours and details, `diameter` pixels across, transparent around."""
    toy = _Toy(rng)
    _PAINTERS[label](toy)
    side = max(8, round(diameter * _HALO))
    shrinks = side < _CANVAS
    picture = cv2.resize(
        toy.premultiplied(), (side, side), interpolation=cv2.INTER_AREA if shrinks else 1
    )
    return np.ascontiguousarray(picture)


def draw_shadow(sprite: Sprite) -> Sprite:
    """Return a toy's soft shadow: how much of the light behind it is left, 255 for all."""
    alpha = sprite[:, :, 3]
    blurred = cv2.GaussianBlur(alpha, (0, 0), max(1.0, len(sprite) * 0.035))
    return np.ascontiguousarray(255 - (blurred * 0.42).astype(np.uint8))


class _Toy:
    """A canvas with the origin in its middle; the toy's radius is 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.bgr = np.zeros((_CANVAS, _CANVAS, 3), np.float32)
        self.alpha = np.zeros((_CANVAS, _CANVAS), np.uint8)
        steps = (np.arange(_CANVAS, dtype=np.float32) + 0.5) / _CANVAS * 2 - 1
        self.x: NDArray[np.float32]
        self.y: NDArray[np.float32]
        self.x, self.y = np.meshgrid(steps * _HALO, steps * _HALO)
        hue = float(rng.uniform(0, 180))
        self.main = _color(hue, rng.uniform(0.55, 0.95), rng.uniform(0.7, 1.0))
        self.second = (
            _color(hue, 0.06, 0.97)
            if rng.random() < 0.5
            else _color(hue + rng.uniform(50, 130), rng.uniform(0.5, 0.9), rng.uniform(0.75, 1.0))
        )
        self.dark = self.main * 0.4

    def polygon(self, points: list[tuple[float, float]]) -> NDArray[np.uint8]:
        """Return the mask of a polygon."""
        mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
        corners = (np.array(points) / _HALO + 1) * (_CANVAS / 2)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255)
        return mask

    def disc(self, x: float, y: float, radius: float) -> NDArray[np.uint8]:
        """Return the mask of a disc."""
        return np.where(np.hypot(self.x - x, self.y - y) < radius, 255, 0).astype(np.uint8)

    def box(
        self, x1: float, y1: float, x2: float, y2: float, corner: float = 0.0
    ) -> NDArray[np.uint8]:
        """Return the mask of an upright rectangle with rounded corners."""
        dx = np.abs(self.x - (x1 + x2) / 2) - (x2 - x1) / 2 + corner
        dy = np.abs(self.y - (y1 + y2) / 2) - (y2 - y1) / 2 + corner
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
        return np.where(outside <= corner, 255, 0).astype(np.uint8)

    def fill(self, mask: NDArray[np.uint8], color: Color, shade: NDArray[np.float32]) -> None:
        """Lay a shaded colour over the picture, and make it opaque."""
        inside = mask > 0
        self.bgr[inside] = color * shade[inside, None]
        self.alpha |= mask

    def decorate(self, mask: NDArray[np.uint8], color: Color, shade: NDArray[np.float32]) -> None:
        """Lay a shaded colour over the opaque part."""
        self.fill(mask & self.alpha, color, shade)

    def slope(self, amount: float = 0.3) -> NDArray[np.float32]:
        """Return the light of a flat face: brighter towards the lamp."""
        return (1 - amount * (self.x + self.y) / 2).astype(np.float32)

    def premultiplied(self) -> Sprite:
        """Return BGRA, the colours multiplied with the opacity."""
        outline = self.alpha - cv2.erode(self.alpha, np.ones((5, 5), np.uint8))
        self.bgr[outline > 0] *= 0.55
        self.bgr[self.alpha == 0] = 0
        bgr = np.clip(self.bgr, 0, 255).astype(np.uint8)
        return np.dstack([bgr, self.alpha])


def _color(hue: float, saturation: float, value: float) -> Color:
    pixel = np.array([[[hue * 2 % 360, saturation, value]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float32)


def _lambert(nx: NDArray[np.float32], ny: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light on a surface from two components of its normal."""
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0, 1))
    lit = np.clip(nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2], 0, 1)
    return np.asarray(0.42 + 0.75 * lit + 0.55 * lit**24, np.float32)


def _paint_ball(toy: _Toy) -> None:
    shade = _lambert(toy.x, toy.y)
    toy.fill(toy.disc(0, 0, 1), toy.main, shade)
    match toy.rng.integers(4):
        case 0:  # A beach ball: sectors that meet a little off the middle.
            middle_x, middle_y = toy.rng.uniform(-0.35, 0.35, 2)
            angle = np.arctan2(toy.y - middle_y, toy.x - middle_x) + toy.rng.uniform(0, 2)
            sectors = np.floor(angle / np.pi * 3).astype(int) % 2 == 0
            toy.decorate(np.where(sectors, 255, 0).astype(np.uint8), toy.second, shade)
            toy.decorate(toy.disc(middle_x, middle_y, 0.16), toy.main * 0.9, shade)
        case 1:  # A band around it.
            tilt = toy.rng.uniform(0, np.pi)
            across = toy.x * np.cos(tilt) + toy.y * np.sin(tilt)
            band = np.where(np.abs(across - 0.1) < 0.27, 255, 0).astype(np.uint8)
            toy.decorate(band, toy.second, shade)
        case 2:  # Dots.
            turn = toy.rng.uniform(0, 2)
            for k in range(5):
                x, y = 0.6 * np.cos(turn + k * 1.257), 0.6 * np.sin(turn + k * 1.257)
                toy.decorate(toy.disc(x, y, 0.19), toy.second, shade)
            toy.decorate(toy.disc(0, 0, 0.2), toy.second, shade)
        case _:
            pass


def _paint_crate(toy: _Toy) -> None:
    half_y = toy.rng.uniform(0.6, 0.76)
    half_x = 0.76
    slope = toy.slope()
    toy.fill(toy.box(-half_x, -half_y, half_x, half_y, 0.05), toy.main * 0.55, slope)
    planks = int(toy.rng.integers(3, 6))
    height = 2 * half_y / planks
    for k in range(planks):
        top = -half_y + k * height
        tone = toy.rng.uniform(0.72, 0.9)
        plank = toy.box(-half_x, top + 0.02, half_x, top + height - 0.02)
        toy.decorate(plank, toy.main * tone, slope)
    beam = 0.15
    for sign in (1, -1) if toy.rng.random() < 0.4 else (1,):
        diagonal = toy.polygon(
            [
                (-half_x, sign * (half_y - 2 * beam)),
                (-half_x, sign * half_y),
                (-half_x + 2 * beam, sign * half_y),
                (half_x, sign * (-half_y + 2 * beam)),
                (half_x, sign * -half_y),
                (half_x - 2 * beam, sign * -half_y),
            ]
        )
        groove = np.asarray(cv2.dilate(diagonal, np.ones((5, 5))), np.uint8)
        toy.decorate(groove, toy.main * 0.5, slope)
        board = np.asarray(cv2.erode(diagonal, np.ones((3, 3))), np.uint8)
        toy.decorate(board, toy.main, slope)
    for x1, y1, x2, y2, tone in (
        (-half_x, -half_y, half_x, -half_y + beam * 1.4, 1.15),
        (-half_x, half_y - beam * 1.4, half_x, half_y, 0.85),
        (-half_x, -half_y, -half_x + beam * 1.4, half_y, 1.05),
        (half_x - beam * 1.4, -half_y, half_x, half_y, 0.92),
    ):
        toy.decorate(toy.box(x1 - 0.02, y1 - 0.02, x2 + 0.02, y2 + 0.02), toy.main * 0.5, slope)
        toy.decorate(toy.box(x1, y1, x2, y2), toy.main * tone, slope)
    for x in (-half_x + 0.1, half_x - 0.1):
        for y in (-half_y + 0.1, half_y - 0.1):
            toy.decorate(toy.disc(x, y, 0.045), toy.dark, slope)


def _paint_cone(toy: _Toy) -> None:
    wide, tip = toy.rng.uniform(0.5, 0.62), 0.13
    slope = toy.slope(0.15)
    toy.fill(toy.box(-0.8, 0.7, 0.8, 0.94, 0.08), toy.main * 0.75, slope)
    toy.decorate(toy.box(-0.8, 0.7, 0.8, 0.78, 0.04), toy.main * 0.95, slope)
    width = tip + (wide - tip) * (toy.y + 0.95) / 1.75
    round_x = np.clip(toy.x / np.maximum(width, 0.05), -1, 1) * 0.95
    shade = _lambert(round_x.astype(np.float32), np.full_like(toy.y, -0.2))
    body = toy.polygon([(-tip, -0.95), (tip, -0.95), (wide, 0.8), (-wide, 0.8)])
    toy.fill(body, toy.main, shade)
    # Stripes bend downwards, as on a round body that is seen from a little above.
    bent = toy.y - 0.1 * np.sqrt(np.clip(1 - round_x * round_x, 0, 1))
    for top, bottom in ((-0.55, -0.25), (0.1, 0.42)):
        stripe = np.where((bent > top) & (bent < bottom), 255, 0).astype(np.uint8)
        toy.decorate(stripe & body, toy.second, shade)
    toy.decorate(toy.box(-tip, -0.95, tip, -0.89), toy.dark, slope)


def _paint_star(toy: _Toy) -> None:
    arms = int(toy.rng.choice([5, 5, 5, 6]))
    waist = toy.rng.uniform(0.42, 0.55)
    angles = np.arange(2 * arms) * np.pi / arms
    radii = np.where(np.arange(2 * arms) % 2 == 0, 0.98, waist)
    corners = list(zip(np.sin(angles) * radii, -np.cos(angles) * radii, strict=True))
    for k, corner in enumerate(corners):
        following = corners[(k + 1) % len(corners)]
        edge_x, edge_y = following[0] - corner[0], following[1] - corner[1]
        length = float(np.hypot(edge_x, edge_y))
        # Each half of an arm is a facet that leans outwards, across its edge.
        lit = edge_y / length * _LIGHT[0] - edge_x / length * _LIGHT[1]
        facet = toy.polygon([(0.0, 0.0), corner, following])
        toy.fill(facet, toy.main, np.full_like(toy.x, 0.85 + 0.32 * float(lit)))
    if toy.rng.random() < 0.4:
        toy.decorate(toy.disc(0, 0, waist * 0.45), toy.second, toy.slope())


def _paint_ring(toy: _Toy) -> None:
    inner = toy.rng.uniform(0.48, 0.6)
    radius = np.hypot(toy.x, toy.y)
    middle, half = (1 + inner) / 2, (1 - inner) / 2
    lean = np.clip((radius - middle) / half, -0.98, 0.98)
    safe = np.maximum(radius, 0.01)
    shade = _lambert(
        (lean * toy.x / safe).astype(np.float32), (lean * toy.y / safe).astype(np.float32)
    )
    body = toy.disc(0, 0, 1) & ~toy.disc(0, 0, inner)
    toy.fill(body, toy.main, shade)
    segments = int(toy.rng.choice([0, 4, 6, 8]))
    if segments:
        turn = np.floor((np.arctan2(toy.y, toy.x) / np.pi + 1) * segments).astype(int)
        toy.decorate(np.where(turn % 2 == 0, 255, 0).astype(np.uint8), toy.second, shade)


def _paint_robot(toy: _Toy) -> None:
    slope = toy.slope(0.2)
    metal = _color(110, 0.1, toy.rng.uniform(0.6, 0.85))
    eyes = _color(float(toy.rng.uniform(0, 180)), 0.6, 1.0)
    toy.fill(toy.box(-0.035, -0.97, 0.035, -0.6), metal * 0.7, slope)
    toy.fill(toy.disc(0, -0.88, 0.1), toy.second, slope)
    for side in (-1, 1):
        toy.fill(toy.box(side * 0.62 - 0.13, 0.05, side * 0.62 + 0.13, 0.62, 0.12), metal, slope)
        toy.fill(toy.box(side * 0.3 - 0.2, 0.62, side * 0.3 + 0.2, 0.96, 0.1), metal * 0.5, slope)
    toy.fill(toy.box(-0.5, 0.0, 0.5, 0.8, 0.1), toy.main, slope)
    toy.decorate(toy.box(-0.33, 0.22, 0.33, 0.58, 0.06), toy.dark, slope)
    for k in range(3):
        x = -0.2 + 0.2 * k
        toy.decorate(toy.disc(x, 0.4, 0.065), eyes if k != 1 else toy.second, slope)
    for side in (-1, 1):
        toy.fill(toy.box(side * 0.68 - 0.08, -0.42, side * 0.68 + 0.08, -0.14, 0.05), metal, slope)
    toy.fill(toy.box(-0.64, -0.68, 0.64, 0.06, 0.2), toy.main * 0.6, slope)
    toy.decorate(toy.box(-0.6, -0.65, 0.6, 0.02, 0.18), toy.main * 1.05, slope)
    toy.decorate(toy.box(-0.5, -0.54, 0.5, -0.08, 0.15), toy.dark * 0.6, slope)
    for side in (-1, 1):
        toy.decorate(toy.disc(side * 0.24, -0.34, 0.145), eyes, slope)
        toy.decorate(toy.disc(side * 0.24 - 0.04, -0.38, 0.05), eyes * 0 + 255, slope)
    toy.decorate(toy.box(-0.18, -0.16, 0.18, -0.12), eyes * 0.8, slope)


_PAINTERS: dict[str, Callable[[_Toy], None]] = {
    "ball": _paint_ball,
    "crate": _paint_crate,
    "cone": _paint_cone,
    "star": _paint_star,
    "ring": _paint_ring,
    "robot": _paint_robot,
}

SCENE_LABELS: tuple[str, ...] = tuple(_PAINTERS)
