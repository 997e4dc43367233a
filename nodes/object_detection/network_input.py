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
    # The colours come last where they are no second dimension, as in `detector._input_form`.
    is_channels_last = blob.shape[1] not in (1, 3) and blob.shape[3] in (1, 3)
    height, width = blob.shape[1:3] if is_channels_last else blob.shape[2:]
    return np.array([[width, height]] * blob.shape[0], dtype)
