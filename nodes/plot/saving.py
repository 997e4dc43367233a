"""Save the pictures that were shown: the last one, or all of them as a video."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2

from dora_rt.errors import DoraRtError

from ..video_output import (
    VIDEO_SUFFIXES,
    DiskFullError,
    VideoFileError,
    make_folder,
    open_video_file,
)
from .drawing import Image

logger = logging.getLogger(__name__)

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


class SaveError(DoraRtError):
    """The pictures cannot be saved to this path."""


class Saver(Protocol):
    """Keeps the pictures that are shown, and writes them at the end at the latest."""

    def add(self, image: Image, origin_ns: int) -> None:
        """Take a picture, taken at `origin_ns`; it may be kept until the next call."""

    def close(self) -> Path | None:
        """Finish; return the file that is there now, None if there was nothing to save."""


def open_saver(path: Path, clock: Callable[[], int] = time.monotonic_ns) -> Saver:
    """Decide by the suffix what to save, and make the folders above.

    Raises:
        SaveError: the suffix is none of a picture or video, or the folder cannot be made.
    """
    suffix = path.suffix.lower()
    if suffix not in (*VIDEO_SUFFIXES, *_PICTURE_SUFFIXES):
        raise SaveError(
            f"--save {path}: '{path.suffix}' is neither a picture nor a video; "
            f"expected {', '.join((*_PICTURE_SUFFIXES, *VIDEO_SUFFIXES))}"
        )
    try:
        make_folder(path)
    except VideoFileError as error:
        raise SaveError(f"--save {error}") from error
    if path.is_dir():
        raise SaveError(f"--save {path}: this is a folder; expected the path of a file")
    return VideoSaver(path, clock) if suffix in VIDEO_SUFFIXES else PictureSaver(path)


class PictureSaver:
    """Write the last picture at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Image | None = None

    def add(self, image: Image, origin_ns: int) -> None:
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
    """Write all pictures as a video that lasts as long as they did.

    Args:
        path: .mp4 or .avi.
        clock: nanoseconds of a monotonic clock, for pictures without an origin.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._video = open_video_file(path)
        self._clock = clock
        self._is_full = False

    def add(self, image: Image, origin_ns: int) -> None:
        """Write a picture by its origin: how fast it came here depends on who was busy.

        Raises:
            SaveError: the video cannot be written there.
        """
        if self._is_full:
            return
        try:
            self._video.add(image, origin_ns or self._clock())
        except DiskFullError as error:
            # To show goes on.
            self._is_full = True
            logger.error("--save %s", error)
        except VideoFileError as error:
            raise SaveError(f"--save {error}") from error

    def close(self) -> Path | None:
        """Finish the video.

        Raises:
            SaveError: the last pictures cannot be written.
        """
        try:
            return self._video.close()
        except DiskFullError as error:
            if not self._is_full:
                logger.error("--save %s", error)
            return self._video.path
        except VideoFileError as error:
            raise SaveError(f"--save {error}") from error


def _part(path: Path) -> Path:
    # The suffix stays: it tells OpenCV the container.
    return path.with_name(f".{path.stem}.part{path.suffix}")
