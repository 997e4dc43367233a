"""Speaks to Rerun's SDK: the only module here that imports it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import socket
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from dora_rt.detections import Detections, label_of, numbered
from dora_rt.errors import DoraRtError, ExtraMissingError
from dora_rt.event import Event
from dora_rt.picture import NoPictureError, PictureFile, picture_of, read_picture
from dora_rt.picture_matcher import View

from ..class_colours import class_colour

logger = logging.getLogger(__name__)

_MAX_NUMBERS = 16
_KNOCK_S = 1.0  # between two looks whether the viewer is there
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_TIMELINE = "capture"


class ViewerError(DoraRtError):
    """There is no viewer to show the data."""


class NotShownError(DoraRtError):
    """A sample is nothing that the viewer shows."""


class Target(Enum):
    """Where it goes."""

    FILE = "file"
    VIEWER = "viewer"
    SPAWNED = "spawned"
    WEB = "web"


def memory_nbytes(text: str) -> int:
    """Read `512MB`, `1GiB`."""
    found = re.fullmatch(r"(\d+) ?([KMG]I?B)", text.strip().upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of memory, such as 512MB or 1GiB")
    return int(found[1]) * _UNITS[found[2]]


def open_stream(target: Target, address: str, *, port: int, memory_nbytes: int) -> Stream:
    """Open the viewer that the user chose.

    Raises:
        ExtraMissingError: Rerun is not installed.
        ViewerError: the file cannot be written, or no viewer can be started or served.
    """
    rerun = _import_rerun()
    recording = rerun.RecordingStream("dora_rt")
    limit = f"{memory_nbytes}B"
    try:
        match target:
            case Target.FILE:
                Path(address).parent.mkdir(parents=True, exist_ok=True)
                recording.save(address)
                return Stream(rerun, recording, str(Path(address).absolute()))
            case Target.VIEWER:
                return _Remote(rerun, recording, address, memory_nbytes)
            case Target.SPAWNED:
                recording.spawn(memory_limit=limit)
                return Stream(rerun, recording, "the viewer")
            case Target.WEB:
                uri = recording.serve_grpc(grpc_port=port + 1, server_memory_limit=limit)
                rerun.serve_web_viewer(web_port=port, open_browser=False, connect_to=uri)
                page = f"http://127.0.0.1:{port}/?url={uri}"
                logger.info("open %s to watch; other machines can reach it, too", page)
                return Stream(rerun, recording, "a web page")
    except (OSError, RuntimeError, ValueError) as error:
        raise ViewerError(f"Rerun cannot show anything: {error}") from error


class Stream:
    """A recording of the SDK. Everything may wait for the viewer; for one thread."""

    def __init__(self, rerun: Any, recording: Any, name: str) -> None:
        self._rerun = rerun
        self._recording = recording
        self.name = name
        self.left_out = 0
        # The SDK wants the time of day.
        self._since_1970_ns = time.time_ns() - time.monotonic_ns()

    def log_view(self, view: View[Event, Detections], quality: int) -> None:
        """Show a picture, and the boxes that were found in it, or say that they are not here.

        Raises:
            NoPictureError: it is no picture.
            CorruptSampleError: its metadata were overwritten in shared memory.
        """
        contents, media_type, size = _encoded(view.picture.pixels, quality)
        if not self._is_ready(view.picture.origin_ns):
            return
        picture = self._rerun.EncodedImage(contents=contents, media_type=media_type)
        self._recording.log("image", picture)
        found = view.findings.get("bbox")
        has_boxes = found is not None and found.are_of(*size)
        boxes = self._rerun.Clear(recursive=False)
        if found is not None and has_boxes and len(found.boxes):
            boxes = self._boxes(found)
        self._recording.log("image/boxes", boxes)
        if has_boxes or view.lacks_findings or view.findings:
            text = "boxes of this picture" if has_boxes else "no boxes of this picture"
            self._recording.log("image/about", self._rerun.TextDocument(text))

    def log_value(self, event: Event) -> None:
        """Show a few numbers as curves, and text as a log.

        Raises:
            NotShownError: it is neither.
        """
        what = self._value(event)
        if self._is_ready(event.origin_ns):
            self._recording.log(event.id, what)

    def close(self) -> None:
        """Hand on what waits, and end."""
        self._recording.disconnect()

    def _is_ready(self, origin_ns: int) -> bool:
        """Set the time of the next log entry; return False if it must be left out."""
        moment = np.datetime64(origin_ns + self._since_1970_ns, "ns")
        self._recording.set_time(_TIMELINE, timestamp=moment)
        return True

    def _boxes(self, detections: Detections) -> Any:
        boxes = detections.boxes
        classes = boxes[:, 5].astype(int).tolist()
        return self._rerun.Boxes2D(
            array=boxes[:, :4],
            array_format=self._rerun.Box2DFormat.XYXY,
            labels=[
                f"{numbered(label_of(number, detections.labels), detections.ids, index)} "
                f"{confidence:.2f}"
                for index, (number, confidence) in enumerate(zip(classes, boxes[:, 4], strict=True))
            ],
            colors=[class_colour(number)[::-1] for number in classes],
        )

    def _value(self, event: Event) -> Any:
        value = event.value
        if hasattr(value, "dtype"):
            if value.dtype.kind in "biuf" and 0 < value.size <= _MAX_NUMBERS:
                return self._rerun.Scalars(np.asarray(value, np.float64).reshape(-1))
        elif isinstance(value, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                return self._rerun.TextLog(value.decode())
        raise NotShownError(
            f"{event!r} is not shown: only `image`, `bbox`, "
            f"text, and up to {_MAX_NUMBERS} numbers are"
        )


class _Remote(Stream):
    """A viewer elsewhere, which may come and go: while it is away nothing is kept for it."""

    def __init__(self, rerun: Any, recording: Any, url: str, memory_nbytes: int) -> None:
        place = urlsplit(url)
        if not place.scheme.startswith("rerun") or place.hostname is None:
            raise ViewerError(f"{url!r} is no address of a viewer, such as rerun+http://HOST:9876")
        super().__init__(rerun, recording, url)
        self._place = (place.hostname, place.port or 9876)
        self._url = url if place.path.strip("/") else f"{url.rstrip('/')}/proxy"
        self._most_nbytes = _resident_nbytes() + memory_nbytes
        self._is_there = False
        self._knock_s = 0.0

    def close(self) -> None:
        if self._is_there:
            super().close()

    def _is_ready(self, origin_ns: int) -> bool:
        now_s = time.monotonic()
        if now_s >= self._knock_s:
            self._knock_s = now_s + _KNOCK_S
            self._look()
        # The SDK keeps hundreds of megabytes for a viewer that hangs.
        if not self._is_there or _resident_nbytes() > self._most_nbytes:
            self.left_out += 1
            return False
        return super()._is_ready(origin_ns)

    def _look(self) -> None:
        try:
            socket.create_connection(self._place, timeout=_KNOCK_S).close()
        except OSError as error:
            if self._is_there or not self.left_out:
                logger.info("no viewer at %s (%s): waiting for one", self.name, error)
            self._is_there = False
            return
        if not self._is_there:
            logger.info("showing in the viewer at %s", self.name)
            self._recording.connect_grpc(self._url)
        self._is_there = True


def _encoded(event: Event, quality: int) -> tuple[bytes, str, tuple[int, int]]:
    """Return a picture as a file, its media type, and its width and height."""
    found = read_picture(event.value, event.metadata)
    # The viewer shows a photo that lies on its side as it lies; its boxes are of the upright one.
    if isinstance(found, PictureFile) and found.kind in ("jpeg", "png") and not found.is_turned:
        return bytes(found.content), f"image/{found.kind}", found.size
    picture = picture_of(event.value, event.metadata)
    is_encoded, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_encoded:
        raise NoPictureError(f"a picture of {found.size} pixels cannot be made a JPEG file")
    return jpeg.tobytes(), "image/jpeg", (picture.shape[1], picture.shape[0])


def _resident_nbytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _import_rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise ExtraMissingError(
            f"the rerun node needs rerun-sdk, which is not installed in {sys.executable}: "
            "pip install 'dora_rt[rerun]'"
        ) from error
    if not hasattr(rerun, "RecordingStream"):
        raise ExtraMissingError(
            "the package `rerun` is another one than Rerun's: pip install 'dora_rt[rerun]'"
        )
    return rerun
