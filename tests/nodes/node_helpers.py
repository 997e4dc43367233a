"""What the tests of several nodes share."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from dora_rt.nodes.options import FILE_VARIABLES
from numpy.typing import NDArray


def file_env(**variables: str) -> dict[str, str]:
    """Give the environment of a ready node whose `env:` in the dataflow file has the variables."""
    return {**variables, FILE_VARIABLES: " ".join(variables)}


class FakeTime:
    """A clock in nanoseconds that only sleeping moves."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000
        self.slept: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now_ns += round(seconds * 1e9)


def picture(width: int, height: int, value: int = 0) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


class FakeCapture:
    """A cv2.VideoCapture that gives prepared pictures; None is a failed read, then only those."""

    def __init__(
        self,
        script: Iterable[Any],
        *,
        width: int = 64,
        height: int = 48,
        on_grab: Callable[[], None] = lambda: None,
    ) -> None:
        self._script = iter(script)
        self._grabbed: Any = None
        self._on_grab = on_grab
        self.properties: dict[int, float] = {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        }
        self.asked: list[tuple[int, float]] = []
        self.grabs = 0
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802
        return not self.is_released

    def grab(self) -> bool:
        self._on_grab()
        self.grabs += 1
        self._grabbed = next(self._script, None)
        if isinstance(self._grabbed, Exception):
            raise self._grabbed
        return self._grabbed is not None

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        if isinstance(self._grabbed, str):
            return False, None
        if image is not None and image.shape == self._grabbed.shape:
            np.copyto(image, self._grabbed)
            return True, image
        return True, self._grabbed

    def get(self, propId: int) -> float:  # noqa: N803
        return self.properties.get(propId, 0.0)

    def set(self, propId: int, value: float) -> bool:  # noqa: N803
        self.asked.append((propId, value))
        return True

    def release(self) -> None:
        self.is_released = True


def photo_on_its_side(width: int, height: int) -> bytes:
    """A JPEG file of `height` x `width` pixels that says that it is to be turned to the right."""
    exif = b"Exif\0\0II" + struct.pack("<HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    jpeg = cv2.imencode(".jpg", picture(height, width))[1].tobytes()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
