"""What videos that are being written have in common: times, sizes, and what can go wrong."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

Image = NDArray[np.uint8]

FALLBACK_STEP_NS = 100_000_000
_SHORTEST_STEP_NS = 1_000_000
_LONGEST_STEP_BACK_NS = 1_000_000_000
_ENOUGH_ROOM_NBYTES = 1 << 20


class VideoFileError(DoraRtError):
    """A video cannot be written there."""


class DiskFullError(VideoFileError):
    """The disk is full; what was written before is a whole video."""


class VideoFile(Protocol):
    """A video that is being written.

    Attributes:
        path: the file; it is there from the first picture on, and can be read at any moment.
        pictures: how many pictures it was given.
        earlier_paths: the files before, if it did not fit into one.
    """

    path: Path
    pictures: int
    earlier_paths: list[Path]

    @property
    def duration_s(self) -> float:
        """How long it is so far."""

    @property
    def nbytes(self) -> int:
        """How large the file is so far."""

    def add(self, image: Image, time_ns: int) -> None:
        """Write a picture, which was taken at `time_ns` of any clock; it may be kept for a while.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: it cannot be written there.
        """

    def close(self) -> Path | None:
        """Finish; return the file, or None if it was given no picture. A second time: nothing.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: the last pictures cannot be written.
        """


class PictureTimes:
    """The times of pictures since the first one: each later than the one before.

    Args:
        longest_step_ns: a longer pause is shortened to this; None: pauses stay as they are.

    Attributes:
        cut_ns: by how much pauses were shortened so far.
    """

    def __init__(self, longest_step_ns: int | None = None) -> None:
        self._longest_step_ns = longest_step_ns
        self.cut_ns = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self.last_step_ns = FALLBACK_STEP_NS

    @property
    def last_ns(self) -> int:
        """The time of the last picture."""
        return self._last_ns

    @property
    def end_ns(self) -> int:
        """When the last picture ends: it lasts as long as the one before, as far as one knows."""
        return self._last_ns + self.last_step_ns

    def add(self, time_ns: int) -> int:
        """Return the time of the next picture since the first one, in nanoseconds."""
        if self._first_ns is None:
            self._first_ns = time_ns
            return 0
        since_ns = time_ns - self._first_ns
        if since_ns < self._last_ns - _LONGEST_STEP_BACK_NS:
            # Another clock: its source was replaced, or a recording begins again.
            self._first_ns = time_ns - self.end_ns
            since_ns = self.end_ns
        since_ns = max(since_ns, self._last_ns + _SHORTEST_STEP_NS)
        longest_ns = self._longest_step_ns
        if longest_ns is not None and since_ns - self._last_ns > longest_ns:
            cut_ns = since_ns - self._last_ns - longest_ns
            self.cut_ns += cut_ns
            self._first_ns += cut_ns
            since_ns -= cut_ns
        self.last_step_ns = since_ns - self._last_ns
        self._last_ns = since_ns
        return since_ns


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return the picture in the size of the video: encoders drop others without a word."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    if 0 <= image.shape[0] - height <= 1 and 0 <= image.shape[1] - width <= 1:
        return np.ascontiguousarray(image[:height, :width])  # odd sides lose a line
    return np.asarray(cv2.resize(image, size), np.uint8)


def open_alone(path: Path) -> BinaryIO:
    """Open a file to write, as it is; nobody else writes a video into it until it is closed.

    Raises:
        VideoFileError: another node writes it.
        OSError: it cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some file systems have no locks; then nobody can tell.
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            file.close()
            raise VideoFileError(
                f"{path}: another node is writing this file; give each its own name"
            ) from error
    return file


def reserve_free(path: Path, first: int = 1) -> Path:
    """Make an empty file of a free name, so that no other writer takes it meanwhile.

    Args:
        path: out.mp4, of which the first is itself, and others are out-2.mp4, out-3.mp4 and so on.
        first: the least number of a name.

    Raises:
        OSError: it cannot be made; `filename` of the error is its name.
    """
    for number in itertools.count(first):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with contextlib.suppress(FileExistsError):
            free.touch(exist_ok=False)
            return free
    raise AssertionError("there is a free name")


def remove_empty(path: Path) -> None:
    """Remove a file into which nothing was written."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def write_error(path: Path, what: str) -> VideoFileError:
    """Return the error that a video cannot be written, by its true reason."""
    if has_no_room(path):
        return full_error(path)
    return VideoFileError(f"{path}: cannot be written: {what}")


def full_error(path: Path) -> DiskFullError:
    """Return the error that the disk is full."""
    return DiskFullError(
        f"{path}: the disk is full; the video can be played up to there; make room, or write "
        "elsewhere"
    )


def has_no_room(path: Path) -> bool:
    """Whether the disk of this file is as good as full."""
    try:
        return shutil.disk_usage(path.parent).free < _ENOUGH_ROOM_NBYTES
    except OSError:
        return False
