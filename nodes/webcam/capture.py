"""The part of cv2.VideoCapture that this node uses, and its pitfalls."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np

from dora_rt.redaction import without_secrets

from .frame import FrameLostError, Image, SizeChangedError, SourceError

# FFmpeg's own defaults are 30 s each, in which a camera that is back would go unseen.
_STREAM_TIMEOUT_MS = 5000


class Capture(Protocol):
    """What `cv2.VideoCapture` and the tests' captures have in common."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether the device or file is open."""

    def grab(self) -> bool:
        """Wait for the next frame, without decoding it."""

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        """Decode the grabbed frame, into `image` if that has the right shape."""

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        """Read a property, 0 if it has none."""

    def set(self, propId: int, value: float) -> bool:  # noqa: N803 - OpenCV's name
        """Ask for a property."""

    def release(self) -> None:
        """Close the device or file."""


class CameraUnavailableError(Exception):
    """A camera cannot be opened now; it may be later."""


@dataclass(frozen=True, slots=True)
class CameraFormat:
    """Settings requested of a camera; None leaves the choice to it."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None

    def __str__(self) -> str:
        if self == CameraFormat():
            return "nothing particular"
        words = []
        if self.width is not None or self.height is not None:
            words.append(f"{self.width or 'any'}x{self.height or 'any'}")
        if self.fps is not None:
            words.append(f"at {self.fps:g} fps" if words else f"{self.fps:g} fps")
        return " ".join([*words, *([] if self.fourcc is None else [self.fourcc])])


def open_device(path: Path, wanted: CameraFormat) -> Capture:
    """Open a V4L2 camera such as /dev/video0 or /dev/v4l/by-id/....

    Raises:
        CameraUnavailableError: it is not there, not allowed, in use, or no camera.
    """
    if not path.exists():
        raise CameraUnavailableError("there is no such device")
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraUnavailableError(
            "no permission; add your user to the group 'video' and log in again"
        )
    # The backend is named, because the search for one prints a page of noise for each attempt.
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraUnavailableError("it is in use by another program, or it is no camera")
    ask_for_format(cast(Capture, capture), wanted)
    return cast(Capture, capture)


def open_stream(url: str) -> Capture:
    """Open a network stream.

    Raises:
        CameraUnavailableError: there is no answer, or the answer is no video.
    """
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS),
    ]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        raise CameraUnavailableError("no video stream answers there")
    return cast(Capture, capture)


def open_pipeline(description: str) -> Capture:
    """Open a GStreamer pipeline that ends in an appsink.

    Raises:
        SourceError: this OpenCV has no GStreamer.
        CameraUnavailableError: the pipeline does not start.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"--source '{without_secrets(description)}': this OpenCV {cv2.__version__} was built "
            "without GStreamer, as all of pip's are; use the system's OpenCV (apt install "
            "python3-opencv, in a venv made with --system-site-packages), or a device or URL"
        )
    capture = cv2.VideoCapture(description, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise CameraUnavailableError("the GStreamer pipeline does not start")
    return cast(Capture, capture)


def ask_for_format(capture: Capture, wanted: CameraFormat) -> None:
    """Request settings of the camera; `describe_format` shows whether it complies."""
    # The codec goes first: many cameras offer their large sizes in MJPG only.
    if wanted.fourcc is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.fourcc))
    if wanted.width is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
    if wanted.height is not None:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
    # A rate of 0 is a wish that only files can fulfil.
    if wanted.fps:
        capture.set(cv2.CAP_PROP_FPS, wanted.fps)


def describe_format(capture: Capture) -> str:
    """Return the format that the camera really delivers, in words."""
    height, width, _ = frame_shape(capture)
    fps = frame_rate(capture)
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes(code >> shift & 0xFF for shift in (0, 8, 16, 24)) if code > 0 else b""
    codec = f" {letters.decode('ascii')}" if letters.isalnum() else ""
    return f"{width}x{height}{'' if fps is None else f' at {fps:g} fps'}{codec}"


def frame_shape(capture: Capture) -> tuple[int, int, int]:
    """Return height, width, 3, as the capture announces them."""
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    # Some backends say 0x0 until the first frame; the slot must have some size all the same.
    return (height, width, 3) if width > 0 and height > 0 else (480, 640, 3)


def frame_rate(capture: Capture) -> float | None:
    """Return the frames per second, or None where the capture does not know or cannot mean it."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else None


def frame_count(capture: Capture) -> int | None:
    """Return how many frames a recording says that it has; None of what is live or unknown."""
    count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    # What has no length gives 0, -1 or the most negative number there is, by the container.
    return int(count) if math.isfinite(count) and 0 < count < 1e9 else None


def grab(capture: Capture) -> bool:
    """Wait for the next frame; False if there is none, however OpenCV says so."""
    try:
        return bool(capture.grab())
    except cv2.error:
        return False


def retrieve_into(capture: Capture, out: Image) -> None:
    """Decode the grabbed frame into `out`, uint8 BGR.

    Raises:
        SizeChangedError: the frame has another size; it is in the error.
        FrameLostError: it could not be decoded.
    """
    try:
        was_retrieved, image = capture.retrieve(out)
    except cv2.error as error:
        raise FrameLostError(f"OpenCV could not decode the frame: {error}") from error
    if not was_retrieved or image is None:
        raise FrameLostError("OpenCV could not decode the frame")
    # OpenCV writes into `out` only if shape and type are its own, and says nothing if they are not.
    if image is out or np.shares_memory(image, out):
        return
    picture = as_bgr(image)
    if picture.shape != out.shape:
        raise SizeChangedError(picture.copy())
    np.copyto(out, picture)


def as_bgr(image: Any) -> Image:
    """Return a picture of one, three or four channels as three.

    Raises:
        SourceError: its pixels are not 8 bit.
    """
    if image.dtype != np.uint8:
        raise SourceError(
            f"the pixels are {image.dtype}, expected uint8; choose another --fourcc, "
            "such as YUYV or MJPG"
        )
    if image.ndim == 2 or image.shape[2] == 1:
        return cast(Image, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    if image.shape[2] == 4:
        return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGRA2BGR))
    return cast(Image, image)
