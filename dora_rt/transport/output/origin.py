"""The times, origin and telemetry context of a sample, for its header and metadata."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from dora_rt.compiled import IS_COMPILED, _cores, prefer_compiled_function
from dora_rt.errors import UnsupportedValueError
from dora_rt.event import TELEMETRY_KEY, Event, telemetry_context
from dora_rt.transport.values.sendable import encode_metadata

# A camera may stamp a picture with the end of its exposure.
_AHEAD_NS = 1_000_000_000
_DAY_NS = 86_400 * 1_000_000_000
_NO_METADATA = {TELEMETRY_KEY: ""}


class Stamp(NamedTuple):
    """Times, metadata, and how long to wait for readers."""

    metadata_json: bytes
    source_ns: int
    origin_ns: int
    deadline_ns: int | None = None
    """Until when to wait for readers of `block` edges; None: as long as it takes."""


if IS_COMPILED:
    _cores.use_stamp(Stamp)
# As `Stamp(...)`, without the Python function that a NamedTuple goes through.
_stamp = partial(tuple.__new__, Stamp)


@prefer_compiled_function
def make_stamp(
    origins: Origins,
    where: str,
    metadata: dict[str, Any] | None,
    captured_ns: int | None,
    deadline_ns: int | None,
) -> Stamp:
    """Check the user's metadata and time, and add what they inherit.

    Raises:
        UnsupportedValueError: it cannot travel; names `where`.
    """
    if metadata is None and captured_ns is None:
        origin_ns, metadata_json, context = origins.cause
        if not metadata_json and not context:
            # The most common case.
            source_ns = time.monotonic_ns()
            return _stamp((b"", source_ns, origin_ns or source_ns, deadline_ns))
    if metadata is not None and not isinstance(metadata, dict):
        raise UnsupportedValueError(
            f"{where}: metadata must be a dict or None, got a {type(metadata).__name__}"
        )
    if captured_ns is not None:
        captured_ns = _checked(captured_ns, where)
    metadata, source_ns, origin_ns = origins.inherit(metadata, captured_ns)
    # Metadata handed on unchanged often are nothing but the empty telemetry context.
    if not metadata or metadata == _NO_METADATA:
        return Stamp(b"", source_ns, origin_ns, deadline_ns)
    try:
        metadata_json = encode_metadata(metadata)
    except UnsupportedValueError as error:
        raise UnsupportedValueError(f"{where}: {error}") from error.__cause__
    return Stamp(metadata_json, source_ns, origin_ns, deadline_ns)


def _checked(captured_ns: Any, where: str) -> int:
    """Return the time of a capture as int, which it may be of numpy's kind as well."""
    try:
        whole = -1 if isinstance(captured_ns, bool) else operator.index(captured_ns)
    except TypeError:
        whole = -1
    if not 0 <= whole < 2**64:
        raise UnsupportedValueError(
            f"{where}: captured_ns must be a whole number of nanoseconds from 0 to 2**64 - 1, "
            f"as time.monotonic_ns() gives it, got {captured_ns!r}"
        )
    if whole > time.monotonic_ns() + _AHEAD_NS:
        raise UnsupportedValueError(f"{where}: {_wrong_clock(whole)}")
    return whole


def _wrong_clock(captured_ns: int) -> str:
    # Believed, it would make an age below 0, which looks like no latency at all.
    ahead_s = (captured_ns - time.monotonic_ns()) / 1e9
    is_wall_clock = abs(captured_ns - time.time_ns()) < _DAY_NS
    wrong = "time.time_ns()" if is_wall_clock else "a time of another clock"
    return (
        f"captured_ns={captured_ns} is {ahead_s:,.0f} s in the future: give time.monotonic_ns(), "
        f"and not {wrong}"
    )


class Origins(threading.local):
    """The input that each thread is answering at the moment.

    Attributes:
        cause: its origin, its metadata (undecoded: decoded only when a context may be in them),
            and its `open_telemetry_context`, where the metadata are not at hand.
    """

    cause: tuple[int, bytes, str] = (0, b"", "")

    @contextmanager
    def answering(self, event: Event) -> Iterator[None]:
        """Let what is sent in this block inherit from an event, whatever came in between."""
        before = self.cause
        self.cause = event.origin_ns, event.metadata_json, ""
        try:
            yield
        finally:
            self.cause = before

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete a sample with what it inherits from the input that this thread answers.

        Returns:
            The metadata with the telemetry context, the source time, and the origin time.
        """
        origin_ns, metadata_json, context = self.cause
        if not (metadata and metadata.get(TELEMETRY_KEY)):
            if metadata_json and not context:
                context = telemetry_context(metadata_json)
            if context:
                metadata = {**(metadata or {}), TELEMETRY_KEY: context}
        now_ns = time.monotonic_ns()
        if captured_ns is not None:
            return metadata, captured_ns, captured_ns
        return metadata, now_ns, origin_ns or now_ns
