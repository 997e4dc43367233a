"""Keep a live camera's newest frame at hand, however often the camera goes away."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2

from .capture import (
    CameraFormat,
    CameraUnavailableError,
    Capture,
    describe_format,
    frame_shape,
    grab,
    retrieve_into,
)
from .frame import Frame, FrameLostError, Image, SizeChangedError, SourceError

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
FAILURES_UNTIL_LOST = 10
SILENCE_UNTIL_LOST_S = 3.0
# Failing reads of an unplugged camera return at once: without a pause they are a busy loop.
FAILURE_PAUSE_S = 0.02
_CLOSING_TIMEOUT_S = 1.0
_PLAUSIBLE_AGE_NS = 1_000_000_000
_TOLD_BLACK_PICTURES = 50


def backoff_delays() -> Iterator[float]:
    """Return the seconds to wait before each further attempt: 0.5, 1, 2, 4, 8, 8, ..."""
    for doublings in itertools.count():
        yield min(FIRST_DELAY_S * 2 ** min(doublings, 16), LONGEST_DELAY_S)


class Camera:
    """A camera whose frames a thread of its own grabs, so that the newest one wins.

    Grabbing takes the frame from the driver, and costs nothing; only the frame that is wanted is
    decoded, by the thread that wants it, straight to where it wants it.

    Args:
        name: the name of the camera in the log.
        open_capture: opens it; raises CameraUnavailableError while it is away, or SourceError if
            it can never be opened.
        wanted: only for the log.
        clock: nanoseconds of a monotonic clock.
        wait: sleeps for some seconds; True if the camera was closed in the meantime.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        wanted: CameraFormat,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._name = name
        self._open_capture = open_capture
        self._wanted_format = wanted
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._thread = threading.Thread(target=self.grab_until_closed, name="grab", daemon=True)
        # All below is guarded by the condition. The capture itself belongs to the grab thread,
        # except while `_is_lent`: OpenCV's captures bear only one thread at a time.
        self._condition = threading.Condition()
        self._capture: Capture | None = None
        self._shape = (480, 640, 3)
        self._grabbed = 0
        self._taken = 0
        self._captured_ns = 0
        self._is_grabbing = False
        self._is_wanted = False
        self._is_lent = False
        self._failed_retrieves = 0
        self._black_pictures: int | None = 0
        self._error: SourceError | None = None
        self._asked_fps: float | None = None

    def start(self) -> None:
        """Start the thread that opens the camera and grabs its frames."""
        self._thread.start()

    @property
    def is_finished(self) -> bool:
        """False: a camera that is away may come back."""
        return False

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame | None]:
        """Lend the newest frame that was not given before; None after `timeout_s`.

        Raises:
            SourceError: the camera can never be opened.
        """
        with self._condition:
            # A wish keeps the grab thread from taking the capture again before this thread wakes.
            self._is_wanted = True
            has_frame = self._condition.wait_for(
                lambda: self._error is not None or self._has_fresh_frame(), timeout_s
            )
            self._is_wanted = False
            if self._error is not None:
                raise self._error
            capture = self._capture
            if not has_frame or capture is None:
                self._condition.notify_all()
                lent = None
            else:
                self._is_lent = True
                self._taken = self._grabbed
                lent = Frame(
                    number=self._grabbed - 1,
                    captured_ns=self._captured_ns,
                    shape=self._shape,
                    fill=lambda out: self._fill(capture, out),
                )
        try:
            yield lent
        finally:
            with self._condition:
                self._is_lent = False
                self._condition.notify_all()

    def set_fps(self, fps: float | None) -> None:
        """Ask for another rate before the next frame, and again whenever the camera is opened."""
        with self._condition:
            # None and 0 are what a camera cannot be asked for: the rate that was asked for first.
            self._asked_fps = fps or self._wanted_format.fps or None

    def close(self) -> None:
        """Stop grabbing; a read that blocks is left to its daemon thread and not waited for."""
        self._closed.set()
        with self._condition:
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_TIMEOUT_S)

    def grab_until_closed(self) -> None:
        """Open the camera, grab until it is lost, and again; runs in the grab thread."""
        delays = backoff_delays()
        was_told = False
        while not self._closed.is_set():
            try:
                capture = self._open_capture()
            except CameraUnavailableError as error:
                if not was_told:
                    self._tell_trouble(f"cannot be opened: {error}")
                    was_told = True
            except SourceError as error:
                self._fail(error)
                return
            else:
                trouble = self._grab_until_lost(capture)
                if trouble is not None:
                    if self._has_delivered(capture):
                        delays = backoff_delays()
                        was_told = False
                    if not was_told:
                        self._tell_trouble(trouble)
                        was_told = True
                self._release(capture)
            if self._closed.is_set() or self._wait(next(delays)):
                return

    def _grab_until_lost(self, capture: Capture) -> str | None:
        """Grab frames; return the reason why there are no more, or None after `close`."""
        failures = 0
        frames = 0
        set_fps: float | None = None
        last_good_ns = self._clock()
        while not self._closed.is_set():
            with self._condition:
                self._condition.wait_for(self._may_grab)
                self._is_grabbing = True
                asked_fps = self._asked_fps
            if asked_fps is not None and asked_fps != set_fps:
                set_fps = asked_fps
                self._ask_for_fps(capture, asked_fps)
            was_grabbed = grab(capture)
            now_ns = self._clock()
            with self._condition:
                self._is_grabbing = False
                if was_grabbed:
                    self._keep_grabbed(capture, now_ns)
                failed_retrieves = self._failed_retrieves
            if was_grabbed:
                if frames == 0:
                    self._tell_format(capture)
                frames += 1
                failures = 0
                last_good_ns = now_ns
            else:
                failures += 1
                if now_ns - last_good_ns > SILENCE_UNTIL_LOST_S * 1e9:
                    return f"gave no frame for {(now_ns - last_good_ns) / 1e9:.1f} s"
                if failures >= FAILURES_UNTIL_LOST:
                    return f"lost after {failures} failed reads"
                if self._wait(FAILURE_PAUSE_S):
                    return None
            if failed_retrieves >= FAILURES_UNTIL_LOST:
                return f"lost after {failed_retrieves} frames that could not be decoded"
        return None

    def _keep_grabbed(self, capture: Capture, now_ns: int) -> None:
        if self._capture is not capture:
            self._capture = capture
            self._shape = frame_shape(capture)
            self._failed_retrieves = 0
        self._grabbed += 1
        self._captured_ns = _captured_ns(capture, now_ns)
        self._condition.notify_all()

    def _fill(self, capture: Capture, out: Image) -> None:
        try:
            retrieve_into(capture, out)
        except SizeChangedError as changed:
            height, width, _ = changed.image.shape
            with self._condition:
                self._shape = (height, width, 3)
                self._failed_retrieves = 0
            raise
        except FrameLostError:
            with self._condition:
                self._failed_retrieves += 1
            raise
        with self._condition:
            self._failed_retrieves = 0
        self._look_for_light(out)

    def _look_for_light(self, image: Image) -> None:
        """Tell once that all pictures so far are black; runs in the reader's thread."""
        if self._black_pictures is None:
            return
        self._black_pictures = None if image.any() else self._black_pictures + 1
        if self._black_pictures == _TOLD_BLACK_PICTURES:
            self._black_pictures = None
            logger.warning(
                "camera %s: all its pictures are black; if it is not dark there, it may be "
                "interlaced, which OpenCV %s does not convert: choose a progressive mode of it",
                *(self._name, cv2.__version__),
            )

    def _release(self, capture: Capture) -> None:
        with self._condition:
            # The reader may still be decoding the last frame.
            self._condition.wait_for(lambda: not self._is_lent)
            self._capture = None
        capture.release()

    def _fail(self, error: SourceError) -> None:
        with self._condition:
            self._error = error
            self._condition.notify_all()

    def _has_fresh_frame(self) -> bool:
        return self._capture is not None and self._grabbed > self._taken and not self._is_grabbing

    def _may_grab(self) -> bool:
        if self._closed.is_set():
            return True
        return not self._is_lent and not (self._is_wanted and self._has_fresh_frame())

    def _has_delivered(self, capture: Capture) -> bool:
        with self._condition:
            return self._capture is capture

    def _ask_for_fps(self, capture: Capture, fps: float) -> None:
        """Ask for another rate; runs in the grab thread, which has the capture now."""
        try:
            is_set = capture.set(cv2.CAP_PROP_FPS, fps)
        except cv2.error:
            is_set = False
        if not is_set:
            logger.warning("camera %s: it does not change its rate to %g fps", self._name, fps)

    def _tell_format(self, capture: Capture) -> None:
        got = describe_format(capture)
        logger.info("camera %s: asked %s, got %s", self._name, self._wanted_format, got)

    def _tell_trouble(self, trouble: str) -> None:
        logger.warning(
            "camera %s: %s; trying again until it is there, every %g to %g s",
            *(self._name, trouble, FIRST_DELAY_S, LONGEST_DELAY_S),
        )


def _captured_ns(capture: Capture, now_ns: int) -> int:
    """Return when the driver took the frame, or `now_ns` where it does not say so credibly."""
    # V4L2 stamps frames with CLOCK_MONOTONIC; other backends return the position in their stream,
    # which is not near the present except by accident.
    stamp_ns = int(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
    return stamp_ns if 0 <= now_ns - stamp_ns < _PLAUSIBLE_AGE_NS else now_ns
