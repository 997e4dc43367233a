"""A program at one end of a gateway: gateway_worker.py picture|number|read, in its folder."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt import Node


def main() -> None:
    """Send a value at each tick, or leave a byte for each value that came."""
    node = Node()
    if sys.argv[1] == "read":
        crossed = os.open("crossed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for _ in node:
            os.write(crossed, b".")
        return
    value = _picture() if sys.argv[1] == "picture" else np.zeros(1)
    for event in node:
        value.flat[0] = event.seq % 256
        node.send_output("value", value)


def _picture() -> NDArray[np.uint8]:
    """Draw a picture that is about as hard to compress as one of a camera."""
    chance = np.random.default_rng(1)
    rough = chance.integers(0, 256, (68, 120, 3), dtype=np.uint8)
    smooth = cv2.resize(rough, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    noise = chance.integers(0, 12, (1080, 1920, 3), dtype=np.uint8)
    return np.asarray(smooth, np.uint8) // 2 + noise


if __name__ == "__main__":
    main()
