"""Save the pictures that were shown: the last one, or all of them as a video."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

import cv2

from dora_rt.errors import DoraRtError

from .drawing import Image

logger = logging.getLogger(__name__)

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
# A video's rate stands in its header, so it must be known before the first picture is written.
_PICTURES_TO_LEARN_RATE = 8
_FALLBACK_FPS = 10.0


class SaveError(DoraRtError):
    """The pictures cannot be saved to this path."""


class Saver(Protocol):
    """Keeps the pictures that are shown, and writes them at the end at the latest."""

    def add(self, image: Image) -> None:
        """Take a picture; it may be kept until the next call."""

    def close(self) -> Path | None:
        """Finish; return the file that is there now, None if there was nothing to save."""


def open_saver(path: Path, clock: Callable[[], int] = time.monotonic_ns) -> Saver:
    """Decide by the suffix what to save, and make the folders above.

    Raises:
        SaveError: the suffix is none of a picture or video, or the folder cannot be made.
    """
    suffix = path.suffix.lower()
    if suffix not in _CODECS and suffix not in _PICTURE_SUFFIXES:
        raise SaveError(
            f"--save {path}: '{path.suffix}' is neither a picture nor a video; "
            f"expected {', '.join((*_PICTURE_SUFFIXES, *_CODECS))}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(
            f"--save {path}: the folder {path.parent} cannot be made ({error.strerror})"
        ) from error
    if path.is_dir():
        raise SaveError(f"--save {path}: this is a folder; expected the path of a file")
    return VideoSaver(path, clock) if suffix in _CODECS else PictureSaver(path)


class PictureSaver:
    """Write the last picture at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Image | None = None

    def add(self, image: Image) -> None:
        """Take a picture instead of the one before."""
        self._last = image

    def close(self) -> Path | None:
        """Write the last picture, whole or not at all.

        Raises:
            SaveError: it cannot be written there.
        """
        if self._last is None:
            return None
        encoded = cv2.imencode(self._path.suffix.lower(), self._last)[1]
        self._last = None
        part = _part(self._path)
        try:
            part.write_bytes(encoded.tobytes())
            part.replace(self._path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise SaveError(f"--save {self._path}: cannot be written ({error.strerror})") from error
        return self._path


class VideoSaver:
    """Write all pictures as a video that plays as fast as they came.

    Args:
        path: .mp4 or .avi.
        clock: nanoseconds of a monotonic clock, to learn how fast they come.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock
        self._first: list[Image] = []
        self._times_ns: list[int] = []
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def add(self, image: Image) -> None:
        """Write a picture; the first few are kept until the rate is known.

        Raises:
            SaveError: the video cannot be written there.
        """
        if self._writer is not None:
            self._write(self._writer, image)
            return
        self._first.append(image.copy())
        self._times_ns.append(self._clock())
        if len(self._first) == _PICTURES_TO_LEARN_RATE:
            self._open()

    def close(self) -> Path | None:
        """Finish the video and rename it to its final name.

        Raises:
            SaveError: the video cannot be written there.
        """
        if self._first:
            self._open()
        if self._writer is None:
            return None
        self._writer.release()
        self._writer = None
        _part(self._path).replace(self._path)
        return self._path

    def _open(self) -> None:
        height, width = self._first[0].shape[:2]
        codec = _CODECS[self._path.suffix.lower()]
        self._size = (width, height)
        writer = cv2.VideoWriter(
            str(_part(self._path)), cv2.VideoWriter.fourcc(*codec), self._fps(), self._size
        )
        if not writer.isOpened():
            raise SaveError(
                f"--save {self._path}: OpenCV cannot write a {codec} video of {width}x{height} "
                "there; check the folder's permissions, or try .avi"
            )
        self._writer = writer
        for image in self._first:
            self._write(writer, image)
        self._first = []

    def _fps(self) -> float:
        intervals = [
            after - before
            for before, after in zip(self._times_ns, self._times_ns[1:], strict=False)
        ]
        if not intervals or median(intervals) <= 0:
            return _FALLBACK_FPS
        return float(min(max(round(1e9 / median(intervals), 2), 1.0), 120.0))

    def _write(self, writer: cv2.VideoWriter, image: Image) -> None:
        # A writer drops pictures of another size without a word.
        fits = (image.shape[1], image.shape[0]) == self._size
        writer.write(image if fits else cv2.resize(image, self._size))


def _part(path: Path) -> Path:
    # The suffix stays: it tells OpenCV the container.
    return path.with_name(f".{path.stem}.part{path.suffix}")
