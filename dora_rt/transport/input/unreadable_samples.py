"""Samples that arrive unreadable: they are lost and counted, and the node goes on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Change, Event, MatchedEvents


class Losses:
    """Samples that a node leaves out, reported once for each input."""

    def __init__(self) -> None:
        self._told: set[str | None] = set()
        self._lost: Counter[str] = Counter()

    def tell(self, error: CorruptSampleError) -> None:
        """Report a lost sample, unless one of its input was reported before."""
        if error.input_id not in self._told:
            self._told.add(error.input_id)
            sys.stderr.write(
                f"dora_rt: {error}; it is lost, and counted as dropped (told once for each input)\n"
            )

    def pass_over(
        self, take: Callable[[int | None], Event | Change | None], deadline_ns: int | None
    ) -> Event | Change | None:
        """Return the next event of `take(deadline_ns)` that can be read, metadata included."""
        while True:
            try:
                event = take(deadline_ns)
                return self._checked(event) if isinstance(event, Event) else event
            except CorruptSampleError as error:
                self.tell(error)

    def _checked(self, event: Event) -> Event:
        for one in event.value.values() if isinstance(event, MatchedEvents) else (event,):
            try:
                _ = one.metadata  # decoded now, and remembered
            except CorruptSampleError as error:
                self._lost[event.id] += 1 + event.dropped  # which the next event counts
                text = f"input {one.id!r}, sample {one.seq}: {error}"
                raise CorruptSampleError(text, one.id) from error
        if self._lost:
            event.dropped += self._lost.pop(event.id, 0)
        return event
