"""Give boxes the ids of their objects, from picture to picture (ByteTrack)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import box_filter
from .assignment import assign

Boxes = NDArray[np.float32]
Numbers = NDArray[np.float64]

_FRAME_NS = 1e9 / 30
# How unlike (1 - IoU) a box may be: of a faint one, of an object that was seen once, of a double.
_MOST_FAINT, _MOST_NEW, _MOST_DOUBLE = 0.5, 0.7, 0.15
_LEAST_PICTURES = 3
_OTHER_CLASS = 10.0


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """When a box is of an object that is known.

    Attributes:
        high: confidence from which on a box is certain; it may begin a new object.
        low: confidence from which on a fainter box may continue an object.
        match: how unlike a certain box may be to where its object is expected, 0 to 1.
        lost_s: how long an object that is not seen is remembered.
        crosses_classes: whether an object may change its class.
    """

    high: float = 0.25
    low: float = 0.1
    match: float = 0.8
    lost_s: float = 1.0
    crosses_classes: bool = False


@dataclass(slots=True)
class _Track:
    """One object; `is_confirmed` once it was seen twice, or in the first picture."""

    id: int
    class_id: int
    mean: Numbers
    covariance: Numbers
    seen_ns: int
    is_confirmed: bool
    hits: int = 1
    misses: int = 0


class Tracker:
    """Objects over time: ByteTrack (Zhang et al., ECCV 2022) with times instead of frames.

    A Kalman filter expects where each object is at the time of the picture. The certain boxes are
    assigned first, to the objects that they overlap, at the least sum of costs; then the faint ones
    to those objects that are left, which keeps those that are partly hidden. What is left of the
    certain boxes are new objects, and count when they are seen again.
    """

    def __init__(self, options: TrackerOptions) -> None:
        self._options = options
        self._tracks: list[_Track] = []
        self._time_ns: int | None = None
        self._next_id = 1

    @property
    def known(self) -> int:
        """How many objects are remembered at the moment."""
        return len(self._tracks)

    @property
    def begun(self) -> int:
        """How many objects have had an id so far."""
        return self._next_id - 1

    def update(self, boxes: Boxes, time_ns: int) -> tuple[Boxes, list[int]]:
        """Take the boxes of a picture; return those that are of an object, and its id for each.

        Args:
            boxes: N x 6: x1, y1, x2, y2, confidence, class.
            time_ns: when the picture was captured. If it is before the last one, the source has
                begun anew, and so do the objects; no id comes twice.
        """
        is_first = self._advance(time_ns)
        corners = boxes[:, :4].astype(np.float64)
        scores = boxes[:, 4].astype(np.float64)
        certain = np.flatnonzero(scores >= self._options.high)
        faint = np.flatnonzero((scores >= self._options.low) & (scores < self._options.high))
        found: dict[int, _Track] = {}

        confirmed = [track for track in self._tracks if track.is_confirmed]
        pairs = self._match(confirmed, boxes, certain, self._options.match, weighs_scores=True)
        found.update(pairs)
        left = [one for one in confirmed if not _has(pairs, one) and one.misses == 0]
        found.update(self._match(left, boxes, faint, _MOST_FAINT))
        rest = np.array([index for index in certain if index not in found], np.intp)
        once = [track for track in self._tracks if not track.is_confirmed]
        found.update(self._match(once, boxes, rest, _MOST_NEW, weighs_scores=True))

        self._correct(found, corners, boxes, time_ns)
        self._forget(found, time_ns)
        for index in rest:
            if index not in found:
                found[int(index)] = self._begin(corners[index], boxes[index], time_ns, is_first)
        self._drop_doubles()
        kept = sorted(
            index
            for index, track in found.items()
            if track.is_confirmed and any(track is one for one in self._tracks)
        )
        for index in kept:
            if not found[index].id:
                found[index].id, self._next_id = self._next_id, self._next_id + 1
        return boxes[kept], [found[index].id for index in kept]

    def _advance(self, time_ns: int) -> bool:
        """Move all objects to where they are expected; return whether this is the beginning."""
        before_ns, self._time_ns = self._time_ns, time_ns
        if before_ns is None or time_ns < before_ns:
            self._tracks.clear()
            return True
        if self._tracks:
            means = np.array([track.mean for track in self._tracks])
            covariances = np.array([track.covariance for track in self._tracks])
            # An object that is not seen is not expected to grow or to shrink on and on.
            is_lost = np.array([track.misses > 0 for track in self._tracks])
            means[is_lost, 7] = 0
            means, covariances = box_filter.predict(
                means, covariances, (time_ns - before_ns) / _FRAME_NS
            )
            for track, mean, covariance in zip(self._tracks, means, covariances, strict=True):
                track.mean, track.covariance = mean, covariance
        return False

    def _match(
        self,
        tracks: list[_Track],
        boxes: Boxes,
        indices: NDArray[np.intp],
        most: float,
        *,
        weighs_scores: bool = False,
    ) -> dict[int, _Track]:
        if not tracks or not len(indices):
            return {}
        expected = box_filter.corners_of(np.array([track.mean for track in tracks]))
        likeness = overlaps(expected, boxes[indices, :4].astype(np.float64))
        if weighs_scores:
            likeness = likeness * boxes[indices, 4]
        costs = 1 - likeness
        if not self._options.crosses_classes:
            classes = np.array([track.class_id for track in tracks])
            costs[classes[:, None] != boxes[indices, 5].astype(int)[None]] = _OTHER_CLASS
        pairs = assign(costs, most)
        return {int(indices[column]): tracks[row] for row, column in pairs}

    def _correct(
        self, found: dict[int, _Track], corners: Numbers, boxes: Boxes, time_ns: int
    ) -> None:
        if not found:
            return
        tracks = list(found.values())
        means, covariances = box_filter.correct(
            np.array([track.mean for track in tracks]),
            np.array([track.covariance for track in tracks]),
            box_filter.measured(corners[list(found)]),
        )
        for index, track, mean, covariance in zip(found, tracks, means, covariances, strict=True):
            track.mean, track.covariance = mean, covariance
            track.class_id = int(boxes[index, 5])
            track.seen_ns = time_ns
            track.is_confirmed = True
            track.misses = 0
            track.hits += 1

    def _forget(self, found: dict[int, _Track], time_ns: int) -> None:
        """Count who was not seen, and forget who was not for long."""
        seen = {id(track) for track in found.values()}
        kept = []
        for track in self._tracks:
            if id(track) not in seen:
                track.misses += 1
                unseen_s = (time_ns - track.seen_ns) / 1e9
                # A slow detector misses an object in one picture for longer than `lost_s`.
                is_over = unseen_s > self._options.lost_s and track.misses > _LEAST_PICTURES
                if is_over or not track.is_confirmed:
                    continue
            kept.append(track)
        self._tracks = kept

    def _begin(self, corners: Numbers, box: Boxes, time_ns: int, is_first: bool) -> _Track:
        means, covariances = box_filter.begin(box_filter.measured(corners[None]))
        # Its id comes when it is confirmed, so that ids are not used up by what was there once.
        track = _Track(0, int(box[5]), means[0], covariances[0], time_ns, is_confirmed=is_first)
        self._tracks.append(track)
        return track

    def _drop_doubles(self) -> None:
        """Of an object that is seen and a lost one at the same place, keep the older one."""
        seen = [track for track in self._tracks if not track.misses and track.is_confirmed]
        lost = [track for track in self._tracks if track.misses]
        if not seen or not lost:
            return
        likeness = overlaps(
            box_filter.corners_of(np.array([track.mean for track in seen])),
            box_filter.corners_of(np.array([track.mean for track in lost])),
        )
        dropped = set()
        for row, column in zip(*np.nonzero(1 - likeness < _MOST_DOUBLE), strict=True):
            one, other = seen[row], lost[column]
            is_same_class = one.class_id == other.class_id
            if is_same_class or self._options.crosses_classes:
                dropped.add(id(one if one.hits < other.hits else other))
        self._tracks = [track for track in self._tracks if id(track) not in dropped]


def overlaps(first: Numbers, second: Numbers) -> Numbers:
    """Return the intersection over union of each box with each other one: N x 4, M x 4 -> N x M."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(one[:, 2:4] - one[:, :2], 0), axis=1) for one in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    found: Numbers = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def _has(pairs: dict[int, _Track], track: _Track) -> bool:
    return any(track is one for one in pairs.values())
