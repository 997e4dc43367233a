"""Send a source's frames through a node, and count them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum

import cv2
import numpy as np

from dora_rt.errors import NodeClosedError
from dora_rt.interface import NodeLike

from ..flow_start import wait_for_start
from .frame import Frame, FrameLostError, FrameSource, Image, SizeChangedError, SourceError

logger = logging.getLogger(__name__)

OUTPUT = "image"
# How long the loop may take to notice a stop.
_LOOK_UP_S = 0.1
# A tick that finds a camera silent waits this long, then gives way to the next one.
_TICK_PATIENCE_S = 0.5


class Encoding(Enum):
    """How a picture travels: as an array of pixels, or as JPEG bytes."""

    RAW = "raw"
    JPEG = "jpeg"


class FrameSender:
    """Send frames as the output `image`, raw ones without a copy.

    Args:
        node: sends them.
        encoding: raw: H x W x 3 uint8 BGR. jpeg: the bytes of a JPEG file.
        jpeg_quality: 1 to 100.
        clock: nanoseconds of a monotonic clock.
    """

    def __init__(
        self,
        node: NodeLike,
        encoding: Encoding,
        jpeg_quality: int = 90,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._node = node
        self._encoding = encoding
        self._jpeg_quality = jpeg_quality
        self._clock = clock
        self._canvas: Image = np.empty((0, 0, 3), np.uint8)
        self._first_ns = 0
        self._last_ns = 0
        self.sent = 0
        self.lost = 0

    def send(self, frame: Frame) -> None:
        """Send one frame; one that its source lost is left out, and logged."""
        try:
            if self._encoding is Encoding.RAW:
                self._send_raw(frame)
            else:
                self._send_jpeg(frame)
        except FrameLostError as error:
            logger.debug("frame %d: %s", frame.number, error)
            self.lost += 1
            return
        self._last_ns = self._clock()
        if self.sent == 0:
            self._first_ns = self._last_ns
        self.sent += 1

    def summary(self) -> str:
        """Return how many frames were sent, and how fast, in words."""
        seconds = (self._last_ns - self._first_ns) / 1e9
        lost = f"; {self.lost} more could not be decoded" if self.lost else ""
        if self.sent < 2 or seconds <= 0:
            return f"sent {self.sent} frame{'s' * (self.sent != 1)}{lost}"
        fps = (self.sent - 1) / seconds
        return f"sent {self.sent} frames in {seconds:.1f} s, {fps:.1f} fps{lost}"

    def _send_raw(self, frame: Frame) -> None:
        metadata = _metadata(frame, frame.shape, "bgr8")
        try:
            with self._node.loan(
                OUTPUT, frame.shape, "uint8", metadata, captured_ns=frame.captured_ns
            ) as slot:
                frame.fill(slot)
                metadata.update(frame.metadata)
        except SizeChangedError as changed:
            # Leaving the block by an error sent nothing, so this frame is still to be sent.
            self._tell_size_change(frame, changed.image)
            self._node.send_output(
                OUTPUT,
                changed.image,
                _metadata(frame, changed.image.shape, "bgr8"),
                captured_ns=frame.captured_ns,
            )

    def _send_jpeg(self, frame: Frame) -> None:
        if self._canvas.shape != frame.shape:
            self._canvas = np.empty(frame.shape, np.uint8)
        image = self._canvas
        try:
            frame.fill(image)
        except SizeChangedError as changed:
            self._tell_size_change(frame, changed.image)
            image = changed.image
        quality = self._node.parameter("jpeg_quality", self._jpeg_quality)
        was_encoded, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not was_encoded:
            height, width, _ = image.shape
            raise SourceError(f"a picture of {width}x{height} cannot be encoded as JPEG")
        metadata = _metadata(frame, image.shape, "jpeg")
        self._node.send_output(OUTPUT, jpeg.tobytes(), metadata, captured_ns=frame.captured_ns)

    def _tell_size_change(self, frame: Frame, image: Image) -> None:
        height, width, _ = frame.shape
        new_height, new_width, _ = image.shape
        logger.warning(
            "frame %d: the size changed from %dx%d to %dx%d",
            *(frame.number, width, height, new_width, new_height),
        )


def run(node: NodeLike, source: FrameSource, sender: FrameSender, fps: float | None = None) -> None:
    """Send the newest frame for each event of any input; every new frame if no input is wired.

    `fps` is the rate at which the source was opened: the parameter of that name changes it.
    """
    paced = _Paced(node, source, fps)
    try:
        if node.input_ids():
            _send_on_events(node, paced, sender)
        else:
            _send_all(node, paced, sender)
    except NodeClosedError:
        # The stop may come between the look at it and the sending; it is no error.
        logger.debug("told to stop while sending")


class _Paced:
    """A source at the rate that the parameter `fps` has at the moment."""

    def __init__(self, node: NodeLike, source: FrameSource, fps: float | None) -> None:
        self._node = node
        self._source = source
        self._first_fps = self._fps = fps

    @property
    def is_finished(self) -> bool:
        return self._source.is_finished

    def frame(self, timeout_s: float, *, newest: bool) -> AbstractContextManager[Frame | None]:
        fps = self._node.parameter("fps", self._first_fps)
        if fps != self._fps:
            self._fps = fps
            self._source.set_fps(fps)
        return self._source.frame(timeout_s, newest=newest)


def _send_on_events(node: NodeLike, source: _Paced, sender: FrameSender) -> None:
    while not source.is_finished and node.next() is not None:
        with source.frame(_TICK_PATIENCE_S, newest=True) as frame:
            if frame is not None:
                sender.send(frame)


def _send_all(node: NodeLike, source: _Paced, sender: FrameSender) -> None:
    # A recording's clock runs from its first frame on, which must not wait for its readers.
    wait_for_start(node, OUTPUT)
    while not source.is_finished and not node.is_stopped():
        with source.frame(_LOOK_UP_S, newest=False) as frame:
            if frame is not None:
                sender.send(frame)


def _metadata(frame: Frame, shape: tuple[int, ...], encoding: str) -> dict[str, object]:
    return {
        "encoding": encoding,
        "width": shape[1],
        "height": shape[0],
        "frame": frame.number,
        **frame.metadata,
    }
