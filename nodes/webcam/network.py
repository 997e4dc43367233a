"""What is behind a URL: a camera, a recording, or a picture."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from dora_rt.picture import NoPictureError, picture_of
from dora_rt.redaction import ENCODING_HINT, needs_encoding, without_secrets

from ..scaling import resized
from .camera import Camera
from .capture import (
    CameraFormat,
    CameraUnavailableError,
    Capture,
    frame_count,
    frame_rate,
    open_stream,
)
from .frame import Frame, FrameSource, Image, SourceError
from .played_video import PlayedVideo
from .recordings import Recording
from .resizing import ResizedSource

logger = logging.getLogger(__name__)

SNAPSHOT_FPS = 1.0
_TIMEOUT_S = 5.0
_MAX_PICTURE_NBYTES = 64 << 20
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class FoundError(SourceError):
    """What was opened as a camera is none; `source` plays it."""

    def __init__(self, source: FrameSource) -> None:
        super().__init__("it is no camera")
        self.source = source


class NetworkSource:
    """A URL, which is a camera until its answer shows that it is a recording or a picture.

    Args:
        url: of any protocol that FFmpeg has.
        wanted: a rate and a size for a recording.
        loop: play a recording again at its end; fetch a picture again and again.
        open_url: opens it as a video.
        fetch: reads a picture, or None if it is none.
    """

    def __init__(
        self,
        url: str,
        wanted: CameraFormat,
        *,
        loop: bool = False,
        open_url: Callable[[str], Capture] = open_stream,
        fetch: Callable[[str], bytes | None] | None = None,
    ) -> None:
        self._url = url
        self._wanted = wanted
        self._loop = loop
        self._open_url = open_url
        self._fetch = fetch or fetch_picture
        self._may_be_picture = url.lower().startswith(("http://", "https://"))
        self._camera = Camera(without_secrets(url), self._open, wanted)
        self._source: FrameSource = self._camera
        self._fps = wanted.fps
        self._camera.start()

    @property
    def is_finished(self) -> bool:
        """Whether a recording has come to its end; a camera may always come back."""
        return self._source.is_finished

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame | None]:
        """Wait for a frame that was not given before; None after `timeout_s`, or at the end.

        Raises:
            SourceError: a recording cannot be read.
        """
        if self._source is self._camera:
            try:
                with self._camera.frame(timeout_s, newest=newest) as frame:
                    yield frame
                return
            except FoundError as found:
                self._camera.close()
                self._source = found.source
                if self._fps != self._wanted.fps:
                    self._source.set_fps(self._fps)
        with self._source.frame(timeout_s, newest=newest) as frame:
            yield frame

    def set_fps(self, fps: float | None) -> None:
        """Go on at another rate, whatever answers there."""
        self._fps = fps
        self._source.set_fps(fps)

    def close(self) -> None:
        """Close the connection."""
        self._source.close()

    def _open(self) -> Capture:
        """Open it, in the camera's thread.

        Raises:
            CameraUnavailableError: nothing answers.
            FoundError: it is a recording or a picture.
        """
        if self._may_be_picture:
            picture = self._fetch(self._url)
            if picture is not None:
                return self._open_picture(picture)
        try:
            capture = self._open_url(self._url)
        except CameraUnavailableError as error:
            hint = f"; {ENCODING_HINT}" if needs_encoding(self._url) else ""
            raise CameraUnavailableError(f"{error}{hint}") from error
        # What answered once as a video is not asked again: some cameras have one viewer at a time.
        self._may_be_picture = False
        if frame_count(capture) is None or frame_rate(capture) is None:
            return capture
        video = PlayedVideo(
            self._url,
            self._wanted.fps,
            loop=self._loop,
            open_capture=self._open_again,
            capture=capture,
        )
        raise FoundError(self._sized(video))

    def _open_picture(self, picture: bytes) -> Capture:
        name = without_secrets(self._url)
        if not self._loop and self._wanted.fps is None:
            image = decode_picture(name, picture)
            logger.info(
                "%s: one picture, which is sent once; with --loop or --fps it is fetched again and "
                "again",
                name,
            )
            raise FoundError(self._sized(StillPicture(image)))
        fps = SNAPSHOT_FPS if self._wanted.fps is None else self._wanted.fps
        size = self._wanted.width, self._wanted.height
        return SnapshotCapture(name, picture, lambda: self._fetch(self._url), fps, size)

    def _open_again(self) -> Capture:
        try:
            return self._open_url(self._url)
        except CameraUnavailableError as error:
            raise SourceError(
                f"--source '{without_secrets(self._url)}': cannot be opened again: {error}"
            ) from error

    def _sized(self, source: FrameSource) -> FrameSource:
        return ResizedSource(source, self._wanted.width, self._wanted.height)


class StillPicture(Recording):
    """One picture, given once."""

    def __init__(self, image: Image) -> None:
        super().__init__(0.0)
        self._image = image

    def _seek(self, number: int) -> bool:
        return number == 0

    def _make_frame(self, number: int) -> Frame:
        height, width, _ = self._image.shape
        image = self._image
        return Frame(number, self._clock(), (height, width, 3), lambda out: np.copyto(out, image))


class SnapshotCapture:
    """A camera's snapshot URL as a capture: each grab fetches the picture again.

    Args:
        name: of the source, for errors.
        first: the picture that was fetched already.
        fetch: fetches the next one; None if there is none.
        fps: how often, at most.
        size: width and height in which it is given, as of a recording.
        clock: nanoseconds of a monotonic clock.
        sleep: sleeps for some seconds.
    """

    def __init__(
        self,
        name: str,
        first: bytes,
        fetch: Callable[[], bytes | None],
        fps: float,
        size: tuple[int | None, int | None] = (None, None),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._picture: bytes | None = first
        self._is_fresh = True
        self._fetch = fetch
        self._fps = fps
        self._size = size
        self._clock = clock
        self._sleep = sleep
        self._fetched_ns = clock()
        self._shape = resized(decode_picture(name, first), *self._size).shape

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return True: there is no connection between two pictures."""
        return True

    def grab(self) -> bool:
        """Wait until the next picture is due, and fetch it."""
        if self._is_fresh:
            self._is_fresh = False
            return True
        if self._fps > 0:
            due_ns = self._fetched_ns + round(1e9 / self._fps)
            self._sleep(max((due_ns - self._clock()) / 1e9, 0))
        self._fetched_ns = self._clock()
        self._picture = self._fetch()
        return self._picture is not None

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        """Decode the picture."""
        if self._picture is None:
            return False, None
        try:
            decoded = resized(decode_picture(self._name, self._picture), *self._size)
        except SourceError as error:
            logger.debug("%s", error)
            return False, None
        self._shape = decoded.shape
        return True, decoded

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        """Read size and rate."""
        height, width = self._shape[:2]
        known = {
            cv2.CAP_PROP_FRAME_WIDTH: float(width),
            cv2.CAP_PROP_FRAME_HEIGHT: float(height),
            cv2.CAP_PROP_FPS: self._fps,
        }
        return known.get(propId, 0.0)

    def set(self, propId: int, value: float) -> bool:  # noqa: N803 - OpenCV's name
        """Set how often it is fetched; nothing else can be asked for."""
        if propId == cv2.CAP_PROP_FPS:
            self._fps = value
        return propId == cv2.CAP_PROP_FPS

    def release(self) -> None:
        """Do nothing: there is no connection between two pictures."""


def fetch_picture(url: str) -> bytes | None:
    """Fetch a picture by HTTP; None if nothing answers, or the answer is something else."""
    try:
        with closing(_open_url(url)) as answer:
            kind = answer.headers.get_content_maintype()
            if kind in ("multipart", "video", "audio", "text"):
                return None
            head = answer.read(len(_MAGIC[1]))
            if kind != "image" and not head.startswith(_MAGIC):
                return None
            picture = head + answer.read(_MAX_PICTURE_NBYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        # FFmpeg tries it too, with more protocols and other ways to log in, and has the last word.
        logger.debug("%s: %s", without_secrets(url), type(error).__name__)
        return None
    return picture if len(picture) < _MAX_PICTURE_NBYTES else None


def decode_picture(name: str, picture: bytes) -> Image:
    """Decode the bytes of a picture file.

    Raises:
        SourceError: they are none, or of an absurdly large one.
    """
    try:
        return picture_of(picture, {})
    except NoPictureError as error:
        raise SourceError(
            f"--source '{name}': it answers with what is no picture for OpenCV: {error}"
        ) from error


def _open_url(url: str) -> Any:
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if user:
        passwords.add_password(None, bare, unquote(user), unquote(password))
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
    )
    return opener.open(bare, timeout=_TIMEOUT_S)
