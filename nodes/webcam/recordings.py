"""Sources that are not live: a video file, pictures, the synthetic scene."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from dora_rt.picture_size import MAX_PIXELS, read_size

from .capture import Capture, as_bgr, frame_rate, frame_shape, grab, retrieve_into
from .frame import Frame, Image, SourceError
from .pacing import Pacer
from .scene import Scene, SceneOptions, scene_metadata

logger = logging.getLogger(__name__)

FALLBACK_VIDEO_FPS = 30.0
PICTURES_FPS = 10.0


class Recording:
    """Frames that are there already, given at a steady rate until `_seek` finds no more."""

    def __init__(
        self,
        fps: float,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._pacer = Pacer(fps, clock, sleep)
        self._is_finished = False

    @property
    def is_finished(self) -> bool:
        """Whether the last frame was given."""
        return self._is_finished

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame | None]:
        """Wait until the next frame is due; None after `timeout_s`, or at the end.

        Raises:
            SourceError: the file cannot be read.
        """
        number = None
        if not self._is_finished:
            number = self._pacer.wait_due(timeout_s, newest=newest and self._may_skip())
        if number is not None and not self._seek(number):
            self._is_finished = True
        yield None if number is None or self._is_finished else self._make_frame(number)

    def close(self) -> None:
        """Close the file, if there is one."""

    def _may_skip(self) -> bool:
        return True

    def _seek(self, number: int) -> bool:
        """Go to frame `number`, which is never before the present one; False behind the end."""
        raise NotImplementedError

    def _make_frame(self, number: int) -> Frame:
        raise NotImplementedError


class VideoFile(Recording):
    """A video file, at its own rate unless another one is asked for."""

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        *,
        loop: bool = False,
        open_capture: Callable[[Path], Capture] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._loop = loop
        self._open_capture = open_capture or _open_video
        self._capture = self._open_capture(path)
        self._position = -1
        self._has_frames = False
        own_fps = frame_rate(self._capture) or FALLBACK_VIDEO_FPS
        super().__init__(own_fps if fps is None else fps, clock=clock, sleep=sleep)
        height, width, _ = frame_shape(self._capture)
        played = own_fps if fps is None else fps
        rate = f"{played:g} fps" if played > 0 else "full speed"
        logger.info(
            "video %s: %dx%d, made at %.4g fps, played at %s%s",
            *(path, width, height, own_fps, rate, ", again and again" if loop else ""),
        )

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _seek(self, number: int) -> bool:
        while self._position < number:
            if not grab(self._capture) and not self._rewind_and_grab():
                return False
            self._has_frames = True
            self._position += 1
        return True

    def _rewind_and_grab(self) -> bool:
        if not self._has_frames:
            raise SourceError(
                f"--source '{self._path}': the file opens as a video, but has no readable frame; "
                "it may be cut off or still being written"
            )
        if not self._loop:
            return False
        # Opened afresh, because seeking back to frame 0 is inexact or impossible in many formats.
        self._capture.release()
        self._capture = self._open_capture(self._path)
        return grab(self._capture)

    def _make_frame(self, number: int) -> Frame:
        return Frame(
            number=number,
            captured_ns=self._clock(),
            shape=frame_shape(self._capture),
            fill=lambda out: retrieve_into(self._capture, out),
        )


class Pictures(Recording):
    """Picture files one after the other; none is skipped, however slowly they are asked for."""

    def __init__(
        self,
        paths: Sequence[Path],
        fps: float | None = None,
        *,
        loop: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._paths = list(paths)
        self._loop = loop
        self._shown: tuple[Path, Image] | None = None
        super().__init__(PICTURES_FPS if fps is None else fps, clock=clock, sleep=sleep)
        logger.info("%d pictures, from %s to %s", len(paths), paths[0], paths[-1].name)

    def _may_skip(self) -> bool:
        return False

    def _seek(self, number: int) -> bool:
        if number >= len(self._paths) and not self._loop:
            return False
        path = self._paths[number % len(self._paths)]
        # One picture shown again and again is read once.
        if self._shown is None or self._shown[0] != path:
            self._shown = (path, _read_picture(path))
        return True

    def _make_frame(self, number: int) -> Frame:
        assert self._shown is not None
        path, image = self._shown
        height, width, _ = image.shape
        return Frame(
            number=number,
            captured_ns=self._clock(),
            shape=(height, width, 3),
            fill=lambda out: np.copyto(out, image),
            metadata={"file": path.name},
        )


class SceneSource(Recording):
    """The synthetic scene, which knows the true boxes of every frame."""

    def __init__(
        self,
        options: SceneOptions,
        fps: float | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(options.fps if fps is None else fps, clock=clock, sleep=sleep)
        self._options = options
        self._scene = Scene(options.width, options.height, options.seed, options.objects)

    def _seek(self, number: int) -> bool:
        return self._options.frames is None or number < self._options.frames

    def _make_frame(self, number: int) -> Frame:
        metadata: dict[str, Any] = {}

        def draw(out: Image) -> None:
            # The boxes are known once it is drawn, which happens in the receiver's memory.
            boxes = self._scene.render(number, out)
            metadata.update(scene_metadata(self._options.seed, number, boxes))

        return Frame(
            number=number,
            # A camera's frame is stamped when it is there, not when its exposure began.
            captured_ns=self._clock(),
            shape=(self._options.height, self._options.width, 3),
            fill=draw,
            metadata=metadata,
        )


def _open_video(path: Path) -> Capture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise SourceError(
            f"--source '{path}': the file is there, but OpenCV cannot read it as a video; try "
            f"'ffprobe {path}', or convert it to MP4 (H.264) or AVI (MJPG)"
        )
    return cast(Capture, capture)


def _read_picture(path: Path) -> Image:
    # Only a file: a fifo and the like can block without end.
    is_file = path.is_file()
    try:
        size = read_size(path) if is_file else None
    except OSError as error:
        raise SourceError(f"--source: '{path}' cannot be read: {error.strerror}") from error
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise SourceError(
            f"--source: '{path}' has {size[0]} x {size[1]} pixels, more than "
            f"{MAX_PIXELS // 10**6} million; make it smaller"
        )
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if is_file else None
    if image is None:
        raise SourceError(f"--source: '{path}' cannot be read as a picture; repair or remove it")
    return as_bgr(image)
