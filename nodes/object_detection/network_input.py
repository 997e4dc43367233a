"""What a network gets: a blob of pictures, and perhaps their size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Blob = NDArray[np.floating]


def input_sizes_of(
    blob: Blob, dtype: np.dtype[np.integer | np.floating]
) -> NDArray[np.integer | np.floating]:
    """Return width and height of the input, for each picture of the batch.

    RT-DETR and D-FINE scale their boxes by it: these are then in pixels of the input, as all are.
    """
    height, width = blob.shape[2:]
    return np.array([[width, height]] * blob.shape[0], dtype)
