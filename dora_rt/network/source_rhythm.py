"""When a slow link is better left alone for a moment: the next sample of a regular source is near.

Pure. Where sending a sample takes longer than the source takes for the next one, a sample that the
link is free for is up to a period old already. Waiting for the next costs the rest of the period,
and what comes then is younger by all of its age. At the far end samples are `age + cycle / 2` old
on average, so waiting pays where half of the rest is less than the age: from a third of the period
on. It may cost a fifth of the samples at most.
"""

from __future__ import annotations

_LATE = 4
"""What is late by more than this part of a period is not waited for any longer."""
_LONGEST_WAIT = 4
"""The rest of the period is no more than this part of the time that sending takes."""


class SourceRhythm:
    """Learns the period of a source from the samples that were taken from its ring."""

    def __init__(self) -> None:
        """Begin without a period."""
        self._last: tuple[int, int] | None = None
        self._period_ns = 0

    def note(self, seq: int, sent_ns: int) -> None:
        """Note a sample: its number at the source, and when it was sent."""
        if self._last is not None and seq > self._last[0]:
            self._period_ns = (sent_ns - self._last[1]) // (seq - self._last[0])
        self._last = seq, sent_ns

    def forget(self) -> None:
        """Note that the source was started again."""
        self._last = None
        self._period_ns = 0

    def waits_until_ns(self, now_ns: int, sending_ns: int) -> int | None:
        """Return until when to wait for a younger sample; None: send the one that was noted.

        Args:
            now_ns: the time.
            sending_ns: how long sending a sample takes.
        """
        if self._last is None or sending_ns <= self._period_ns:
            return None
        due_ns = self._last[1] + self._period_ns
        if 3 * (now_ns - self._last[1]) <= self._period_ns:
            return None
        if not 0 < _LONGEST_WAIT * (due_ns - now_ns) <= sending_ns:
            return None
        return due_ns + self._period_ns // _LATE
