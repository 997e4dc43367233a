"""A recorded video, played as it was made: by the times of its frames, over damaged places."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from dora_rt.redaction import without_secrets

from .capture import Capture, frame_count, frame_rate, frame_shape, grab, retrieve_into
from .frame import Frame, FrameLostError, Image, SizeChangedError, SourceError
from .interlacing import InterlaceWatch
from .pacing import Timeline

logger = logging.getLogger(__name__)

FALLBACK_FPS = 30.0
# Each further try reads up to hundreds of packets: what comes behind so much damage is not found.
_TRIES_OVER_DAMAGE = 100
_LONGEST_TRIES_NS = 3_000_000_000
_EXAMINED_FRAMES = 100
_NOTICED_PAUSE_NS = 10_000_000_000


class PlayedVideo:
    """A video file or a video in the network, at its own pace unless another one is asked for.

    Args:
        place: path or URL.
        fps: a steady rate instead of its own times; 0: as fast as it is read.
        loop: begin again at the end.
        open_capture: opens it again for the next round.
        capture: it is open already.
        clock: nanoseconds of a monotonic clock.
        sleep: sleeps for some seconds.

    Raises:
        SourceError: it is no video.
    """

    def __init__(
        self,
        place: Path | str,
        fps: float | None = None,
        *,
        loop: bool = False,
        open_capture: Callable[[], Capture] | None = None,
        capture: Capture | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = without_secrets(str(place))
        self._fps = fps
        self._loop = loop
        self._open_capture = open_capture or (lambda: open_video(Path(place)))
        self._clock = clock
        self._sleep = sleep
        self._capture = self._open_capture() if capture is None else capture
        self._own_fps = frame_rate(self._capture) or FALLBACK_FPS
        self._count = frame_count(self._capture)
        duration_s = None if self._count is None else self._count / self._own_fps
        self._timeline = Timeline(self._own_fps, duration_s)
        self._interlace_watch = InterlaceWatch()
        self._started_ns: int | None = None
        self._number = -1
        self._is_waiting = False
        self._is_finished = False
        self._round_frames = 0
        self._damaged_places = 0
        self._has_told_end = False
        self._has_picture = self._was_black_examined = False
        self._kept: Image = np.empty((0, 0, 3), np.uint8)
        logger.info("video %s: %s", self._name, self._describe(duration_s))

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
        yield self._take(timeout_s, newest=newest)

    def set_fps(self, fps: float | None) -> None:
        """Go on at another rate; None: at its own pace."""
        self._fps = fps
        # The next frame is due at once, and those behind it by the new rate.
        self._started_ns = None

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _take(self, timeout_s: float, *, newest: bool) -> Frame | None:
        if self._is_finished or not (self._is_waiting or self._advance()):
            self._is_finished = True
            return None
        if self._started_ns is None:
            self._started_ns = self._clock() - self._offset_ns()
        wait_s = self._wait_s()
        if wait_s > 0:
            self._sleep(min(wait_s, timeout_s))
            if wait_s > timeout_s:
                return None
        elif newest and self._fps != 0 and (frame := self._take_newest_due()) is not None:
            return frame
        self._is_waiting = False
        return self._make_frame(self._fill)

    def _take_newest_due(self) -> Frame | None:
        """Pass over frames whose successor is due too; None if the one in the capture is right."""
        while True:
            # Whether the next one is due is only known when it is there, in the place of this one.
            if not self._keep():
                return None
            number, captured_ns = self._number, self._clock()
            if not self._advance():
                break
            if self._wait_s() > 0:
                break
        image = self._kept
        return Frame(number, captured_ns, _shape(image), lambda out: np.copyto(out, image))

    def _keep(self) -> bool:
        shape = frame_shape(self._capture)
        if self._kept.shape != shape:
            self._kept = np.empty(shape, np.uint8)
        try:
            self._fill(self._kept)
        except SizeChangedError as changed:
            self._kept = changed.image
        except FrameLostError:
            return False
        return True

    def _wait_s(self) -> float:
        if self._fps == 0:
            return 0.0
        assert self._started_ns is not None
        return (self._started_ns + self._offset_ns() - self._clock()) / 1e9

    def _offset_ns(self) -> int:
        return round(self._number * 1e9 / self._fps) if self._fps else self._timeline.offset_ns

    def _advance(self) -> bool:
        """Go to the next frame; False behind the last one."""
        self._is_waiting = self._grab()
        if not self._is_waiting:
            return False
        self._number += 1
        self._round_frames += 1
        step_ns = self._timeline.add(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if step_ns > _NOTICED_PAUSE_NS and self._fps is None:
            logger.info("video %s: no picture for %.0f s, as recorded", self._name, step_ns / 1e9)
        return True

    def _grab(self) -> bool:
        if grab(self._capture) or self._grab_behind_damage():
            return True
        if self._number < 0:
            raise SourceError(
                f"--source '{self._name}': the file opens as a video, but has no readable frame; "
                "it may be cut off or still being written"
            )
        self._tell_end()
        if not self._loop:
            return False
        # Opened afresh, because seeking back to frame 0 is inexact or impossible in many formats.
        self._capture.release()
        self._capture = self._open_capture()
        self._timeline.begin_again()
        self._round_frames = self._damaged_places = 0
        return grab(self._capture) or self._grab_behind_damage()

    def _grab_behind_damage(self) -> bool:
        """Try again: the end of a file and an error in it are the same to OpenCV."""
        if self._count is not None and self._round_frames >= self._count:
            return False
        began_ns = self._clock()
        for _ in range(_TRIES_OVER_DAMAGE):
            if grab(self._capture):
                self._damaged_places += 1
                return True
            if self._clock() - began_ns > _LONGEST_TRIES_NS:
                break
        return False

    def _tell_end(self) -> None:
        """Warn of frames that the file should have had, in the first round only."""
        if self._has_told_end:
            return
        self._has_told_end = True
        places = _counted(self._damaged_places, "damaged place")
        if self._count is None:
            if self._damaged_places:
                logger.warning("video %s: %s passed over", self._name, places)
            return
        frames, count = self._round_frames, self._count
        if count - frames <= max(2, count // 100):
            if self._damaged_places:
                logger.warning("video %s: %s passed over", self._name, places)
            return
        duration_s, elapsed_s = count / self._own_fps, self._timeline.elapsed_s
        # The last frame lasts as long as the one before, as far as one knows.
        known_s = elapsed_s + self._timeline.last_step_ns / 1e9
        if known_s < 0.99 * duration_s - 2 / self._own_fps:
            logger.warning(
                "video %s: ended after %d of %d frames (%.1f of %.1f s): the file is cut off or "
                "damaged",
                *(self._name, frames, count, elapsed_s, duration_s),
            )
        elif self._damaged_places:
            logger.warning(
                "video %s: %d of %d frames read, %s passed over",
                *(self._name, frames, count, places),
            )
        elif self._timeline.is_steady:
            # Where the container does not count its frames, their number is its length by its rate.
            logger.warning(
                "video %s: %d of about %d frames read: it has pauses, or was damaged where they "
                "would be",
                *(self._name, frames, count),
            )

    def _make_frame(self, fill: Callable[[Image], None]) -> Frame:
        return Frame(self._number, self._clock(), frame_shape(self._capture), fill)

    def _fill(self, out: Image) -> None:
        retrieve_into(self._capture, out)
        if not self._has_picture:
            self._has_picture = bool(out.any())
            if not self._has_picture and not self._was_black_examined:
                self._was_black_examined = True
                self._examine_black()
        if self._interlace_watch.look(out):
            logger.warning(
                "video %s: it is interlaced, moving edges look like combs; models see better if "
                "you deinterlace it first: ffmpeg -i IN -vf yadif OUT.mp4",
                self._name,
            )

    def _examine_black(self) -> None:
        """Find out whether black pictures are such, or those that OpenCV failed to convert.

        FFmpeg 8 refuses to convert interlaced pictures as OpenCV 5.0 asks it to, and OpenCV returns
        black ones without an error.
        """
        capture = self._open_capture()
        try:
            if _has_light(capture) or _is_darkness_recorded(capture):
                return
        except cv2.error:
            return
        finally:
            capture.release()
        logger.warning(
            "video %s: OpenCV %s gives only black pictures of it, as it does of interlaced videos; "
            "deinterlace it first: ffmpeg -i IN -vf yadif OUT.mp4",
            *(self._name, cv2.__version__),
        )

    def _describe(self, duration_s: float | None) -> str:
        height, width, _ = frame_shape(self._capture)
        length = "" if duration_s is None else f", {duration_s:.1f} s by its header"
        pace = "at its own pace" if self._fps is None else f"at {self._fps:g} fps"
        return (
            f"{width}x{height}, {self._own_fps:.4g} fps{length}, played "
            f"{'at full speed' if self._fps == 0 else pace}{', in a loop' if self._loop else ''}"
        )


def open_video(path: Path) -> Capture:
    """Open a video file.

    Raises:
        SourceError: OpenCV cannot read it as a video.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if capture.isOpened():
        return cast(Capture, capture)
    if path.stat().st_size == 0:
        raise SourceError(f"--source '{path}': the file is empty")
    if _lacks_index(path):
        raise SourceError(
            f"--source '{path}': this MP4 has no index (moov): its recording was not ended, or it "
            "is cut off; a tool such as untrunc can repair it with the help of a whole one"
        )
    raise SourceError(
        f"--source '{path}': the file is there, but OpenCV cannot read it as a video; try "
        f"'ffprobe {path}', or convert it to MP4 (H.264) or AVI (MJPG)"
    )


def _has_light(capture: Capture) -> bool:
    """Whether any of the next frames is not black altogether."""
    for _ in range(_EXAMINED_FRAMES):
        if not grab(capture):
            return False
        was_retrieved, image = capture.retrieve()
        if was_retrieved and image.any():
            return True
    return False


def _is_darkness_recorded(capture: Capture) -> bool:
    """Whether what is black was recorded so, as far as the brightness in the file tells."""
    if int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG"):
        return True  # black is 0 there, as it is in what was not converted
    capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    was_retrieved, raw = capture.retrieve()
    # The brightness of black is 16; that of a picture that was not even copied is 0.
    return not was_retrieved or raw is None or raw.ndim != 2 or float(np.median(raw)) > 0


def _lacks_index(path: Path) -> bool:
    """Whether this is the beginning of an MP4 whose table of frames is missing."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] != b"ftyp":
                return False
            position, kind = 0, b""
            end = path.stat().st_size
            while position < end and kind != b"moov":
                file.seek(position)
                box = file.read(16)
                if len(box) < 8:
                    break
                nbytes, kind = int.from_bytes(box[:4], "big"), box[4:8]
                if nbytes == 1:
                    nbytes = int.from_bytes(box[8:16], "big")
                position += nbytes if nbytes >= 8 else end
    except OSError:
        return False
    return kind != b"moov"


def _shape(image: Image) -> tuple[int, int, int]:
    height, width, channels = image.shape
    return height, width, channels


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
