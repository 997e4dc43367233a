"""Get the picture out of what arrives at the input `image`."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import FrameError
from .letterbox import check_frame


def picture_of(value: Any, encoding: object) -> NDArray[np.uint8]:
    """Return the picture that a sample holds.

    Args:
        value: an array H x W x 3 (BGR), H x W (grey) or H x W x 4 (BGRA) of uint8, given back as
            it is; or bytes or a 1-D array of uint8, which are a JPEG or PNG file.
        encoding: what the sender's metadata says about such a file, for the error only, since the
            file says itself what it is.

    Raises:
        FrameError: it is neither, or the file cannot be decoded.
    """
    if isinstance(value, np.ndarray) and value.ndim != 1:
        check_frame(value)
        return value
    file = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    if file.dtype != np.uint8:
        raise FrameError(f"got a 1-D array of {file.dtype}, expected a JPEG or PNG file in uint8")
    try:
        # OpenCV raises for an empty buffer and for absurd sizes, and gives None for the rest.
        picture = cv2.imdecode(file, cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise FrameError(
            f"got {file.size} bytes that begin with {file[:8].tobytes()!r} and have the encoding"
            f" {encoding!r} in their metadata, expected a JPEG or PNG file"
        )
    return picture.astype(np.uint8, copy=False)
