"""The layouts in which networks write what they find, and the picture that each wants."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .letterbox import Fit, Normalisation

STRIDES = (8, 16, 32)
STRIDES_P6 = (8, 16, 32, 64)
"""YOLOv5, v6 and v7 for pictures of 1280 (P6) have one grid more."""

_OTHER_STRIDES = ((4, 8, 16, 32), (16, 32))
_ANCHORS_PER_CELL = 3


class Task(Enum):
    """What a network finds; the value is the word that ultralytics writes into its files."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    ORIENTED = "obb"
    CLASSIFY = "classify"


class Layout(Enum):
    """The layout of a network's output; the value is the word for `--layout`.

    Sources: YOLOX yolox/utils/demo_utils.py (`demo_postprocess`) of
    https://github.com/Megvii-BaseDetection/YOLOX; YOLOv5 models/yolo.py (`Detect.forward`) of
    https://github.com/ultralytics/yolov5; YOLOv6 yolov6/models/effidehead.py of
    https://github.com/meituan/YOLOv6; YOLOv7 models/experimental.py (`ONNX_ORT`) of
    https://github.com/WongKinYiu/yolov7; YOLOv8 to YOLO26 and RT-DETR
    ultralytics/nn/modules/head.py of https://github.com/ultralytics/ultralytics; D-FINE
    tools/deployment/export_onnx.py of https://github.com/Peterande/D-FINE.
    """

    YOLOX = "yolox"
    YOLOX_DECODED = "yolox-decoded"
    YOLOV5 = "yolov5"
    YOLOV6 = "yolov6"
    YOLOV8 = "yolov8"
    END_TO_END = "end-to-end"
    END_TO_END_CENTRES = "end-to-end-centres"
    END_TO_END_CLASS_FIRST = "end-to-end-class-first"
    YOLOV7_END_TO_END = "yolov7-end-to-end"
    RTDETR = "rtdetr"
    DFINE = "dfine"
    RTDETR_LOGITS = "rtdetr-logits"
    CLASSIFY = "classify"
    CLASSIFY_IMAGENET = "classify-imagenet"

    @property
    def title(self) -> str:
        """The families of networks that have this layout."""
        return _TITLES[self]

    @property
    def has_objectness(self) -> bool:
        """Whether a number before the classes says how sure it is that there is anything."""
        return self in (Layout.YOLOX, Layout.YOLOX_DECODED, Layout.YOLOV5, Layout.YOLOV6)

    @property
    def is_end_to_end(self) -> bool:
        """Whether a row is a box with one confidence and the number of its class."""
        return self in _END_TO_END_COLUMNS

    @property
    def columns(self) -> tuple[int, int, int]:
        """The column of the first of 4 numbers of the box, of its confidence, of its class."""
        return _END_TO_END_COLUMNS[self]

    @property
    def has_corners(self) -> bool:
        """Whether a box is two corners; else it is a centre, a width and a height."""
        return (
            self is Layout.DFINE or self.is_end_to_end
        ) and self is not Layout.END_TO_END_CENTRES

    @property
    def needs_suppression(self) -> bool:
        """Whether one object may come out as several boxes."""
        return self.has_objectness or self is Layout.YOLOV8

    @property
    def is_rgb(self) -> bool:
        """Whether the network wants RGB; YOLOX wants BGR, as OpenCV reads it."""
        return self not in (Layout.YOLOX, Layout.YOLOX_DECODED)

    @property
    def scale(self) -> float:
        """The factor for pixels of 0 to 255: YOLOX takes them as they are, others 0 to 1."""
        return 1 / 255 if self.is_rgb else 1.0

    @property
    def fit(self) -> Fit:
        """How a picture is brought to the size of the input."""
        if self in (Layout.CLASSIFY, Layout.CLASSIFY_IMAGENET):
            return Fit.CENTRE
        if self in (Layout.RTDETR, Layout.DFINE, Layout.RTDETR_LOGITS):
            return Fit.STRETCH
        return Fit.LETTERBOX

    @property
    def normalisation(self) -> Normalisation | None:
        """The means and deviations of the colours, where the network was trained with them."""
        return Normalisation.IMAGENET if self is Layout.CLASSIFY_IMAGENET else None


_TITLES = {
    Layout.YOLOX: "YOLOX",
    Layout.YOLOX_DECODED: "YOLOX (decoded)",
    Layout.YOLOV5: "YOLOv5/YOLOv7",
    Layout.YOLOV6: "YOLOv6",
    Layout.YOLOV8: "YOLOv8/YOLO11",
    Layout.END_TO_END: "end-to-end (YOLOv10, YOLO26)",
    Layout.END_TO_END_CENTRES: "end-to-end (centres and sizes)",
    Layout.END_TO_END_CLASS_FIRST: "end-to-end (the class before the confidence)",
    Layout.YOLOV7_END_TO_END: "YOLOv7 end-to-end",
    Layout.RTDETR: "RT-DETR",
    Layout.DFINE: "D-FINE/RT-DETR (labels, boxes, scores)",
    Layout.RTDETR_LOGITS: "RT-DETR/D-FINE (logits, pred_boxes)",
    Layout.CLASSIFY: "classification",
    Layout.CLASSIFY_IMAGENET: "classification (ImageNet colours)",
}
_END_TO_END_COLUMNS = {
    Layout.END_TO_END: (0, 4, 5),
    Layout.END_TO_END_CENTRES: (0, 4, 5),
    Layout.END_TO_END_CLASS_FIRST: (0, 5, 4),
    Layout.YOLOV7_END_TO_END: (1, 6, 5),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand the outputs of a network.

    Attributes:
        layout: how boxes are written.
        task: what is found.
        class_count: number of classes; None where the output does not show it (end-to-end).
        extra_count: numbers of each box beyond box and classes: of its mask, key points, angle.
        keypoint_shape: how many key points, and how many numbers each has (2 or 3).
        is_transposed: whether boxes are columns; usual for YOLOv8, unusual for others.
        are_fractions: whether boxes are in fractions of the input and not in its pixels.
        output: the number of the output with the boxes.
        prototypes: the number of the output that masks are made of.
        is_guess: whether only the values can show that the extra numbers are what they are.
    """

    layout: Layout
    task: Task = Task.DETECT
    class_count: int | None = None
    extra_count: int = 0
    keypoint_shape: tuple[int, int] = (0, 0)
    is_transposed: bool = False
    are_fractions: bool = False
    output: int = 0
    prototypes: int | None = None
    is_guess: bool = False

    def __str__(self) -> str:
        """Say what it is for the log."""
        parts = [self.layout.title]
        if self.task not in (Task.DETECT, Task.CLASSIFY):
            parts.append(_TASK_TITLES[self.task])
        if self.are_fractions and self.layout is not Layout.RTDETR:
            parts.append("in fractions of the picture")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a network, and the size of the input that they are for.

    Attributes:
        names: of the outputs.
        shapes: of the outputs, in the same order.
        height: of the input, in pixels.
        width: of the input, in pixels.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    height: int
    width: int

    @property
    def prototypes(self) -> int | None:
        """The number of the output that masks are made of; None without one."""
        if len(self.shapes[0]) == 4:
            return None
        # They have a quarter of the input's sides; the raw heads that some exports leave in the
        # file have an eighth at most.
        maps = [
            (shape[2] * shape[3], -at)
            for at, shape in enumerate(self.shapes)
            if len(shape) == 4 and 4 * shape[2] >= self.height and 4 * shape[3] >= self.width
        ]
        return -max(maps)[1] if maps else None


_TASK_TITLES = {
    Task.SEGMENT: "with masks",
    Task.POSE: "with key points",
    Task.ORIENTED: "oriented boxes",
}


def count_cells(height: int, width: int, strides: tuple[int, ...] = STRIDES) -> int:
    """Count the grid cells of an input of this size, over all strides."""
    return sum((height // stride) * (width // stride) for stride in strides)


def cell_counts(height: int, width: int) -> set[int]:
    """Return the numbers of cells that networks without anchors have for an input."""
    return {
        count_cells(height, width, strides) for strides in (STRIDES, STRIDES_P6, *_OTHER_STRIDES)
    }


def anchor_counts(height: int, width: int) -> set[int]:
    """Return the numbers of boxes that networks with three anchors a cell have for an input."""
    return {_ANCHORS_PER_CELL * count for count in cell_counts(height, width)}


def make_grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return column and row (cells x 2) and stride (cells x 1) of each cell, row by row."""
    grids = []
    strides = []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        grids.append(np.stack((x, y), axis=2).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return (
        np.concatenate(grids).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )
