"""Be a camera that films toys on a table, drawn by the project itself: `test://scene`."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene_background import draw_background, draw_noise
from .scene_sprites import SCENE_LABELS, Sprite, draw_shadow, draw_sprite

__all__ = ["SCENE_LABELS", "Scene", "SceneOptions", "parse_scene", "scene_metadata"]

SCENE_URL = "test://scene"

# Objects hidden more than this, or thinner, do not count as to be found.
_MIN_VISIBLE = 0.35
_MIN_SIDE_PIXELS = 10
_OPAQUE = 128


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """Options of a `test://scene` URL; `frames` None means without end."""

    seed: int = 0
    width: int = 640
    height: int = 480
    objects: int = 6
    frames: int | None = None
    fps: int = 30


_ALLOWED = {
    "seed": (0, 2**31 - 1),
    "width": (64, 3840),
    "height": (64, 2160),
    "objects": (0, 32),
    "frames": (1, 2**31 - 1),
    "fps": (1, 1000),
}


def parse_scene(url: str) -> SceneOptions:
    """Read the options of a URL such as `test://scene?seed=3&objects=8`.

    Raises:
        ValueError: it is another URL, or an option is unknown, given twice or out of its range.
    """
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" != SCENE_URL or parts.path.strip("/") or parts.fragment:
        raise ValueError(
            f"{url}: not a synthetic camera;"
            f" expected '{SCENE_URL}' or '{SCENE_URL}?option=value&...'"
        )
    found: dict[str, int] = {}
    for option, text in parse_qsl(parts.query, keep_blank_values=True):
        if option not in _ALLOWED:
            near = difflib.get_close_matches(option, _ALLOWED, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ValueError(
                f"{url}: unknown option '{option}'; {hint}allowed: {', '.join(_ALLOWED)}"
            )
        if option in found:
            raise ValueError(f"{url}: option '{option}' is given twice; keep one")
        low, high = _ALLOWED[option]
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(
                f"{url}: option '{option}' is '{text}';"
                f" allowed: a whole number from {low} to {high}"
            )
        found[option] = int(text)
    return SceneOptions(**found)


def scene_metadata(seed: int, index: int, boxes: NDArray[np.float32]) -> dict[str, Any]:
    """Return the metadata of a synthetic frame; the key `scene` marks it as not real."""
    return {
        "scene": "dora_rt",
        "scene_seed": seed,
        "scene_frame": index,
        "truth": [[*(round(float(edge), 1) for edge in box[:4]), int(box[5])] for box in boxes],
        "truth_labels": list(SCENE_LABELS),
    }


class Scene:
    """A table with moving toys; frame `index` is a function of the seed and the index alone."""

    def __init__(
        self, width: int = 640, height: int = 480, seed: int = 0, objects: int = 6
    ) -> None:
        self.width = width
        self.height = height
        self.seed = seed
        rng = np.random.default_rng(seed)
        self._lamps = draw_background(width, height, rng)
        self._noise = draw_noise(width, height, rng)
        self._dimming = rng.uniform(0.0, 0.22)
        self._phase = rng.uniform(0, 2 * math.pi, 2)
        kinds: list[int] = []
        while len(kinds) < objects:
            # Whole rounds of all kinds, so that six toys are six kinds.
            kinds.extend(int(kind) for kind in rng.permutation(len(SCENE_LABELS)))
        self._toys = [_make_toy(kind, width, height, rng) for kind in kinds[:objects]]

    def render(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Draw frame `index` into `out` and return its true boxes.

        Returns:
            N x 6: x1, y1, x2, y2, 1.0, class; the boxes of the visible pixels.

        Raises:
            ValueError: `out` is no contiguous uint8 array of height x width x 3.
        """
        shape = (self.height, self.width, 3)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(
                f"out is {out.dtype} {out.shape}; expected a C-contiguous uint8 array of {shape}"
            )
        swing = 0.5 + 0.5 * math.sin(index * 0.021 + self._phase[0])
        cv2.addWeighted(self._lamps[0], swing, self._lamps[1], 1 - swing, 0, dst=out)
        owner = np.zeros((self.height, self.width), np.uint8)
        full_areas = [
            toy.draw(index, out, owner, number) for number, toy in enumerate(self._toys, start=1)
        ]
        gain = 1 - self._dimming * (0.5 + 0.5 * math.sin(index * 0.013 + self._phase[1]))
        self._add_noise(index, gain, out)
        boxes = [
            box
            for number, (toy, area) in enumerate(zip(self._toys, full_areas, strict=True), start=1)
            if (box := toy.visible_box(index, owner, number, area)) is not None
        ]
        return np.array(boxes, np.float32).reshape(-1, 6)

    def _add_noise(self, index: int, gain: float, out: NDArray[np.uint8]) -> None:
        x, y = np.random.default_rng((self.seed, index)).integers(0, 64, 2)
        grain = self._noise[y : y + self.height, x : x + self.width]
        cv2.addWeighted(out, gain, grain, 1.0, -128.0, dst=out)


@dataclass(frozen=True, slots=True)
class _Toy:
    """One toy and its path; pixels, frames and radians."""

    kind: int
    sprite: Sprite
    shadow: Sprite
    start: tuple[float, float]
    velocity: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    angle: float
    spin: float
    swing: float
    pulse: float

    def draw(
        self, index: int, out: NDArray[np.uint8], owner: NDArray[np.uint8], number: int
    ) -> int:
        """Draw the toy over the frame, write `number` where it is; return its whole area."""
        matrix, (x, y, side) = self._placement(index)
        size = (side, side)
        cast = matrix.copy()
        cast[:, 2] += len(self.sprite) * 0.05
        light = cv2.warpAffine(self.shadow, cast, size, borderValue=(255,))
        toy = cv2.warpAffine(self.sprite, matrix, size)
        alpha = toy[:, :, 3]
        area = int(np.count_nonzero(alpha >= _OPAQUE))
        height, width = owner.shape
        left, right = max(0, x), min(width, x + side)
        top, bottom = max(0, y), min(height, y + side)
        if left >= right or top >= bottom:
            return area
        inner = (slice(top - y, bottom - y), slice(left - x, right - x))
        outer = (slice(top, bottom), slice(left, right))
        behind = cv2.multiply(cv2.bitwise_not(alpha[inner]), light[inner], scale=1 / 255)
        behind3 = cv2.merge([behind, behind, behind])
        region = out[outer]
        cv2.multiply(region, behind3, dst=region, scale=1 / 255)
        cv2.add(region, cv2.cvtColor(toy[inner], cv2.COLOR_BGRA2BGR), dst=region)
        mine = owner[outer]
        mine[alpha[inner] >= _OPAQUE] = number
        return area

    def visible_box(
        self, index: int, owner: NDArray[np.uint8], number: int, area: int
    ) -> tuple[float, ...] | None:
        """Return the box of the visible part of the toy, or None if that is too little."""
        _, (x, y, side) = self._placement(index)
        left, top = max(0, x), max(0, y)
        seen = owner[top : y + side, left : x + side] == number
        if np.count_nonzero(seen) < max(1, _MIN_VISIBLE * area):
            return None
        x1, y1, width, height = cv2.boundingRect(seen.view(np.uint8))
        if min(width, height) < _MIN_SIDE_PIXELS:
            return None
        x1, y1 = x1 + left, y1 + top
        return (x1, y1, x1 + width, y1 + height, 1.0, self.kind)

    def _placement(self, index: int) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
        """Return the sprite's rotation and scale, and the square of the frame it is drawn in."""
        x, y = (
            _bounce(self.start[k] + self.velocity[k] * index, self.low[k], self.high[k])
            for k in range(2)
        )
        scale = 0.9 + 0.1 * math.sin(index * 0.03 + self.pulse)
        angle = self.angle + self.spin * index
        if self.swing:
            angle = self.swing * math.sin(angle)
        side = math.ceil(len(self.sprite) * 1.25)
        left, top = math.floor(x - side / 2), math.floor(y - side / 2)
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        middle = (len(self.sprite) - 1) / 2
        matrix = np.array(
            [
                [cos, -sin, x - left - cos * middle + sin * middle],
                [sin, cos, y - top - sin * middle - cos * middle],
            ]
        )
        return matrix, (left, top, side)


def _make_toy(kind: int, width: int, height: int, rng: np.random.Generator) -> _Toy:
    label = SCENE_LABELS[kind]
    unit = min(width, height)
    diameter = unit * rng.uniform(0.17, 0.36)
    sprite = draw_sprite(label, diameter, rng)
    speed, direction = unit * rng.uniform(0.003, 0.009), rng.uniform(0, 2 * math.pi)
    # Toys may leave the table by a part of their radius, and come back.
    margin = diameter * 0.36
    upright = label in ("ball", "cone", "robot")
    return _Toy(
        kind=kind,
        sprite=sprite,
        shadow=draw_shadow(sprite),
        start=(rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)),
        velocity=(speed * math.cos(direction), speed * math.sin(direction)),
        low=(margin, margin),
        high=(width - margin, height - margin),
        angle=rng.uniform(0, 2 * math.pi),
        spin=rng.uniform(0.008, 0.03) * (1 if rng.random() < 0.5 else -1),
        swing=rng.uniform(0.15, 0.5) if upright else 0.0,
        pulse=rng.uniform(0, 2 * math.pi),
    )


def _bounce(position: float, low: float, high: float) -> float:
    """Fold a straight path into low..high, turning round at both ends."""
    span = high - low
    return low + span - abs((position - low) % (2 * span) - span)
