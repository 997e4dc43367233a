"""Draw what was found into a picture: boxes, masks, key points, classes; and a line of status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.detections import (
    LEAST_POINT_CONFIDENCE,
    SKELETONS,
    Detections,
    corners_of,
    label_of,
    numbered,
)

from ..class_colours import Colour, class_colour

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK: Colour = (16, 16, 16)
_WHITE: Colour = (255, 255, 255)
_MASK_SHARE = 0.45  # of the colour of a mask; the rest is the picture
_FAR = 1e5  # pixels: what is farther overflows in OpenCV


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


def text_colour(background: Colour) -> Colour:
    """Choose black or white, whichever can be read on `background`."""
    blue, green, red = background
    return _BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 125 else _WHITE


def draw_found(canvas: Image, found: Detections) -> None:
    """Draw all that was found on a picture."""
    boxes = found.boxes if len(found.boxes) else None
    if found.masks is not None and found.masks.size:
        draw_masks(canvas, found.masks, boxes)
    if found.oriented is not None and len(found.oriented):
        # The upright boxes around them would say less.
        draw_oriented(canvas, found.oriented, found.labels)
    else:
        draw_boxes(canvas, found.boxes, found.labels, found.ids)
    if found.keypoints is not None:
        draw_keypoints(canvas, found.keypoints, boxes)
    if found.classes is not None:
        draw_classes(canvas, found.classes, found.labels)


def draw_boxes(canvas: Image, boxes: Boxes, labels: Sequence[str], ids: Sequence[int] = ()) -> None:
    """Draw N x 6 boxes (x1, y1, x2, y2, confidence, class) with their labels.

    Args:
        canvas: what is drawn into.
        boxes: what is drawn.
        labels: the names of the classes.
        ids: the id of the object of each box; empty if they have none.
    """
    style = text_style(canvas.shape)
    # The surest box is drawn last, and so lies on top; all labels lie above all boxes.
    order = np.argsort(boxes[:, 4], kind="stable")
    # A box that is no number, or is far outside, is an overflow in OpenCV.
    order = order[np.isfinite(boxes[order]).all(axis=1)]
    drawable = boxes[order]
    for box in drawable:
        left, top, right, bottom = _corners(box, canvas.shape)
        colour = class_colour(int(box[5]))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, style.line)
    for index, box in zip(order, drawable, strict=True):
        left, top, _, _ = _corners(box, canvas.shape)
        class_id = int(box[5])
        name = numbered(label_of(class_id, labels), ids, index)
        text = f"{name} {float(box[4]):.2f}"
        _draw_label(canvas, text, (left, top), class_colour(class_id), style)


def draw_masks(canvas: Image, masks: NDArray[np.uint8 | np.uint16], boxes: Boxes | None) -> None:
    """Tint what masks cover in the colours of the classes of their boxes.

    Args:
        canvas: the picture.
        masks: of its size: 0, or the number of the row in `boxes` plus 1.
        boxes: N x 6; None: each mask has a colour of its own.
    """
    most = int(masks.max()) if masks.size else 0
    if not most:
        return
    classes = range(most) if boxes is None else boxes[:, 5].astype(int).tolist()
    table = np.zeros((most + 1, 3), np.uint8)
    for number in range(most):
        # More masks than boxes are none of these boxes, and have colours of their own.
        kind = classes[number] if number < len(classes) else number
        table[number + 1] = class_colour(kind)
    tinted = cv2.addWeighted(canvas, 1 - _MASK_SHARE, table[masks], _MASK_SHARE, 0)
    np.copyto(canvas, tinted, where=(masks > 0)[:, :, None])


def draw_keypoints(canvas: Image, keypoints: NDArray[np.float32], boxes: Boxes | None) -> None:
    """Draw N x K x 3 key points (x, y, confidence), and the lines between those of a person."""
    style = text_style(canvas.shape)
    lines = SKELETONS.get(keypoints.shape[1], ())
    places = np.clip(keypoints[:, :, :2], -_FAR, _FAR).round().astype(int)
    are_seen = keypoints[:, :, 2] >= LEAST_POINT_CONFIDENCE
    for number, (points, is_seen) in enumerate(zip(places.tolist(), are_seen, strict=True)):
        kind = int(boxes[number, 5]) if boxes is not None and number < len(boxes) else 0
        colour = class_colour(kind)
        for first, second in lines:
            if is_seen[first] and is_seen[second]:
                ends = points[first], points[second]
                cv2.line(canvas, *ends, colour, style.line, cv2.LINE_AA)
        for at, point in enumerate(points):
            if is_seen[at]:
                cv2.circle(canvas, point, style.line + 3, colour, cv2.FILLED, cv2.LINE_AA)
                cv2.circle(canvas, point, style.line + 1, _WHITE, cv2.FILLED, cv2.LINE_AA)


def draw_oriented(canvas: Image, oriented: NDArray[np.float32], labels: Sequence[str]) -> None:
    """Draw N x 7 oriented boxes (centre, size, angle, confidence, class) with their labels."""
    style = text_style(canvas.shape)
    drawable = oriented[np.argsort(oriented[:, 5], kind="stable")]
    corners = np.clip(corners_of(drawable), -_FAR, _FAR).round().astype(np.int32)
    for row, points in zip(drawable, corners, strict=True):
        colour = class_colour(int(row[6]))
        cv2.polylines(canvas, [points], True, colour, style.line, cv2.LINE_AA)
    for row, points in zip(drawable, corners, strict=True):
        class_id = int(row[6])
        text = f"{label_of(class_id, labels)} {float(row[5]):.2f}"
        highest = points[points[:, 1].argmin()]
        left = int(np.clip(highest[0], 0, canvas.shape[1] - 1))
        top = int(np.clip(highest[1], 0, canvas.shape[0] - 1))
        _draw_label(canvas, text, (left, top), class_colour(class_id), style)


def draw_classes(canvas: Image, classes: NDArray[np.float32], labels: Sequence[str]) -> None:
    """Write K x 2 classes of the whole picture (class, confidence) below each other."""
    style = text_style(canvas.shape)
    top = style.padding
    for class_id, confidence in classes.tolist():
        text = f"{label_of(int(class_id), labels)} {confidence:.2f}"
        (_, height), baseline = cv2.getTextSize(text, _FONT, style.scale, style.thickness)
        tab_height = height + baseline + style.padding
        corner = (style.padding, top + tab_height)
        _draw_label(canvas, text, corner, class_colour(int(class_id)), style)
        top += tab_height + style.padding


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
