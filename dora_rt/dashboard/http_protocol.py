"""HTTP of the dashboard, with a limit of connections and a deadline for each request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
REQUEST_S = 10.0


class Protocol(H11Protocol):
    """One connection: it has a deadline for each whole request, and their number is limited.

    A client that sends a byte now and then would else keep its connection for ever.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; of too many connections, the one that has waited longest is ended."""
        super().connection_made(transport)
        self._begin_deadline()
        all_of_them = [one for one in self.connections if isinstance(one, Protocol)]
        there = [one for one in all_of_them if not one.transport.is_closing()]
        if len(there) > MAX_CONNECTIONS:
            silent = [one for one in there if one is not self and one.is_silent]
            min(silent, key=Protocol.deadline, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes. A whole request may take any time; the next one has a deadline again."""
        super().data_received(data)
        if self.is_silent:
            self._begin_deadline()
        else:
            self._end_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end_deadline()
        super().connection_lost(exc)

    @property
    def is_silent(self) -> bool:
        """Whether no whole request, with its body, is being answered."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def deadline(self) -> float:
        """Return when the next request must be whole."""
        return 0.0 if self._deadline is None else self._deadline.when()

    def _begin_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
