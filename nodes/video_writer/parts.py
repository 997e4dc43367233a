"""One video after the other: by time, and where the disk is full."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..video_output import (
    DiskFullError,
    VideoFile,
    VideoFileError,
    make_folder,
    open_video_file,
    remove_empty,
    reserve_free,
)

logger = logging.getLogger(__name__)

_A_SECOND_NS = 1_000_000_000


class Parts:
    """The videos of one run, of which the last one is being written.

    Args:
        pattern: path of the videos, with the fields of `time.strftime`.
        codec: as for `open_video_file`.
        split_minutes: how long one is at most; 0: without end.
        keep: how many there are at most; 0: any number.
        local_time: the time of a name.
    """

    def __init__(
        self,
        pattern: Path,
        codec: str = "auto",
        split_minutes: float = 0.0,
        keep: int = 0,
        *,
        local_time: Callable[[], time.struct_time] = time.localtime,
    ) -> None:
        self._pattern = pattern
        self._codec = codec
        self._split_ns = round(split_minutes * 60e9)
        self._keep = keep
        self._local_time = local_time
        self._video: VideoFile | None = None
        self._began_ns = 0
        self._written: deque[Path] = deque()

    def add(self, image: NDArray[np.uint8], time_ns: int) -> None:
        """Write a picture, taken at `time_ns`, into the present video or a new one.

        With `keep`, a full disk costs the oldest video, as long as there is one.

        Raises:
            VideoFileError: it cannot be written, or the disk is full.
        """
        try:
            # What was kept back of the last second is written here: the disk may be full already.
            if self._is_over(time_ns):
                self.close()
            self._add(image, time_ns)
        except DiskFullError as error:
            # The one that has just ended is no older one.
            others = len(self._written) - (self._video is None)
            if not self._keep or others < 1:
                raise
            logger.warning("%s", error)
            with contextlib.suppress(DiskFullError):
                self.close()  # it can be read without its end
            self._remove_oldest()
            self._add(image, time_ns)

    def close(self) -> None:
        """Finish the present video, if there is one.

        Raises:
            VideoFileError: its end cannot be written.
        """
        video, self._video = self._video, None
        if video is None:
            return
        pictures, duration_s = video.pictures, video.duration_s
        try:
            path = video.close()
        except DiskFullError:
            self._written += [*video.earlier_paths, video.path]
            raise
        if path is None:
            return
        self._written += [*video.earlier_paths, path]
        # Whole: the node runs in the folder of the dataflow file, its reader elsewhere.
        logger.info(
            "saved: %s: %d pictures, %.1f s, %.1f MiB",
            *(path.absolute(), pictures, duration_s, path.stat().st_size / 2**20),
        )

    def _is_over(self, time_ns: int) -> bool:
        if not self._split_ns or self._video is None:
            return False
        # Far back is another clock, whose times say nothing of how long this one is.
        return not -_A_SECOND_NS < time_ns - self._began_ns < self._split_ns

    def _add(self, image: NDArray[np.uint8], time_ns: int) -> None:
        if self._video is None:
            while self._keep and len(self._written) >= self._keep:
                self._remove_oldest()
            path = self._reserve_path()
            self._began_ns = time_ns
            try:
                self._video = open_video_file(path, self._codec)
                self._video.add(image, time_ns)
            except VideoFileError:
                remove_empty(path)
                raise
            return
        self._video.add(image, time_ns)

    def _remove_oldest(self) -> None:
        oldest = self._written.popleft()
        oldest.unlink(missing_ok=True)
        logger.info("removed: %s", oldest.absolute())

    def _reserve_path(self) -> Path:
        """Make an empty file of a free name, so that no other writer takes it meanwhile."""
        path = Path(time.strftime(str(self._pattern), self._local_time()))
        make_folder(path)
        try:
            return reserve_free(path)
        except OSError as error:
            return Path(error.filename)  # whoever writes the video tells why it cannot
