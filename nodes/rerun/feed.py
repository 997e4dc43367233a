"""What stands between the node's loop and the viewer: a rate, and a place for the newest only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dora_rt.detections import Detections
from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.picture import NoPictureError
from dora_rt.picture_matcher import View

from ..odd_samples import OddSamples
from .stream import NotShownError, Stream

_GOODBYE_S = 2.0
_PICTURES = "image"


@dataclass(slots=True)
class _Place:
    """The newest of one input that waits for the viewer, and from when on the next may."""

    work: Callable[[], None] | None = None
    due_ns: int = 0


class Feed:
    """Take what comes in without waiting; a thread hands it on, and may wait for the viewer.

    Args:
        stream: where it goes.
        rate_hz: of each input, so many samples a second at most.
        quality: of the JPEG files that pictures become.
        clock: nanoseconds of the clock that the rate is measured with.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        rate_hz: float,
        quality: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._stream = stream
        self._period_ns = int(1e9 / rate_hz)
        self._quality = quality
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._news = threading.Condition()
        self._is_closing = False
        self._odd = OddSamples()
        self.sent = 0
        self.skipped = 0
        # A daemon: a viewer that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, name="viewer", daemon=True)
        self._thread.start()

    @property
    def has_pictures(self) -> bool:
        """Whether a picture was taken."""
        return _PICTURES in self._places

    def offer_view(self, view: View[Event, Detections]) -> None:
        """Take a picture with its boxes, if it is time for one."""
        self._offer(_PICTURES, lambda: self._stream.log_view(view, self._quality))

    def offer_value(self, event: Event) -> None:
        """Take a sample of another input, if it is time for one."""
        self._offer(event.id, lambda: self._stream.log_value(event))

    def close(self) -> bool:
        """Let the viewer have what waits; False if it does not take it in time."""
        with self._news:
            self._is_closing = True
            self._news.notify()
        self._thread.join(_GOODBYE_S)
        return not self._thread.is_alive()

    def summary(self) -> str:
        """Return the counters of the inputs in words."""
        left = self._stream.left_out
        lost = f"; {left} left out, the viewer was not there or too slow" if left else ""
        sent = f"sent {self.sent - left} samples to {self._stream.name}{lost}"
        return "\n".join([sent, *self._odd.summary()])

    def _offer(self, name: str, work: Callable[[], None]) -> None:
        now_ns = self._clock()
        with self._news:
            place = self._places.setdefault(name, _Place())
            if now_ns < place.due_ns:
                return
            # In step with the rate, unless what comes is slower than that.
            place.due_ns = max(place.due_ns + self._period_ns, now_ns - self._period_ns // 2)
            self.skipped += place.work is not None
            place.work = work
            self._news.notify()

    def _work(self) -> None:
        while True:
            with self._news:
                while not (
                    waiting := [(name, place) for name, place in self._places.items() if place.work]
                ):
                    if self._is_closing:
                        break
                    self._news.wait()
                works = [(name, place.work) for name, place in waiting if place.work is not None]
                for _, place in waiting:
                    place.work = None
            for name, work in works:
                try:
                    work()
                    self.sent += 1
                except (NoPictureError, NotShownError, CorruptSampleError) as error:
                    self._odd.add(name, error)
            if not works:
                self._stream.close()
                return
