"""Statistics of the pictures shown: how many, how late, and the objects in them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np

from dora_rt.detections import Detections, label_of
from dora_rt.latency import BUCKETS, bucket, percentile_ns

_RECENT_NS = 2_000_000_000
_RECENT_LATENCIES = 60
_NAMED_LABELS = 12


@dataclass(frozen=True, slots=True)
class Status:
    """How things are at the moment.

    `latency_ms` is that of the picture shown, from its capture to when it and its boxes were here:
    the age that the launcher shows at the edge of the boxes. `latency_p50_ms` is the median of the
    last of those pictures whose boxes are shown, if boxes are shown at all.
    """

    frames: int = 0
    fps: float = 0.0
    latency_ms: float = 0.0
    latency_p50_ms: float = 0.0
    objects: int = 0
    drops: int = 0
    without_boxes: int = 0
    width: int = 0
    height: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the status in a form for JSON."""
        return {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def line(self) -> str:
        """Return the most important in one line."""
        things = "object" if self.objects == 1 else "objects"
        return f"{self.fps:.1f} fps   {self.latency_ms:.0f} ms   {self.objects} {things}"


class Statistics:
    """Counters of the pictures shown, in bounded memory.

    Args:
        clock: nanoseconds of a monotonic clock, the one that `origin_ns` is of.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        # Pictures with boxes wait for their detector, others do not: two kinds of latencies.
        self._counts = {kind: [0] * BUCKETS for kind in (False, True)}
        self._latencies: dict[bool, deque[int]] = {
            kind: deque(maxlen=_RECENT_LATENCIES) for kind in (False, True)
        }
        self._recent_ns: deque[int] = deque()
        self._first_ns = 0
        self._found: Counter[str] = Counter()
        self._pictures_with_detections = 0
        self.frames = 0
        self.drops = 0
        self.without_boxes = 0
        self.unmatched = 0

    def add_drops(self, dropped: int) -> None:
        """Count pictures and boxes that were lost on their way here."""
        self.drops += dropped

    def add_view(
        self,
        received_ns: int,
        origin_ns: int,
        detections: Detections | None,
        shape: tuple[int, ...],
        *,
        lacks_boxes: bool = False,
    ) -> Status:
        """Count a picture that is shown now; return the status.

        Args:
            received_ns: when all that is shown was here.
            origin_ns: when the picture was captured.
            detections: the boxes that are drawn on it.
            shape: height and width.
            lacks_boxes: whether there should be boxes.
        """
        now_ns = self._clock()
        latency_ns = max(0, received_ns - origin_ns) if origin_ns else 0
        has_boxes = detections is not None
        if self.frames == 0:
            self._first_ns = now_ns
        self.frames += 1
        self.without_boxes += lacks_boxes
        self._counts[has_boxes][bucket(latency_ns)] += 1
        self._latencies[has_boxes].append(latency_ns)
        self._recent_ns.append(now_ns)
        while now_ns - self._recent_ns[0] > _RECENT_NS:
            self._recent_ns.popleft()
        objects = 0
        if detections is not None:
            names = _names_in(detections)
            objects = len(names)
            self._pictures_with_detections += 1
            self._found.update(names)
        return Status(
            frames=self.frames,
            fps=_rate(len(self._recent_ns), now_ns - self._recent_ns[0]),
            latency_ms=latency_ns / 1e6,
            latency_p50_ms=median(self._latencies[True] or self._latencies[False]) / 1e6,
            objects=objects,
            drops=self.drops,
            without_boxes=self.without_boxes,
            width=shape[1],
            height=shape[0],
        )

    def summary(self) -> list[str]:
        """Return a summary of a few lines."""
        if self.frames == 0:
            return ["shown: no picture"]
        last_ns = self._recent_ns[-1]
        fps = _rate(self.frames, last_ns - self._first_ns)
        dropped = f", {self.drops} dropped on the way" if self.drops else ""
        lines = [f"shown: {_pictures(self.frames)}, mean {fps:.1f} fps{dropped}"]
        shown = [kind for kind in (True, False) if self._latencies[kind]]
        for kind in shown:
            p50, p99 = (percentile_ns(self._counts[kind], fraction) for fraction in (0.5, 0.99))
            assert p50 is not None and p99 is not None
            which = "" if len(shown) == 1 else ", with boxes" if kind else ", without boxes"
            times = f"p50 {p50 / 1e6:.1f} ms, p99 {p99 / 1e6:.1f} ms"
            lines.append(f"latency camera to picture{which}: {times}")
        if self.without_boxes:
            lines.append(
                f"without boxes: {_pictures(self.without_boxes)}, whose boxes were not here"
            )
        if self.unmatched:
            things = "sample" if self.unmatched == 1 else "samples"
            lines.append(f"not shown: {self.unmatched} {things} without a partner of the same time")
        if self._pictures_with_detections:
            lines.append(f"found: {self._found_text()}")
        return lines

    def _found_text(self) -> str:
        where = f"in {_pictures(self._pictures_with_detections)}"
        if not self._found:
            return f"nothing {where}"
        ranked = self._found.most_common()
        texts = [f"{label} {count}" for label, count in ranked[:_NAMED_LABELS]]
        if len(ranked) > _NAMED_LABELS:
            texts.append(f"{len(ranked) - _NAMED_LABELS} more kinds")
        average = self._found.total() / self._pictures_with_detections
        return f"{', '.join(texts)} {where}, {average:.1f} per picture"


def _names_in(detections: Detections) -> list[str]:
    """Return a name for each object that is drawn; masks and key points alone have no class."""
    classes = detections.class_numbers()
    if classes:
        return [label_of(one, detections.labels) for one in classes]
    if detections.masks is not None:
        return ["mask"] * int(np.count_nonzero(np.bincount(detections.masks.reshape(-1))[1:]))
    return ["key points"] * (0 if detections.keypoints is None else len(detections.keypoints))


def _rate(count: int, elapsed_ns: int) -> float:
    return (count - 1) / (elapsed_ns / 1e9) if elapsed_ns > 0 else 0.0


def _pictures(count: int) -> str:
    return f"{count} picture" if count == 1 else f"{count} pictures"
