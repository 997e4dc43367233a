"""In a dataflow with a clock: the time of the clock at the origin of each sample, for `sync`."""

from __future__ import annotations

from typing import Any

from dora_rt.event import CLOCK_KEY, STAMP_KEY, clock_of
from dora_rt.transport.clock import Clock
from dora_rt.transport.output.origin import Origins

Cause = tuple[int, bytes, str]

_NO_METADATA = b" "  # not empty: else a sample would get none


class ClockOrigins(Origins):
    """Origins that add the time of the clock to the metadata.

    It is the sample's own stamp, or that of the input that is answered, or else the time of now.
    """

    _cause: Cause = (0, _NO_METADATA, "")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def cause(self) -> Cause:
        """The input that this thread answers."""
        return self._cause

    @cause.setter
    def cause(self, cause: Cause) -> None:
        self._cause = cause if cause[1] or cause[2] else (cause[0], _NO_METADATA, "")

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete a sample, as `Origins.inherit` does."""
        metadata, source_ns, origin_ns = super().inherit(metadata, captured_ns)
        if metadata is None or CLOCK_KEY not in metadata:
            # A system with stamps, as ROS, has the same clock.
            clock_ns = None if metadata is None else metadata.get(STAMP_KEY)
            if type(clock_ns) is not int:
                clock_ns = clock_of(self._cause[1]) if captured_ns is None else None
            clock_ns = self._clock.now_ns() if clock_ns is None else clock_ns
            metadata = {**(metadata or {}), CLOCK_KEY: clock_ns}
        return metadata, source_ns, origin_ns
