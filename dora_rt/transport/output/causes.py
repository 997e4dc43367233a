"""What an answer inherits from the input that caused it, for each thread of a node."""

from __future__ import annotations

import threading
import time
from typing import Any

from dora_rt.event import TELEMETRY_KEY, telemetry_context


class Causes(threading.local):
    """The input that each thread is answering at the moment.

    Attributes:
        cause: its origin, its metadata (undecoded: decoded only when a context may be in them),
            and its `open_telemetry_context`, where the metadata are not at hand.
    """

    cause: tuple[int, bytes, str] = (0, b"", "")

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete what is sent with what it inherits from the input that this thread answers.

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
