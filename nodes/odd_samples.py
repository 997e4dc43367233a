"""Samples that are not what their input is for: told once for each input, and counted."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)


class OddSamples:
    """Warn of the first odd sample of each input; such a sample costs nothing but itself."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._told: set[str] = set()

    def add(self, input_id: str, error: Exception) -> None:
        """Count a sample that was left out."""
        self._counts[input_id] += 1
        if self._counts[input_id] == 1:
            logger.warning("input '%s': %s; left out, and not said again", input_id, error)

    def tell_once(self, text: str) -> None:
        """Warn of something that is no matter of a single sample."""
        if text not in self._told:
            self._told.add(text)
            logger.warning("%s", text)

    def summary(self) -> list[str]:
        """Return a line for each input that had odd samples."""
        return [
            f"left out: {count} {'sample' if count == 1 else 'samples'} of input '{input_id}'"
            for input_id, count in self._counts.items()
        ]
