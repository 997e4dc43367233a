"""Find the ways in which the outputs of a network can be understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .box_layout import (
    STRIDES,
    Layout,
    Outputs,
    Reading,
    Task,
    anchor_counts,
    cell_counts,
    count_cells,
)
from .model_notes import ModelNotes
from .refused_layouts import certain_refusal, has_same_rows

_COCO_CLASSES = 80
_BOX_NUMBERS = 4
_END_TO_END_NUMBERS = 6
_LEAST_QUERIES = 100  # of RT-DETR, which has 300
_TRIPLE = ("labels", "boxes", "scores")
_LOGITS = ("logits", "pred_boxes")
_CLASSIFIERS = (Layout.CLASSIFY, Layout.CLASSIFY_IMAGENET)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user says: `--layout`, `--task`, how many `--labels`; None where nothing."""

    layout: Layout | None = None
    task: Task | None = None
    class_count: int | None = None


def possible_readings(outputs: Outputs, notes: ModelNotes, wish: Wish) -> list[Reading]:
    """Return all ways that shapes, names and notes allow, the likeliest first."""
    task = wish.task or notes.task
    names = wish.class_count if wish.class_count is not None else len(notes.names)
    if task is Task.CLASSIFY or wish.layout in _CLASSIFIERS:
        return list(_classifiers(outputs, wish))
    if set(_TRIPLE) <= set(outputs.names):
        found = list(_named(outputs, Layout.DFINE, _TRIPLE, names))
    elif set(_LOGITS) <= set(outputs.names):
        # DETR writes the same and wants other colours, so that it takes a word of somebody.
        is_told = notes.is_rtdetr or wish.layout is Layout.RTDETR_LOGITS
        found = list(_named(outputs, Layout.RTDETR_LOGITS, _LOGITS, names)) if is_told else []
    elif wish.layout is None and certain_refusal(outputs) is not None:
        return []
    else:
        found = list(_by_shape(outputs, notes, task, names, wish.layout))
    if wish.layout is not None:
        found = [reading for reading in found if reading.layout is wish.layout]
    elif notes.is_rtdetr:
        family = (Layout.RTDETR, Layout.DFINE, Layout.RTDETR_LOGITS)
        found = [reading for reading in found if reading.layout in family] or found
    elif notes.is_end_to_end:
        found = [reading for reading in found if reading.layout.is_end_to_end] or found
    if names:
        found = _prefer_named(found, names)
    has_pixels = [reading for reading in found if _can_be_fractions(reading)]
    return found + [replace(reading, are_fractions=True) for reading in has_pixels]


def _can_be_fractions(reading: Reading) -> bool:
    return not (reading.layout is Layout.YOLOX or reading.are_fractions or reading.is_guess)


def _prefer_named(found: list[Reading], names: int) -> list[Reading]:
    """Keep the readings that have as many classes as there are names, if there are any."""
    exact = [reading for reading in found if reading.class_count in (names, None)]
    # Those that leave nothing unread come first; the sort is stable.
    exact.sort(key=lambda reading: reading.extra_count > 0)
    if all(reading.is_guess for reading in exact):
        # If the values are against the guesses, the number of names was the mistake.
        return exact + [reading for reading in found if reading not in exact]
    return exact


def _classifiers(outputs: Outputs, wish: Wish) -> Iterator[Reading]:
    shape = outputs.shapes[0]
    if len(shape) >= 2 and shape[1] >= 2 and set(shape[2:]) <= {1}:
        layout = wish.layout or Layout.CLASSIFY
        yield Reading(layout, Task.CLASSIFY, class_count=shape[1])


def _named(
    outputs: Outputs, layout: Layout, wanted: tuple[str, ...], names: int
) -> Iterator[Reading]:
    shapes = dict(zip(outputs.names, outputs.shapes, strict=True))
    boxes = shapes[wanted[1]]
    # With two dimensions they are those of torchvision's Faster R-CNN and SSD.
    are_alike = layout is not Layout.DFINE or has_same_rows(shapes)
    if len(boxes) == 3 and boxes[2] == _BOX_NUMBERS and are_alike:
        is_logits = layout is Layout.RTDETR_LOGITS
        count = shapes[_LOGITS[0]][2] if is_logits else names or None
        yield Reading(layout, class_count=count, are_fractions=is_logits)


def _by_shape(
    outputs: Outputs, notes: ModelNotes, task: Task | None, names: int, wished: Layout | None
) -> Iterator[Reading]:
    shape = outputs.shapes[0]
    if len(shape) == 2 and shape[1] == 7:
        yield Reading(Layout.YOLOV7_END_TO_END)
    if len(shape) != 3:
        return
    numbers = _Numbers(notes, task, names, outputs, may_ignore=names == len(notes.names))
    rows, columns = shape[1:]
    cells = cell_counts(outputs.height, outputs.width)
    anchors = anchor_counts(outputs.height, outputs.width)
    # A wish frees from the count of cells, but not from which side is the longer one.
    is_tall = rows in cells | anchors or (wished is not None and rows > columns)
    has_grid = columns in cells | anchors
    if is_tall:
        yield from _tall(rows, columns, cells, anchors, numbers, wished)
    if (has_grid or columns > rows) and not is_tall and rows > _BOX_NUMBERS:
        yield from _wide(rows, columns, cells, anchors, numbers, wished)
    if wished is not None or not (is_tall or has_grid):
        yield from _end_to_end(rows, columns, numbers)


def _tall(
    rows: int,
    columns: int,
    cells: set[int],
    anchors: set[int],
    numbers: _Numbers,
    wished: Layout | None,
) -> Iterator[Reading]:
    """Boxes are rows, one for each cell or anchor."""
    outputs = numbers.outputs
    if rows in anchors or wished is Layout.YOLOV5:
        yield from numbers.readings(Layout.YOLOV5, columns - 5)
    if rows not in cells and wished in (None, Layout.YOLOV5):
        return
    columns_first = list(numbers.readings(Layout.YOLOV8, columns - 4, is_transposed=True))
    if not numbers.names and columns == _BOX_NUMBERS + _COCO_CLASSES:
        yield from columns_first
    if rows == count_cells(outputs.height, outputs.width, STRIDES):
        yield from numbers.readings(Layout.YOLOX, columns - 5)
    yield from numbers.readings(Layout.YOLOX_DECODED, columns - 5)
    yield from numbers.readings(Layout.YOLOV6, columns - 5)
    yield from columns_first


def _wide(
    rows: int,
    columns: int,
    cells: set[int],
    anchors: set[int],
    numbers: _Numbers,
    wished: Layout | None,
) -> Iterator[Reading]:
    """Boxes are columns, as YOLOv8 has them."""
    if columns in anchors - cells or wished is Layout.YOLOV5:
        yield from numbers.readings(Layout.YOLOV5, rows - 5, is_transposed=True)
        return
    output = 0
    shapes = numbers.outputs.shapes
    if len(shapes) > 1 and shapes[1] == shapes[0]:
        # YOLOv9 with its auxiliary head: the main one is the second.
        output = 1
    yield from numbers.readings(Layout.YOLOV8, rows - 4, output=output)
    # Nobody is known to export these: only a word of the file or of the user is enough.
    if wished is not None or (columns in cells and numbers.names and numbers.may_ignore):
        yield from numbers.readings(Layout.YOLOX_DECODED, rows - 5, is_transposed=True)
        yield from numbers.readings(Layout.YOLOV6, rows - 5, is_transposed=True)


def _end_to_end(rows: int, columns: int, numbers: _Numbers) -> Iterator[Reading]:
    """Few rows of ready boxes: with one class each, or with a score for each class."""
    rtdetr = Reading(Layout.RTDETR, class_count=columns - _BOX_NUMBERS, are_fractions=True)
    extra = columns - _END_TO_END_NUMBERS
    if extra == 0 and numbers.task in (None, Task.DETECT):
        yield Reading(Layout.END_TO_END)
        yield Reading(Layout.END_TO_END_CLASS_FIRST)
        yield Reading(Layout.END_TO_END_CENTRES)
        # Before RT-DETR, whose second class never has only the scores 0 and 1.
        yield Reading(Layout.END_TO_END, are_fractions=True)
    elif extra > 0:
        for reading in numbers.readings(Layout.END_TO_END, extra, has_classes=False):
            if reading.task is not Task.DETECT:
                yield replace(reading, class_count=None)
    if columns == 7 and numbers.task in (None, Task.DETECT):
        yield Reading(Layout.YOLOV7_END_TO_END)
    if columns > _BOX_NUMBERS and rows >= _LEAST_QUERIES and numbers.task in (None, Task.DETECT):
        yield rtdetr


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Divides the numbers behind a box into classes and the rest."""

    notes: ModelNotes
    task: Task | None
    names: int
    outputs: Outputs
    may_ignore: bool

    def readings(
        self,
        layout: Layout,
        count: int,
        *,
        is_transposed: bool = False,
        output: int = 0,
        has_classes: bool = True,
    ) -> Iterator[Reading]:
        """Give the readings of `count` numbers, without any classes if `has_classes` is False."""
        least = 1 if has_classes else 0
        if count < least:
            return
        base = Reading(layout, is_transposed=is_transposed, output=output)
        task = self.task
        if task is None and self.outputs.prototypes is not None:
            task = Task.SEGMENT
        divide: dict[Task | None, Callable[[int, int], Iterator[Reading]]] = {
            Task.DETECT: self._detect,
            Task.SEGMENT: self._segment,
            Task.POSE: self._pose,
            Task.ORIENTED: self._oriented,
            None: self._any,
        }
        for reading in divide[task](count, least):
            yield replace(
                reading,
                layout=base.layout,
                is_transposed=base.is_transposed,
                output=base.output,
            )

    @staticmethod
    def _leaves_classes(rest: int, least: int) -> bool:
        return rest >= 1 if least else rest == 0

    def _detect(self, count: int, least: int) -> Iterator[Reading]:
        # Only the file itself may name fewer classes than there are numbers: a list of the user's
        # that is too short is rather a wrong one.
        is_short = least and 0 < self.names < count and self.may_ignore
        classes = self.names if is_short else count
        yield Reading(Layout.YOLOV8, class_count=classes, extra_count=count - classes)

    def _segment(self, count: int, least: int) -> Iterator[Reading]:
        at = self.outputs.prototypes
        if at is None:
            yield from self._detect(count, least)
            return
        masks = self.outputs.shapes[at][1]
        if self._leaves_classes(count - masks, least):
            yield Reading(
                Layout.YOLOV8,
                Task.SEGMENT,
                class_count=count - masks,
                extra_count=masks,
                prototypes=at,
            )

    def _pose(self, count: int, least: int) -> Iterator[Reading]:
        shape = self.notes.keypoint_shape
        if shape != (0, 0):
            shapes: Sequence[tuple[int, int]] = [shape]
        else:
            rest = count - (self.names or 1) * least
            shapes = [(rest // each, each) for each in (3, 2) if rest > 0 and rest % each == 0]
        for points, each in shapes:
            if each in (2, 3) and self._leaves_classes(count - points * each, least):
                yield Reading(
                    Layout.YOLOV8,
                    Task.POSE,
                    class_count=count - points * each,
                    extra_count=points * each,
                    keypoint_shape=(points, each),
                )

    def _oriented(self, count: int, least: int) -> Iterator[Reading]:
        if self._leaves_classes(count - 1, least):
            yield Reading(Layout.YOLOV8, Task.ORIENTED, class_count=count - 1, extra_count=1)

    def _any(self, count: int, least: int) -> Iterator[Reading]:
        """Give all tasks: the number of names decides, or else the values will."""
        rest = count - (self.names or 1) * least
        points = [replace(one, is_guess=bool(least)) for one in self._pose(count, least)]
        oriented = [replace(one, is_guess=bool(least)) for one in self._oriented(count, least)]
        if self.names or not least:
            yield from (one for one in oriented if rest == 1)
            yield from (one for one in points if one.keypoint_shape[1] == 3)
        if least:
            yield from self._detect(count, least)
        if least and not self.names:
            yield from points
            yield from oriented
