"""Masks, key points, oriented boxes and classes as Foxglove's annotations of pictures.

https://docs.foxglove.dev/docs/visualization/message-schemas/image-annotations: Foxglove draws them
on the picture of the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.detections import (
    CLASSES,
    KEYPOINTS,
    LEAST_POINT_CONFIDENCE,
    MASKS,
    ORIENTED,
    SKELETONS,
    NoBoxesError,
    classes_of,
    corners_of,
    finding_of,
    keypoints_of,
    label_of,
    labels_of,
    masks_of,
    oriented_of,
    outlines_of,
)
from dora_rt.event import Event

from ..class_colours import class_colour

_FONT_PIXELS = 14.0
_THICKNESS = 2.0
_POINT_THICKNESS = 6.0
_FILL_SHARE = 0.4
_FIRST_LINE_PIXELS = 20.0
_BLACK = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 1.0}

Colour = Mapping[str, float]
Points = NDArray[np.floating] | NDArray[np.integer]


def annotates(source: str, event: Event) -> bool:
    """Return whether a sample of an output is one of these findings, by its name and its shape."""
    name = finding_of(source)
    if name is None:
        return False
    try:
        _READERS[name](event.value)
    except NoBoxesError:
        return False
    return True


def make_annotations(schema: Any, source: str, event: Event, wall_ns: int) -> bytes | None:
    """Return a finding as a message; None if the sample is none.

    Args:
        schema: the class ImageAnnotations.
        source: the output.
        event: its sample.
        wall_ns: what the clock of samples lacks to wall time.
    """
    name = finding_of(source)
    assert name is not None, "only outputs that `annotates` accepts come here"
    try:
        found = _READERS[name](event.value)
    except NoBoxesError:
        return None
    sheet = AnnotationSheet(schema(), event.origin_ns + wall_ns)
    _DRAWERS[name](sheet, found, labels_of(event.metadata))
    return bytes(sheet.message.SerializeToString())


class AnnotationSheet:
    """The annotations of one picture, as they grow.

    Attributes:
        message: an ImageAnnotations.
    """

    def __init__(self, message: Any, time_ns: int) -> None:
        """Begin without any, for a picture of wall time `time_ns`."""
        self.message = message
        self._time_ns = time_ns
        message.timestamp.FromNanoseconds(time_ns)

    def add_points(
        self,
        kind: str,
        points: Points,
        colour: Colour,
        *,
        thickness: float = _THICKNESS,
        fill: Colour | None = None,
    ) -> None:
        """Add P x 2 points, as LINE_LOOP, LINE_LIST or POINTS."""
        places = [{"x": x, "y": y} for x, y in points.astype(float).tolist()]
        look: dict[str, Any] = {"outline_color": colour, "thickness": thickness}
        if fill is not None:
            look["fill_color"] = fill
        added = self.message.points.add(type=kind, points=places, **look)
        added.timestamp.FromNanoseconds(self._time_ns)

    def add_text(self, text: str, place: tuple[float, float], colour: Colour) -> None:
        """Add a text whose lower left corner is at a place."""
        added = self.message.texts.add(
            text=text,
            position={"x": place[0], "y": place[1]},
            font_size=_FONT_PIXELS,
            text_color=_BLACK,
            background_color=colour,
        )
        added.timestamp.FromNanoseconds(self._time_ns)


def colour_of(number: int, share: float = 1.0) -> Colour:
    """Return the colour of a class for a message, the same as in the plot node."""
    blue, green, red = (part / 255 for part in class_colour(number))
    return {"r": red, "g": green, "b": blue, "a": share}


def _draw_masks(sheet: AnnotationSheet, masks: NDArray[Any], labels: Sequence[str]) -> None:
    # The classes of masks are in the boxes, which are another message: each has its own colour.
    del labels
    for number, outline in outlines_of(masks):
        fill = colour_of(number, _FILL_SHARE)
        sheet.add_points("LINE_LOOP", outline, colour_of(number), fill=fill)


def _draw_keypoints(
    sheet: AnnotationSheet, keypoints: NDArray[np.float32], labels: Sequence[str]
) -> None:
    del labels
    lines = SKELETONS.get(keypoints.shape[1], ())
    for number, points in enumerate(keypoints):
        colour = colour_of(number)
        is_seen = points[:, 2] >= LEAST_POINT_CONFIDENCE
        ends = [
            points[at, :2]
            for first, second in lines
            if is_seen[first] and is_seen[second]
            for at in (first, second)
        ]
        if ends:
            sheet.add_points("LINE_LIST", np.array(ends), colour)
        if is_seen.any():
            seen = points[is_seen, :2]
            sheet.add_points("POINTS", seen, colour, thickness=_POINT_THICKNESS)


def _draw_oriented(
    sheet: AnnotationSheet, oriented: NDArray[np.float32], labels: Sequence[str]
) -> None:
    for row, corners in zip(oriented.tolist(), corners_of(oriented), strict=True):
        number = int(row[6])
        sheet.add_points("LINE_LOOP", corners, colour_of(number))
        x, y = corners[corners[:, 1].argmin()].tolist()
        sheet.add_text(f"{label_of(number, labels)} {row[5]:.2f}", (x, y), colour_of(number))


def _draw_classes(
    sheet: AnnotationSheet, classes: NDArray[np.float32], labels: Sequence[str]
) -> None:
    for line, (number, confidence) in enumerate(classes.tolist(), start=1):
        text = f"{label_of(int(number), labels)} {confidence:.2f}"
        sheet.add_text(text, (4.0, line * _FIRST_LINE_PIXELS), colour_of(int(number)))


_READERS: Mapping[str, Callable[[Any], NDArray[Any]]] = {
    MASKS: masks_of,
    KEYPOINTS: keypoints_of,
    ORIENTED: oriented_of,
    CLASSES: classes_of,
}
_DRAWERS: Mapping[str, Callable[[AnnotationSheet, NDArray[Any], Sequence[str]], None]] = {
    MASKS: _draw_masks,
    KEYPOINTS: _draw_keypoints,
    ORIENTED: _draw_oriented,
    CLASSES: _draw_classes,
}
