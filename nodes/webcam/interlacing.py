"""Notice that the pictures of a video are woven of two fields of different moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .frame import Image

_LOOKED_AT = 150
_ENOUGH = 6
_COLUMNS = 160  # so many show it as well as all do
_MOVED = 24
_MIN_MOVED = 200
_COMBED_PART = 0.2


class InterlaceWatch:
    """Looks at the first pictures of a video for the combs that moving edges have then."""

    def __init__(self) -> None:
        self._before: NDArray[np.int16] | None = None
        self._looked_at = 0
        self._combed = 0

    def look(self, image: Image) -> bool:
        """Look at the next picture; True once, as soon as enough of them are combed."""
        if self._looked_at >= _LOOKED_AT:
            return False
        self._looked_at += 1
        # Green stands for the brightness: no conversion of the whole picture.
        step = max(image.shape[1] // _COLUMNS, 1)
        now = image[:, ::step, 1].astype(np.int16)
        before, self._before = self._before, now
        if before is None or before.shape != now.shape or not _is_combed(before, now):
            return False
        self._combed += 1
        if self._combed < _ENOUGH:
            return False
        self._looked_at = _LOOKED_AT
        self._before = None
        return True


def _is_combed(before: NDArray[np.int16], now: NDArray[np.int16]) -> bool:
    """Whether lines that moved differ from both neighbours, which are alike, in many places."""
    above, middle, below = now[:-2], now[1:-1], now[2:]
    moved = np.abs(middle - before[1:-1]) > _MOVED
    count = int(moved.sum())
    if count < _MIN_MOVED:
        return False
    up, down = middle - above, middle - below
    # Of one field: alike. Of the other: both differ in the same direction. Stripes of the scene
    # that move look so too, but seldom in a fifth of all that moves, again and again.
    is_comb = (up.astype(np.int32) * down > _MOVED**2) & (np.abs(above - below) < _MOVED // 2)
    return int((is_comb & moved).sum()) > _COMBED_PART * count
