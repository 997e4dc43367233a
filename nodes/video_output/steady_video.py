"""Write a Motion JPEG video (AVI) at a steady rate, where pictures have their place by time."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import BinaryIO

import cv2
import numpy as np

from .video_file import (
    FALLBACK_STEP_NS,
    Image,
    PictureTimes,
    VideoFileError,
    fitted,
    full_error,
    has_no_room,
    open_alone,
    remove_empty,
    reserve_free,
    write_error,
)

logger = logging.getLogger(__name__)

_PICTURES_TO_LEARN_RATE = 8
_LONGEST_LEARNING_NS = 1_000_000_000
_RATES = (1.0, 60.0)
_LONGEST_REPEAT_NS = 60_000_000_000
# Sizes in an AVI have 32 bits, one of which some readers take for a sign.
_LONGEST_AVI_NBYTES = 1_900_000_000
_LOOK_EACH = 30


class SteadyVideo:
    """An AVI at a steady rate: pictures are repeated and left out by their times.

    It is written from the beginning to the end, and can be read up to where a kill ended it.
    """

    def __init__(self, path: Path, *, longest_nbytes: int = _LONGEST_AVI_NBYTES) -> None:
        self.path = path
        self.pictures = 0
        self.earlier_paths: list[Path] = []
        self._first_path = path
        self._longest_nbytes = longest_nbytes
        self._times = PictureTimes()
        self._size = (0, 0)
        self._first: list[tuple[Image, int]] = []
        self._writer: cv2.VideoWriter | None = None
        self._lock: BinaryIO | None = None
        self._fps = 0.0
        self._written = 0
        self._shown: Image | None = None
        self._cut_ns = 0
        self._is_closed = False

    @property
    def duration_s(self) -> float:
        """How long it is so far."""
        return self._times.end_ns / 1e9 if self.pictures else 0.0

    @property
    def nbytes(self) -> int:
        """How large the file is so far."""
        return self.path.stat().st_size if self._writer is not None else 0

    def add(self, image: Image, time_ns: int) -> None:
        """Write a picture; the first few are kept until their rate is known.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: it cannot be written there.
        """
        at_ns = self._times.add(time_ns)
        self.pictures += 1
        if self._writer is not None:
            self._write(image, at_ns)
            return
        self._first.append((image.copy(), at_ns))
        if len(self._first) == _PICTURES_TO_LEARN_RATE or at_ns > _LONGEST_LEARNING_NS:
            self._begin()

    def close(self) -> Path | None:
        """Write the last picture for its time.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: the file cannot be written.
        """
        if self._is_closed or self.pictures == 0:
            return None
        self._is_closed = True
        if self._writer is None and not self._first:
            # It could not go on in another file; the one before has been ended.
            return self.path if self.path.exists() else None
        if self._writer is None:
            self._begin()
        self._repeat_until(max(self._slot(self._times.end_ns), self._written + 1))
        self._end_part()
        return self.path

    def _begin(self) -> None:
        image = self._first[0][0]
        height, width = image.shape[:2]
        self._size = (width, height)
        self._fps = _rate([time_ns for _, time_ns in self._first])
        self._begin_part()
        logger.info("%s: Motion JPEG at %g fps", self.path, self._fps)
        first, self._first = self._first, []
        for image, at_ns in first:
            self._write(image, at_ns)

    def _begin_part(self) -> None:
        try:
            self._lock = open_alone(self.path)
        except OSError as error:
            raise write_error(self.path, str(error.strerror)) from error
        # OpenCV's own writer goes first: it writes each 32 KiB to the disk, FFmpeg each MiB.
        for backend in (cv2.CAP_OPENCV_MJPEG, cv2.CAP_FFMPEG):
            writer = cv2.VideoWriter(
                *(str(self.path), backend, cv2.VideoWriter.fourcc(*"MJPG")),
                *(self._fps, self._size),
            )
            if writer.isOpened():
                self._writer = writer
                return
        self._unlock()
        remove_empty(self.path)
        width, height = self._size
        raise write_error(
            self.path,
            f"OpenCV cannot write a Motion JPEG video of {width}x{height} there; check the "
            "folder's permissions",
        )

    def _end_part(self) -> None:
        assert self._writer is not None
        self._writer.release()
        self._writer = None
        self._unlock()
        if not self.path.exists() or self.path.stat().st_size == 0 or has_no_room(self.path):
            raise write_error(self.path, "nothing was written")

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write(self, image: Image, at_ns: int) -> None:
        slot = self._slot(at_ns)
        pause_ns = round((slot - self._written) / self._fps * 1e9)
        if pause_ns > _LONGEST_REPEAT_NS:
            # A night without pictures would be thousands of copies of one.
            self._cut_ns += pause_ns - _LONGEST_REPEAT_NS
            logger.warning(
                "%s: a pause of %.0f s is shortened to %.0f s; .mp4 keeps it",
                *(self.path, pause_ns / 1e9, _LONGEST_REPEAT_NS / 1e9),
            )
            slot = self._slot(at_ns)
        self._repeat_until(slot)
        sized = fitted(image, self._size)
        if self._shown is None:
            self._shown = sized.copy()
        else:
            np.copyto(self._shown, sized)

    def _repeat_until(self, slot: int) -> None:
        """Write the picture that is shown for all places before `slot`."""
        while self._shown is not None and self._written < slot:
            assert self._writer is not None
            self._writer.write(self._shown)
            self._written += 1
            if self._written % _LOOK_EACH == 0:
                self._look_at_size()

    def _look_at_size(self) -> None:
        if has_no_room(self.path):
            raise full_error(self.path)
        if self.nbytes < self._longest_nbytes:
            return
        self._end_part()
        ended, self.path = self.path, _reserve_next(self._first_path)
        try:
            self._begin_part()
        except VideoFileError:
            self.path = ended
            raise
        self.earlier_paths.append(ended)
        logger.info(
            "%s: goes on there, since the file before has the size that an AVI may have", self.path
        )

    def _slot(self, at_ns: int) -> int:
        return round((at_ns - self._cut_ns) * self._fps / 1e9)


def _reserve_next(first: Path) -> Path:
    """Make an empty file for the next part: out-2.avi, out-3.avi after out.avi."""
    try:
        return reserve_free(first, 2)
    except OSError as error:
        raise write_error(Path(error.filename), str(error.strerror)) from error


def _rate(times_ns: list[int]) -> float:
    steps = [after - now for now, after in pairwise(times_ns)]
    step_ns = median(steps) if steps else FALLBACK_STEP_NS
    low, high = _RATES
    return float(min(max(round(1e9 / step_ns, 2), low), high))
