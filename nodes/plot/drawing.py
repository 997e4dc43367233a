"""Draw boxes, labels and a line of status into a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK: Colour = (16, 16, 16)
_WHITE: Colour = (255, 255, 255)
# BGR; neighbours differ much, and all stand out from skin, wood and asphalt.
_FIRST_COLOURS: tuple[Colour, ...] = (
    (75, 200, 60),
    (255, 140, 30),
    (60, 90, 245),
    (30, 200, 255),
    (220, 90, 210),
    (225, 215, 60),
    (110, 60, 230),
    (40, 140, 250),
    (180, 120, 90),
    (130, 240, 190),
)
_GOLDEN_RATIO = 0.618033988749895
_SATURATIONS = (0.9, 0.5, 0.7)
_BRIGHTNESSES = (0.95, 0.75)


@dataclass(frozen=True, slots=True)
class TextStyle:
    """Sizes in pixels that fit one size of picture."""

    scale: float
    thickness: int
    line: int
    padding: int


def text_style(shape: tuple[int, ...]) -> TextStyle:
    """Choose sizes so that text is as readable on 4K as on 320x240."""
    side = min(shape[0], shape[1])
    scale = float(np.clip(side / 1000, 0.38, 2.4))
    return TextStyle(
        scale=scale,
        thickness=max(1, round(scale * 1.5)),
        line=max(1, round(side / 270)),
        padding=max(2, round(scale * 7)),
    )


def class_colour(class_id: int) -> Colour:
    """Give a class its colour, BGR, the same in every run."""
    if 0 <= class_id < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[class_id]
    red, green, blue = colorsys.hsv_to_rgb(
        class_id * _GOLDEN_RATIO % 1.0,
        _SATURATIONS[class_id % len(_SATURATIONS)],
        _BRIGHTNESSES[class_id % len(_BRIGHTNESSES)],
    )
    return round(blue * 255), round(green * 255), round(red * 255)


def text_colour(background: Colour) -> Colour:
    """Choose black or white, whichever can be read on `background`."""
    blue, green, red = background
    return _BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 125 else _WHITE


def label_of(class_id: int, labels: Sequence[str]) -> str:
    """Return the name of a class; `class 7` where the sender has no name for it."""
    return labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"


def draw_boxes(canvas: Image, boxes: Boxes, labels: Sequence[str]) -> None:
    """Draw N x 6 boxes (x1, y1, x2, y2, confidence, class) with their labels."""
    style = text_style(canvas.shape)
    # A box that is no number, or is far outside, is an overflow in OpenCV.
    drawable = boxes[np.isfinite(boxes).all(axis=1)]
    # The surest box is drawn last, and so lies on top; all labels lie above all boxes.
    drawable = drawable[np.argsort(drawable[:, 4], kind="stable")]
    for box in drawable:
        left, top, right, bottom = _corners(box, canvas.shape)
        colour = class_colour(int(box[5]))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, style.line)
    for box in drawable:
        left, top, _, _ = _corners(box, canvas.shape)
        class_id = int(box[5])
        text = f"{label_of(class_id, labels)} {float(box[4]):.2f}"
        _draw_label(canvas, text, (left, top), class_colour(class_id), style)


def draw_status(canvas: Image, text: str) -> None:
    """Draw one line of text on a dark strip at the lower left."""
    style = text_style(canvas.shape)
    (width, height), baseline = cv2.getTextSize(text, _FONT, style.scale, style.thickness)
    bottom = canvas.shape[0]
    top = max(0, bottom - height - baseline - 2 * style.padding)
    strip = canvas[top:bottom, : width + 2 * style.padding]
    np.right_shift(strip, 2, out=strip)
    origin = (style.padding, bottom - style.padding - baseline)
    _put_text(canvas, text, origin, _WHITE, style)


def _corners(box: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    x1, x2 = (round(float(np.clip(x, 0, width - 1))) for x in (box[0], box[2]))
    y1, y2 = (round(float(np.clip(y, 0, height - 1))) for y in (box[1], box[3]))
    return x1, y1, x2, y2


def _draw_label(
    canvas: Image, text: str, corner: tuple[int, int], colour: Colour, style: TextStyle
) -> None:
    """Write on a filled tab: above the corner, or below it where there is no room above."""
    (width, height), baseline = cv2.getTextSize(text, _FONT, style.scale, style.thickness)
    tab_width = width + 2 * style.padding
    tab_height = height + baseline + style.padding
    left = max(0, min(corner[0] - style.line // 2, canvas.shape[1] - tab_width))
    top = corner[1] - tab_height if corner[1] >= tab_height else corner[1]
    cv2.rectangle(canvas, (left, top), (left + tab_width, top + tab_height), colour, cv2.FILLED)
    origin = (left + style.padding, top + style.padding // 2 + height)
    _put_text(canvas, text, origin, text_colour(colour), style)


def _put_text(
    canvas: Image, text: str, origin: tuple[int, int], colour: Colour, style: TextStyle
) -> None:
    cv2.putText(canvas, text, origin, _FONT, style.scale, colour, style.thickness, cv2.LINE_AA)
