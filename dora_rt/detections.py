"""What was found on pictures, as all nodes and tools read it: boxes, masks, key points, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError
from dora_rt.picture import described
from dora_rt.terminal import harmless

Boxes = NDArray[np.float32]

BOX_COLUMNS = 6
"""x1, y1, x2, y2 in pixels of the picture, confidence, class."""

_EXPECTED = "expected N x 6 float32: x1, y1, x2, y2, confidence, class"
_MOST_CLASSES = 2**31
_LONGEST_LABEL = 200


class NoBoxesError(DoraRtError, ValueError):
    """A sample holds no boxes; the next one may."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found on one picture: boxes, and what models find beyond them.

    Attributes:
        boxes: N x 6 float32.
        labels: the names of the classes.
        size: width and height of that picture; None if the sender does not say.
        picture_seq: the number of that picture at its sender; None if the sender does not say.
        masks: H x W: 0, or the number of the row in `boxes` plus 1; None: nobody sends any.
        keypoints: N x K x 3 float32; None as above.
        oriented: N x 7 float32; None as above.
        classes: K x 2 float32, of the whole picture; None as above.
        ids: the id of the object of each box, as a tracker gives it; empty if there are none.
    """

    boxes: Boxes
    labels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    picture_seq: int | None = None
    masks: NDArray[Any] | None = None
    keypoints: NDArray[np.float32] | None = None
    oriented: NDArray[np.float32] | None = None
    classes: NDArray[np.float32] | None = None
    ids: tuple[int, ...] = ()

    def are_of(self, width: int, height: int) -> bool:
        """Whether they may have been found on a picture of this size."""
        if self.masks is not None and self.masks.size and self.masks.shape != (height, width):
            return False
        return self.size is None or self.is_empty or self.size == (width, height)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        parts = (self.boxes, self.masks, self.keypoints, self.oriented, self.classes)
        return not any(part is not None and part.size for part in parts)

    def class_numbers(self) -> list[int]:
        """Return the class of each object; of the whole picture if there are only such classes."""
        if self.oriented is not None and not len(self.boxes):
            return [int(number) for number in self.oriented[:, 6]]
        if self.classes is not None and not len(self.boxes):
            return [int(number) for number in self.classes[:1, 0]]
        return [int(number) for number in self.boxes[:, 5]]


def read_detections(value: Any, metadata: Mapping[str, Any]) -> Detections:
    """Return the boxes of a sample with what its metadata say about them.

    Args:
        value: as `boxes_of` takes it.
        metadata: of the sample: `labels`, `width` and `height` of the picture in pixels, its `seq`,
            and `ids`; each may be missing.

    Raises:
        NoBoxesError: it has none.
    """
    return _detections(boxes_of(value), metadata)


def read_found(name: str, value: Any, metadata: Mapping[str, Any]) -> Detections:
    """Return what models find beyond boxes, with what its metadata say about it.

    Args:
        name: one of FINDINGS, as which the sample is read; any other is read as boxes.
        value: of the sample.
        metadata: of the sample.

    Raises:
        NoBoxesError: it is something else.
    """
    found = _detections(np.empty((0, BOX_COLUMNS), np.float32), metadata)
    match name:
        case "masks":
            return replace(found, masks=masks_of(value))
        case "keypoints":
            return replace(found, keypoints=keypoints_of(value))
        case "oriented":
            return replace(found, oriented=oriented_of(value))
        case "classes":
            return replace(found, classes=classes_of(value))
        case _:
            return read_detections(value, metadata)


def put_together(parts: Sequence[Detections]) -> Detections:
    """Return as one what several inputs have brought for one picture; at least one part."""
    whole = parts[0]
    for part in parts[1:]:
        whole = Detections(
            part.boxes if len(part.boxes) else whole.boxes,
            whole.labels or part.labels,
            whole.size or part.size,
            whole.picture_seq if whole.picture_seq is not None else part.picture_seq,
            whole.masks if part.masks is None else part.masks,
            whole.keypoints if part.keypoints is None else part.keypoints,
            whole.oriented if part.oriented is None else part.oriented,
            whole.classes if part.classes is None else part.classes,
            part.ids if len(part.boxes) else whole.ids,
        )
    return whole


def _detections(boxes: Boxes, metadata: Mapping[str, Any]) -> Detections:
    width, height, seq = (metadata.get(name) for name in ("width", "height", "seq"))
    size = None
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        size = width, height
    picture_seq = seq if isinstance(seq, int) else None
    ids = ids_of(metadata, len(boxes))
    return Detections(boxes, labels_of(metadata), size, picture_seq, ids=ids)


def boxes_of(value: Any) -> Boxes:
    """Return the boxes of a sample as a copy, N x 6 float32; what is not finite is left out.

    Args:
        value: an array of real numbers: N x 6, or flat, as dora sends it, N * 6; or the bytes of
            such an array of float32.

    Raises:
        NoBoxesError: it has another shape or type: the shape decides, and not the size.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = np.frombuffer(value, np.uint8)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise NoBoxesError(f"{described(value)} are no boxes; {_EXPECTED}")
    numbers = value
    if value.ndim == 1 and value.dtype == np.uint8:
        if value.size % (4 * BOX_COLUMNS):
            raise NoBoxesError(f"{value.size} bytes are no boxes; {_EXPECTED}")
        numbers = np.frombuffer(value.tobytes(), np.float32)
    is_table = numbers.ndim == 2 and numbers.shape[1] == BOX_COLUMNS
    is_flat = numbers.ndim == 1 and numbers.size % BOX_COLUMNS == 0
    if not is_table and not is_flat:
        raise NoBoxesError(f"{described(numbers)} are no boxes; {_EXPECTED}")
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = numbers.reshape(-1, BOX_COLUMNS).astype(np.float32)
    # What is no number, or no number of a class, can be neither drawn nor counted.
    is_usable = np.isfinite(boxes).all(axis=1) & (np.abs(boxes[:, 5]) < _MOST_CLASSES)
    return boxes[is_usable]


def ids_of(metadata: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """Return the ids of the objects of `count` boxes; none unless each box has one."""
    ids = metadata.get("ids")
    if not isinstance(ids, (list, tuple)) or len(ids) != count:
        return ()
    return tuple(ids) if all(isinstance(one, int) for one in ids) else ()


def numbered(label: str, ids: Sequence[int], index: int) -> str:
    """Return the label of a box with the id of its object, if it has one: `person #3`."""
    return f"{label} #{ids[index]}" if ids else label


def labels_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in a sample's metadata; none if there are none."""
    labels = metadata.get("labels")
    return tuple(map(plain_label, labels)) if isinstance(labels, (list, tuple)) else ()


def label_of(class_id: int, labels: Sequence[str]) -> str:
    """Return the name of a class; `class 7` where the sender has no name for it."""
    return labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"


def plain_label(label: Any) -> str:
    """Return the name of a class as one line of text that can be drawn, printed and sent.

    Half a character of UTF-16, as JSON may have it, ends OpenCV's process.
    """
    text = str(label)
    if not text.isprintable():
        text = " ".join(harmless(text, has_colours=False).split())
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 3]}..."


# What models find beyond boxes: see docs/own-model.md.

MASKS, KEYPOINTS, ORIENTED, CLASSES = "masks", "keypoints", "oriented", "classes"
FINDINGS = (MASKS, KEYPOINTS, ORIENTED, CLASSES)
"""The names of the outputs for them; an output that ends in one, in its shape, is taken for it."""

ORIENTED_COLUMNS = 7
"""Centre x and y, width, height, angle in radians, confidence, class."""

SKELETONS: Mapping[int, tuple[tuple[int, int], ...]] = {
    17: (
        *((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # nose, eyes, ears, shoulders
        *((5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),  # arms
        *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),  # legs
    ),
}
"""By the number of key points, which of them are joined: the 17 of COCO are a person's."""

LEAST_POINT_CONFIDENCE = 0.3
"""Key points of less are not drawn: they are hidden, or outside of the picture."""

_OUTLINE_PIXELS = 1.0
_MOST_OUTLINES = 100


def finding_of(name: str) -> str | None:
    """Return what an output or input of this name is for: one of FINDINGS, or None."""
    last = name.rpartition("/")[2]
    return last if last in FINDINGS else None


def masks_of(value: Any) -> NDArray[Any]:
    """Return masks: H x W, 0 or the number of the box plus 1.

    Raises:
        NoBoxesError: it has another shape or type.
    """
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.char not in "BH":
        raise NoBoxesError(f"{described(value)} are no masks; expected H x W uint8 or uint16")
    return value


def keypoints_of(value: Any) -> NDArray[np.float32]:
    """Return key points as a copy, N x K x 3: x, y, confidence, which is 0 of what is not finite.

    Raises:
        NoBoxesError: it has another shape or type.
    """
    is_right = (
        isinstance(value, np.ndarray)
        and value.ndim == 3
        and value.shape[2] in (2, 3)
        and value.dtype.kind == "f"
    )
    if not is_right:
        raise NoBoxesError(
            f"{described(value)} are no key points; expected N x K x 3 float32: x, y, confidence"
        )
    points = np.ones((*value.shape[:2], 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        points[:, :, : value.shape[2]] = value
    points[~np.isfinite(points).all(axis=2)] = 0
    return points


def oriented_of(value: Any) -> NDArray[np.float32]:
    """Return oriented boxes as a copy, N x 7; what is not finite is left out.

    Raises:
        NoBoxesError: it has another shape or type.
    """
    rows = _table(value, ORIENTED_COLUMNS)
    if rows is None:
        raise NoBoxesError(
            f"{described(value)} are no oriented boxes; expected N x 7 float32: cx, cy, width, "
            "height, angle in radians, confidence, class"
        )
    return rows[np.isfinite(rows).all(axis=1) & (np.abs(rows[:, 6]) < _MOST_CLASSES)]


def classes_of(value: Any) -> NDArray[np.float32]:
    """Return the classes of a picture as a copy, K x 2: class, confidence, the best first.

    Raises:
        NoBoxesError: it has another shape or type.
    """
    rows = _table(value, 2)
    if rows is None:
        raise NoBoxesError(
            f"{described(value)} are no classes; expected K x 2 float32: class, confidence"
        )
    return rows[np.isfinite(rows).all(axis=1) & (np.abs(rows[:, 0]) < _MOST_CLASSES)]


def corners_of(oriented: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the corners of N x 7 oriented boxes as N x 4 x 2, each in the order of the angle."""
    angles = oriented[:, 4]
    along = np.stack((np.cos(angles), np.sin(angles)), axis=1) * oriented[:, 2:3] / 2
    across = np.stack((-np.sin(angles), np.cos(angles)), axis=1) * oriented[:, 3:4] / 2
    centres = oriented[:, :2]
    corners = (-along - across, along - across, along + across, across - along)
    return np.stack([centres + corner for corner in corners], axis=1).astype(np.float32)


def outlines_of(masks: NDArray[Any]) -> list[tuple[int, NDArray[np.int32]]]:
    """Return the outlines of masks: the number of the box (from 0), and P x 2 points in order.

    A mask of several parts has several outlines; they are true to a pixel.

    Args:
        masks: H x W, as `masks_of` returns them.
    """
    import cv2

    outlines: list[tuple[int, NDArray[np.int32]]] = []
    for value in np.unique(masks)[: _MOST_OUTLINES + 1]:
        if value == 0:
            continue
        part = (masks == value).astype(np.uint8)
        found, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in found:
            points = cv2.approxPolyDP(contour, _OUTLINE_PIXELS, True).reshape(-1, 2)
            if len(points) > 2:
                outlines.append((int(value) - 1, points.astype(np.int32)))
    return outlines


def _table(value: Any, columns: int) -> NDArray[np.float32] | None:
    """Return N x `columns` numbers, also where they came flat; None if they have another shape."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return None
    is_table = value.ndim == 2 and value.shape[1] == columns
    is_flat = value.ndim == 1 and value.size % columns == 0
    if not is_table and not is_flat:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return value.reshape(-1, columns).astype(np.float32)
