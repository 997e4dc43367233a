"""Output layouts of the YOLO families: recognised, and turned into candidate boxes.

Sources: YOLOX demo/ONNXRuntime and yolox/utils/demo_utils.py (`demo_postprocess`) of
https://github.com/Megvii-BaseDetection/YOLOX; YOLOv5 models/yolo.py (`Detect.forward`) of
https://github.com/ultralytics/yolov5; YOLOv8, YOLO11 and the end-to-end heads of YOLOv10 and
YOLO26: ultralytics/nn/modules/head.py of https://github.com/ultralytics/ultralytics.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .boxes import no_boxes
from .errors import ModelError

STRIDES = (8, 16, 32)
_ANCHORS_PER_CELL = 3


class Layout(Enum):
    """The layout of a network's boxes, and the picture format that goes with it."""

    YOLOX = "YOLOX"
    YOLOV5 = "YOLOv5"
    YOLOV8 = "YOLOv8/YOLO11"
    END_TO_END = "end-to-end (YOLOv10, YOLO26)"

    @property
    def is_rgb(self) -> bool:
        """Whether the network wants RGB; YOLOX wants BGR, as OpenCV reads it."""
        return self is not Layout.YOLOX

    @property
    def scale(self) -> float:
        """The factor for pixels of 0 to 255: YOLOX takes them as they are, others 0 to 1."""
        return 1.0 if self is Layout.YOLOX else 1 / 255

    @property
    def needs_suppression(self) -> bool:
        """Whether one object may come out as several boxes."""
        return self is not Layout.END_TO_END


def count_cells(height: int, width: int) -> int:
    """Count the grid cells of an input of this size, over all strides."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def find_layout(output_shape: tuple[int, ...], height: int, width: int) -> Layout:
    """Return the layout that fits the shape of the output and the size of the input.

    Raises:
        ModelError: the shape belongs to none of them; the message lists what does.
    """
    cells = count_cells(height, width)
    if len(output_shape) == 3 and output_shape[0] == 1:
        _, rows, columns = output_shape
        # A YOLOX or YOLOv5 with one class has 6 columns, like the end-to-end layout, but its
        # number of rows gives it away: so these two come first.
        if rows == cells and columns >= 6:
            return Layout.YOLOX
        if rows == _ANCHORS_PER_CELL * cells and columns >= 6:
            return Layout.YOLOV5
        if columns == 6:
            return Layout.END_TO_END
        if 5 <= rows < columns:
            return Layout.YOLOV8
    raise ModelError(
        f"the output's shape {list(output_shape)} belongs to no supported layout; for an input of"
        f" {width} x {height} and C classes these are [1, {cells}, 5+C] (YOLOX, not decoded),"
        f" [1, {_ANCHORS_PER_CELL * cells}, 5+C] (YOLOv5), [1, 4+C, N] (YOLOv8, YOLO11) and"
        " [1, N, 6] (end-to-end: YOLOv10, YOLO26); export the model as one of them"
    )


@dataclass(frozen=True, slots=True)
class Decoder:
    """Read candidates out of raw outputs of one layout.

    Attributes:
        layout: how the network writes its boxes.
        class_count: number of classes; None where the output does not show it (end-to-end).
        grid: cells x 2, column and row of each cell; only YOLOX needs it.
        strides: cells x 1, pixels of the input per cell; only YOLOX needs it.
    """

    layout: Layout
    class_count: int | None
    grid: NDArray[np.float32]
    strides: NDArray[np.float32]

    @classmethod
    def create(
        cls, output_shape: tuple[int, ...], height: int, width: int, *, named_classes: int = 0
    ) -> Decoder:
        """Make the decoder for a network.

        Args:
            output_shape: of one raw output.
            height: of the network's input, in pixels.
            width: of the network's input, in pixels.
            named_classes: how many class names the file lists, 0 if it lists none. Columns beyond
                them are no classes (masks of segmentation, key points of pose) and are ignored.

        Raises:
            ModelError: the layout is not supported.
        """
        layout = find_layout(output_shape, height, width)
        class_count: int | None = None
        if layout is not Layout.END_TO_END:
            columns = output_shape[1] - 4 if layout is Layout.YOLOV8 else output_shape[2] - 5
            class_count = named_classes if 0 < named_classes < columns else columns
        grid, strides = _make_grid(height, width)
        return cls(layout, class_count, grid, strides)

    def candidates(self, raw: NDArray[np.floating], confidence: float) -> NDArray[np.float32]:
        """Return the boxes of a raw output at or above a confidence.

        Args:
            raw: the network's output, in the shape given to `create`.
            confidence: 0 to 1.

        Returns:
            N x 6: x1, y1, x2, y2 in pixels of the network's input, confidence, class.
        """
        rows: NDArray[np.float32] = raw[0].astype(np.float32, copy=False)
        match self.layout:
            case Layout.YOLOX:
                return self._yolox(rows, confidence)
            case Layout.YOLOV5:
                return self._yolov5(rows, confidence)
            case Layout.YOLOV8:
                return self._yolov8(rows, confidence)
            case Layout.END_TO_END:
                chosen: NDArray[np.float32] = rows[rows[:, 4] >= confidence]
                return chosen

    def _yolox(self, rows: NDArray[np.float32], confidence: float) -> NDArray[np.float32]:
        # The product with a class score only gets smaller: most cells fall here already.
        cells = np.flatnonzero(rows[:, 4] >= confidence)
        rows, strides = rows[cells], self.strides[cells]
        centres = (rows[:, 0:2] + self.grid[cells]) * strides
        sizes = np.exp(rows[:, 2:4]) * strides
        scores = rows[:, 4:5] * rows[:, 5:]
        return self._best(centres, sizes, scores, confidence)

    def _yolov5(self, rows: NDArray[np.float32], confidence: float) -> NDArray[np.float32]:
        rows = rows[rows[:, 4] >= confidence]
        return self._best(rows[:, 0:2], rows[:, 2:4], rows[:, 4:5] * rows[:, 5:], confidence)

    def _yolov8(self, rows: NDArray[np.float32], confidence: float) -> NDArray[np.float32]:
        assert self.class_count is not None
        best_scores = rows[4 : 4 + self.class_count].max(axis=0)
        chosen = rows[:, best_scores >= confidence].T
        return self._best(chosen[:, 0:2], chosen[:, 2:4], chosen[:, 4:], confidence)

    def _best(
        self,
        centres: NDArray[np.float32],
        sizes: NDArray[np.float32],
        scores: NDArray[np.float32],
        confidence: float,
    ) -> NDArray[np.float32]:
        """Give each row its best class, and leave out those below the confidence."""
        if not len(scores):
            return no_boxes()
        scores = scores[:, : self.class_count]
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        candidates = np.empty((len(scores), 6), np.float32)
        candidates[:, 0:2] = centres - sizes / 2
        candidates[:, 2:4] = centres + sizes / 2
        candidates[:, 4] = best
        candidates[:, 5] = classes
        chosen: NDArray[np.float32] = candidates[best >= confidence]
        return chosen


def _make_grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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
