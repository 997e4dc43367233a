"""Write an MP4 with the time of each picture, which survives the end of its process."""

from __future__ import annotations

import errno
import itertools
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from .mp4_file import TICKS_PER_S, Mp4File, Segment, SegmentError, read_segment
from .video_file import (
    Image,
    PictureTimes,
    VideoFileError,
    fitted,
    full_error,
    open_alone,
    remove_empty,
    write_error,
)

logger = logging.getLogger(__name__)

CODECS = ("auto", "h264", "mpeg4")

_FOURCCS = {"h264": "avc1", "mpeg4": "mp4v"}
_NAMES = {"h264": "H.264", "mpeg4": "MPEG-4"}
_HINTS = {
    "h264": "pip's OpenCV has no encoder for it: use --codec auto, or the system's OpenCV",
    "mpeg4": "check the folder's permissions",
}
# What is lost at most if the process is killed.
_SEGMENT_NS = 1_000_000_000
_MOST_IN_SEGMENT = 240
# How long a picture lasts has 31 bits in an MP4: 6.6 hours.
_LONGEST_PAUSE_NS = 6 * 3_600_000_000_000
# Encoders decide by it how many bits a picture gets, and pictures get the same at any rate.
_ENCODER_FPS = 30.0


class SegmentedVideo:
    """An MP4 with the time of each picture; a kill costs the last two seconds.

    OpenCV encodes each second into a file of its own, of which the pictures are moved over. An
    encoder does much of its work when it is closed: a thread does that, while the next one begins.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self.path = path
        self.pictures = 0
        self.earlier_paths: list[Path] = []
        self._codec = codec
        self._parts = [path.with_name(f".{path.stem}.part{n}{path.suffix}") for n in (1, 2)]
        self._next_part = itertools.cycle(self._parts)
        self._part = self._parts[0]
        self._worker = ThreadPoolExecutor(1, "video")
        self._being_added: Future[None] | None = None
        self._times = PictureTimes(_LONGEST_PAUSE_NS)
        self._size = (0, 0)
        self._file: Mp4File | None = None
        self._settings: bytes | None = None
        self._encoder: cv2.VideoWriter | None = None
        self._segment_ns: list[int] = []
        self._is_closed = False

    @property
    def duration_s(self) -> float:
        """How long it is so far."""
        return self._times.end_ns / 1e9 if self.pictures else 0.0

    @property
    def nbytes(self) -> int:
        """How large the file is so far."""
        return 0 if self._file is None else self._file.nbytes

    def add(self, image: Image, time_ns: int) -> None:
        """Write a picture; its second is written when a picture of the next one comes.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: it cannot be written there.
        """
        if self._file is None:
            self._begin(image)
        cut_ns = self._times.cut_ns
        at_ns = self._times.add(time_ns)
        if self._times.cut_ns > cut_ns:
            logger.warning(
                "%s: a pause is shortened by %.0f s to %.0f s, the longest that an MP4 can have",
                *(self.path, (self._times.cut_ns - cut_ns) / 1e9, _LONGEST_PAUSE_NS / 1e9),
            )
        if self._segment_ns and (
            at_ns - self._segment_ns[0] >= _SEGMENT_NS or len(self._segment_ns) >= _MOST_IN_SEGMENT
        ):
            self._end_segment(at_ns)
        if self._encoder is None:
            self._encoder = self._open_encoder(self._codec)
        self._encoder.write(fitted(image, self._size))
        self._segment_ns.append(at_ns)
        self.pictures += 1

    def close(self) -> Path | None:
        """Write the last second and the table of pictures.

        Raises:
            DiskFullError: the disk is full.
            VideoFileError: the last pictures cannot be written.
        """
        if self._is_closed or self._file is None:
            return None
        self._is_closed = True
        try:
            try:
                if self._segment_ns:
                    self._end_segment(self._times.end_ns)
                self._wait_until_added()
            finally:
                self._worker.shutdown()
                self._file.close()
        except OSError as error:
            raise self._error(error) from error
        finally:
            self._encoder = None
            for part in self._parts:
                part.unlink(missing_ok=True)
        return self.path

    def _begin(self, image: Image) -> None:
        height, width = image.shape[:2]
        # Most encoders halve the colours, and so need even sides.
        self._size = (max(width & ~1, 2), max(height & ~1, 2))
        try:
            file = open_alone(self.path)
        except OSError as error:
            raise self._error(error) from error
        try:
            self._codec = self._choose_codec()
            file.truncate(0)
        except (VideoFileError, OSError) as error:
            file.close()
            remove_empty(self.path)
            raise (self._error(error) if isinstance(error, OSError) else error) from error
        self._file = Mp4File(file, self._size)
        _tell_codec(self.path, self._codec)

    def _choose_codec(self) -> str:
        wanted = ("h264", "mpeg4") if self._codec == "auto" else (self._codec,)
        for codec in wanted:
            # By what it writes: a hardware encoder may open and then write nothing.
            try:
                encoder = self._open_encoder(codec)
                encoder.write(np.zeros((self._size[1], self._size[0], 3), np.uint8))
                self._read_part(encoder, self._part, 1)
            except VideoFileError as error:
                logger.debug("%s", error)
            else:
                return codec
        width, height = self._size
        raise write_error(
            self.path,
            f"OpenCV {cv2.__version__} gives no {_NAMES[wanted[-1]]} video of {width}x{height} "
            f"there; {_HINTS[wanted[-1]]}",
        )

    def _open_encoder(self, codec: str) -> cv2.VideoWriter:
        self._part = next(self._next_part)
        encoder = cv2.VideoWriter(
            *(str(self._part), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*_FOURCCS[codec])),
            *(_ENCODER_FPS, self._size),
        )
        if not encoder.isOpened():
            raise write_error(self.path, f"OpenCV cannot write {_NAMES[codec]} there")
        return encoder

    def _end_segment(self, end_ns: int) -> None:
        """Let the thread add what was encoded; raises what it raised for the segment before."""
        self._wait_until_added()
        assert self._encoder is not None
        encoder, times_ns = self._encoder, self._segment_ns
        self._encoder, self._segment_ns = None, []
        ticks = [_ticks(time_ns) for time_ns in times_ns]
        self._being_added = self._worker.submit(
            self._add_segment, encoder, self._part, ticks, _ticks(end_ns)
        )

    def _wait_until_added(self) -> None:
        being_added, self._being_added = self._being_added, None
        if being_added is not None:
            being_added.result()

    def _add_segment(
        self, encoder: cv2.VideoWriter, part: Path, ticks: list[int], end_ticks: int
    ) -> None:
        """Move what was encoded into the file; runs in the thread."""
        assert self._file is not None
        segment = self._read_part(encoder, part, len(ticks))
        if self._settings is None:
            self._settings = segment.settings
        if segment.settings != self._settings:
            raise VideoFileError(f"{self.path}: the encoder has changed its settings meanwhile")
        try:
            self._file.add(segment, ticks, end_ticks)
        except OSError as error:
            raise self._error(error) from error

    def _read_part(self, encoder: cv2.VideoWriter, part: Path, count: int) -> Segment:
        encoder.release()
        try:
            segment = read_segment(part.read_bytes())
            if len(segment.samples) != count:
                raise self._short_error(len(segment.samples), count)
        except OSError as error:
            raise self._error(error) from error
        except SegmentError as error:
            raise self._short_error(0, count) from error
        finally:
            # Not before an error is made: whether the disk is full is looked at there.
            part.unlink(missing_ok=True)
        return segment

    def _short_error(self, got: int, expected: int) -> VideoFileError:
        return write_error(
            self.path, f"{got} of {expected} pictures of the last second were encoded"
        )

    def _error(self, error: OSError) -> VideoFileError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return full_error(self.path)
        return VideoFileError(f"{self.path}: cannot be written ({error.strerror})")


def _tell_codec(path: Path, codec: str) -> None:
    """Log how a video is coded, and what cannot play it."""
    if codec == "h264":
        logger.info("%s: H.264", path)
        return
    logger.info(
        "%s: MPEG-4, since this OpenCV %s has no H.264 encoder (the system's has: apt install "
        "python3-opencv); VLC, mpv and ffplay play it, browsers do not",
        *(path, cv2.__version__),
    )


def _ticks(time_ns: int) -> int:
    return round(time_ns * TICKS_PER_S / 1e9)
