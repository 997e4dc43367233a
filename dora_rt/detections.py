"""What was found on pictures, as all nodes and tools read it: boxes, and the names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError
from dora_rt.picture import described

Boxes = NDArray[np.float32]

BOX_COLUMNS = 6
"""x1, y1, x2, y2 in pixels of the picture, confidence, class."""

_EXPECTED = "expected N x 6 float32: x1, y1, x2, y2, confidence, class"
_MOST_CLASSES = 2**31


class NoBoxesError(DoraRtError, ValueError):
    """A sample holds no boxes; the next one may."""


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


def labels_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in a sample's metadata; none if there are none."""
    labels = metadata.get("labels")
    return tuple(str(label) for label in labels) if isinstance(labels, (list, tuple)) else ()
