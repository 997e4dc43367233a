"""Match boxes with pictures, and decide which picture is shown next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from .drawing import Boxes

Pixels = TypeVar("Pixels")

HELD_PICTURES = 3
WAITING_DETECTIONS = 3
PATIENCE_NS = 500_000_000
LONGEST_PATIENCE_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Picture(Generic[Pixels]):
    """A received picture, not decoded; `origin_ns` is when it was captured."""

    origin_ns: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Detections:
    """The boxes of the picture that was captured at `origin_ns`."""

    origin_ns: int
    boxes: Boxes
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View(Generic[Pixels]):
    """A picture to show, with the boxes found in it if there are any.

    `is_exact` is False for boxes of an earlier picture, where the right one is gone.
    """

    picture: Picture[Pixels]
    detections: Detections | None = None
    is_exact: bool = True


class Matcher(Generic[Pixels]):
    """Pair pictures with boxes by their origin, while holding at most three pictures.

    A held picture occupies a slot of its sender's ring, so only those are held whose boxes may
    still come: the oldest two since the last boxes, and the newest.

    Args:
        expects_boxes: whether boxes come at all; without them every picture is shown at once.
    """

    def __init__(self, *, expects_boxes: bool) -> None:
        self._expects_boxes = expects_boxes
        self._pictures: list[Picture[Pixels]] = []
        self._waiting: list[Detections] = []
        self._last_boxes_ns: int | None = None
        self._patience_ns = PATIENCE_NS

    @property
    def held(self) -> int:
        """How many pictures are held at the moment."""
        return len(self._pictures)

    def add_picture(self, picture: Picture[Pixels], now_ns: int) -> View[Pixels] | None:
        """Take a picture; return the picture to show now, or None."""
        if not self._expects_boxes:
            return View(picture)
        if self._last_boxes_ns is None:
            # The detector gets as much patience for its first boxes as for all others.
            self._last_boxes_ns = now_ns
        for detections in self._waiting:
            if detections.origin_ns == picture.origin_ns:
                self._forget_until(picture.origin_ns)
                return View(picture, detections)
        self._hold(picture)
        passed = [one for one in self._waiting if one.origin_ns < picture.origin_ns]
        if passed:
            # Their own picture never came: it was dropped, or the detector gave no origin.
            self._waiting = [one for one in self._waiting if one not in passed]
            return View(picture, passed[-1], is_exact=False)
        if now_ns - self._last_boxes_ns > self._patience_ns:
            return View(picture)
        return None

    def add_detections(self, detections: Detections, now_ns: int) -> View[Pixels] | None:
        """Take the boxes of a picture; return the picture to show now, or None."""
        if self._last_boxes_ns is not None:
            # A detector slower than the patience would make the view flicker between its rare
            # pictures and raw ones.
            usual_ns = 2 * (now_ns - self._last_boxes_ns)
            self._patience_ns = max(PATIENCE_NS, min(usual_ns, LONGEST_PATIENCE_NS))
        self._last_boxes_ns = now_ns
        for picture in self._pictures:
            if picture.origin_ns == detections.origin_ns:
                self._forget_until(picture.origin_ns)
                return View(picture, detections)
        if self._pictures and self._pictures[-1].origin_ns > detections.origin_ns:
            return View(self._pictures[-1], detections, is_exact=False)
        self._waiting = [*self._waiting, detections][-WAITING_DETECTIONS:]
        return None

    def take_last(self) -> View[Pixels] | None:
        """Return the newest picture that is still held, for the end of a flow without boxes."""
        return View(self._pictures.pop()) if self._pictures else None

    def _hold(self, picture: Picture[Pixels]) -> None:
        self._pictures.append(picture)
        if len(self._pictures) > HELD_PICTURES:
            # The last but one: a slow detector takes the newest picture of when it was last done,
            # which is among the oldest here, and never one from the middle.
            del self._pictures[-2]

    def _forget_until(self, origin_ns: int) -> None:
        self._pictures = [one for one in self._pictures if one.origin_ns > origin_ns]
        self._waiting = [one for one in self._waiting if one.origin_ns > origin_ns]
