"""What an answer inherits from the input that caused it, for each thread of a node."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from dora_rt.event import TELEMETRY_KEY, telemetry_context


class Cause(NamedTuple):
    """What an answer inherits; the context is looked for in `metadata_json` only when needed."""

    origin_ns: int
    metadata_json: bytes = b""
    context: str = ""


_NO_CAUSE = Cause(0)


class Causes:
    """The input that each thread is answering at the moment."""

    def __init__(self) -> None:
        self._local = threading.local()

    def answer_to(self, cause: Cause) -> None:
        """Let what this thread sends from now on inherit from `cause`."""
        self._local.cause = cause

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete what is sent with what it inherits from the input that this thread answers.

        Returns:
            The metadata with the telemetry context, the source time, and the origin time.
        """
        cause: Cause = getattr(self._local, "cause", _NO_CAUSE)
        if not (metadata and metadata.get(TELEMETRY_KEY)):
            context = cause.context or telemetry_context(cause.metadata_json)
            if context:
                metadata = {**(metadata or {}), TELEMETRY_KEY: context}
        now_ns = time.monotonic_ns()
        if captured_ns is not None:
            return metadata, captured_ns, captured_ns
        return metadata, now_ns, cause.origin_ns or now_ns
