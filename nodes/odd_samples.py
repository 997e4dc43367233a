"""What is told once, however often it comes: samples that are not what their input is for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

logger = logging.getLogger(__name__)

_MOST_WARNINGS = 20


class FewWarnings:
    """Log each warning once, and not more than 20: a sender may give a new reason each time."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def warn(self, text: str) -> None:
        """Log a warning, unless it was logged before."""
        if text not in self._told and len(self._told) < _MOST_WARNINGS:
            self._told.add(text)
            logger.warning("%s", text)

    def forget(self) -> None:
        """Let all be logged again: what was wrong has been right since."""
        self._told.clear()


class OddSamples:
    """Warn of the first odd sample of each input; such a sample costs nothing but itself.

    Args:
        name_of: returns the name of an input for the user.
    """

    def __init__(self, name_of: Callable[[str], str] = "input '{}'".format) -> None:
        self._name_of = name_of
        self._counts: Counter[str] = Counter()
        self._warnings = FewWarnings()

    def add(self, input_id: str, error: Exception) -> None:
        """Count a sample that was left out."""
        self._counts[input_id] += 1
        if self._counts[input_id] == 1:
            name = self._name_of(input_id)
            logger.warning("%s: %s; left out, and not said again", name, error)

    def tell_once(self, text: str) -> None:
        """Warn of something that is no matter of a single sample."""
        self._warnings.warn(text)

    def summary(self) -> list[str]:
        """Return a line for each input that had odd samples."""
        return [
            f"left out: {count} sample{'s' * (count != 1)} of {self._name_of(input_id)}"
            for input_id, count in self._counts.items()
        ]
