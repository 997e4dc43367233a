"""Write an MP4 with the time of each picture, which survives the end of its process."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import cv2
import numpy as np

from .mp4_file import TICKS_PER_S, Mp4File, Segment, SegmentError, read_segment
from .video_file import Image, PictureTimes, VideoFileError, fitted, full_error, write_error

logger = logging.getLogger(__name__)

CODECS = ("auto", "h264", "mpeg4")

_FOURCCS = {"h264": "avc1", "mpeg4": "mp4v"}
_NAMES = {"h264": "H.264", "mpeg4": "MPEG-4"}
# What is lost at most if the process is killed.
_SEGMENT_NS = 1_000_000_000
_MOST_IN_SEGMENT = 240
# Encoders decide by it how many bits a picture gets, and pictures get the same at any rate.
_ENCODER_FPS = 30.0


class SegmentedVideo:
    """An MP4 with the time of each picture, and all but its last second there if it is killed.

    OpenCV encodes each second into a file of its own, of which the pictures are moved over.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self.path = path
        self.pictures = 0
        self._codec = codec
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._times = PictureTimes()
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
        at_ns = self._times.add(time_ns)
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
            if self._segment_ns:
                self._end_segment(self._times.end_ns)
            self._file.close()
        except OSError as error:
            raise self._error(error) from error
        finally:
            self._encoder = None
            self._part.unlink(missing_ok=True)
        return self.path

    def _begin(self, image: Image) -> None:
        height, width = image.shape[:2]
        # Most encoders halve the colours, and so need even sides.
        self._size = (max(width & ~1, 2), max(height & ~1, 2))
        self._codec = self._choose_codec()
        try:
            # Closed by Mp4File.
            self._file = Mp4File(self.path.open("wb"), self._size)
        except OSError as error:
            raise self._error(error) from error
        _tell_codec(self.path, self._codec)

    def _choose_codec(self) -> str:
        wanted = ("h264", "mpeg4") if self._codec == "auto" else (self._codec,)
        for codec in wanted:
            # By what it writes: a hardware encoder may open and then write nothing.
            try:
                encoder = self._open_encoder(codec)
                encoder.write(np.zeros((self._size[1], self._size[0], 3), np.uint8))
                self._read_part(encoder, 1)
            except VideoFileError as error:
                logger.debug("%s", error)
            else:
                return codec
            finally:
                self._part.unlink(missing_ok=True)
        width, height = self._size
        raise VideoFileError(
            f"{self.path}: OpenCV {cv2.__version__} cannot write a {_NAMES[wanted[-1]]} video of "
            f"{width}x{height} there; check the folder's permissions and the room on its disk"
        )

    def _open_encoder(self, codec: str) -> cv2.VideoWriter:
        encoder = cv2.VideoWriter(
            *(str(self._part), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*_FOURCCS[codec])),
            *(_ENCODER_FPS, self._size),
        )
        if not encoder.isOpened():
            raise VideoFileError(f"{self._part}: OpenCV cannot write {codec}")
        return encoder

    def _read_part(self, encoder: cv2.VideoWriter, count: int) -> Segment:
        encoder.release()
        try:
            segment = read_segment(self._part.read_bytes())
        except OSError as error:
            raise self._error(error) from error
        except SegmentError as error:
            raise self._short_error(0, count) from error
        if len(segment.samples) != count:
            raise self._short_error(len(segment.samples), count)
        return segment

    def _end_segment(self, end_ns: int) -> None:
        assert self._encoder is not None and self._file is not None
        encoder, times_ns = self._encoder, self._segment_ns
        self._encoder, self._segment_ns = None, []
        segment = self._read_part(encoder, len(times_ns))
        if self._settings is None:
            self._settings = segment.settings
        if segment.settings != self._settings:
            raise VideoFileError(f"{self.path}: the encoder has changed its settings meanwhile")
        try:
            self._file.add(segment, [_ticks(time_ns) for time_ns in times_ns], _ticks(end_ns))
        except OSError as error:
            raise self._error(error) from error

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
