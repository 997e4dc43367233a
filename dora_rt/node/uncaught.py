"""The last word of a node that ends by an exception."""

from __future__ import annotations

import sys
from types import TracebackType

from dora_rt.errors import SentAfterStopError
from dora_rt.transport.status_pipe import Kind, StatusWriter


def report_uncaught(status: StatusWriter) -> None:
    """Tell the launcher if this process ends because it sent after the stop: that is no failure."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, SentAfterStopError):
            status.send(Kind.SENT_AFTER_STOP)
        previous(kind, error, trace)

    sys.excepthook = hook
