"""Try the readings of a network on its values, and keep the likeliest that fits them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .box_layout import Task
from .decoder import Decoder, RawOutputs
from .errors import ModelError
from .plausibility import contradiction

TRIED_PICTURES = 30
"""How many pictures with anything in them are looked at before a reading is trusted."""


class Trial:
    """The readings that the values so far allow.

    Attributes:
        decoder: of the likeliest.
        reason: why the one before it was given up; "" if none was.
    """

    def __init__(
        self, decoders: list[Decoder], size: tuple[int, int], *, is_wished: bool = False
    ) -> None:
        """Begin with all readings, the likeliest first; `size` is height and width of the input."""
        self.decoder = decoders[0]
        self.reason = ""
        self._left = decoders
        self._size = size
        self._is_wished = is_wished
        self._reasons: list[str] = []
        self._pictures_left = TRIED_PICTURES

    def look(self, raw: RawOutputs, confidence: float = 1.0) -> NDArray[np.float32] | None:
        """Return the candidates of a picture, or None if another reading has come first.

        Raises:
            ModelError: no reading is left that fits the values.
        """
        if self.decoder.reading.task is Task.CLASSIFY:
            return None
        columns = self.decoder.columns(raw)
        if self._pictures_left:
            found = contradiction(self.decoder, columns, self._size)
            if found is not None:
                self._give_up(found, raw)
                return None
        candidates = self.decoder.candidates(columns, confidence)
        if len(candidates) and self._pictures_left:
            self._pictures_left -= 1
        return candidates

    def _give_up(self, found: str, raw: RawOutputs) -> None:
        """Go on to the next reading that fits."""
        self.reason = f"read as {self.decoder.reading}, {found}"
        self._reasons.append(self.reason)
        self._left = self._left[1:]
        while self._left:
            decoder = self._left[0]
            found_next = contradiction(decoder, decoder.columns(raw), self._size)
            if found_next is None:
                self.decoder = decoder
                return
            self._reasons.append(f"read as {decoder.reading}, {found_next}")
            self._left = self._left[1:]
        raise ModelError(self._explain())

    def _explain(self) -> str:
        tried = dict.fromkeys(self._reasons)
        reasons = "; ".join(list(tried)[:4])
        if self._is_wished:
            way_out = "leave --layout away to have the layout found, or export the model again"
        else:
            way_out = (
                "if you know what it is, say --layout (and --task); else export the model as one"
                " of the layouts in docs/own-model.md"
            )
        return f"its values fit no layout that its shape allows: {reasons}; {way_out}"
