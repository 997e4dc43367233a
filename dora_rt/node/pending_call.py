"""A request of this node that has no answer yet."""

from __future__ import annotations

import threading

from dora_rt.errors import DoraRtError
from dora_rt.event import Event


class PendingCall:
    """A request without its answer so far."""

    def __init__(self, name: str, request_id: str) -> None:
        self.name = name
        self.request_id = request_id
        self.done = threading.Event()
        self.is_abandoned = False
        self._answer: Event | None = None
        self._error: DoraRtError | None = None

    def finish(self, answer: Event) -> None:
        """Note the answer."""
        self._answer = answer
        self.done.set()

    def fail(self, error: DoraRtError) -> None:
        """Note that there will be none."""
        self._error = error
        self.done.set()

    def answer(self) -> Event:
        """Return the answer that has come.

        Raises:
            DoraRtError: what `fail` got.
        """
        if self._error is not None:
            raise self._error
        assert self._answer is not None, "it is done"
        return self._answer
