"""The status pipe: short lines of JSON from all nodes to their launcher."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dora_rt.transport.primitives import forks


class Kind(Enum):
    """Kinds of status lines."""

    READY = "ready"
    READS_EVENTS = "reads_events"
    SENT_AFTER_STOP = "sent_after_stop"
    CALLED_AT_STOP = "called_at_stop"
    STOP_DATAFLOW = "stop_dataflow"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Final counters of one edge between two operators of a process; latencies as histogram."""

    number: int
    sent: int
    delivered: int
    dropped: int
    latencies: tuple[int, ...]

    def plus(self, later: LinkCounters) -> LinkCounters:
        """Add the counters of a later start of the same process."""
        return LinkCounters(
            self.number,
            self.sent + later.sent,
            self.delivered + later.delivered,
            self.dropped + later.dropped,
            tuple(map(sum, zip(self.latencies, later.latencies, strict=True))),
        )


@dataclass(frozen=True, slots=True)
class Status:
    """One status line of the process with this number."""

    process: int
    kind: Kind
    link: LinkCounters | None = None


class StatusWriter:
    """A node's end of the pipe."""

    def __init__(self, descriptor: int, process: int) -> None:
        self._descriptor = descriptor
        self._process = process

    def send(self, kind: Kind, link: LinkCounters | None = None) -> None:
        """Write one line; short enough (below PIPE_BUF) that lines never mix."""
        if forks.is_forked:
            return  # the parent speaks for the node
        fields: dict[str, object] = {"process": self._process, "kind": kind.value}
        if link is not None:
            fields["link"] = [
                link.number,
                link.sent,
                link.delivered,
                link.dropped,
                {index: count for index, count in enumerate(link.latencies) if count},
            ]
        # The launcher is gone; the node ends by other means.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, json.dumps(fields, separators=(",", ":")).encode() + b"\n")


class StatusReader:
    """The launcher's end of the pipe: bytes in, status lines out."""

    def __init__(self, latency_buckets: int) -> None:
        self._buckets = latency_buckets
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[Status]:
        """Return the lines that are complete by now."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            # A process that inherits the pipe can write to it: other lines are ignored.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                fields = json.loads(line)
                link = self._link(fields.get("link"))
                yield Status(int(fields["process"]), Kind(fields["kind"]), link)

    def _link(self, fields: list[Any] | None) -> LinkCounters | None:
        if fields is None:
            return None
        number, sent, delivered, dropped, counts = fields
        latencies = tuple(int(counts.get(str(index), 0)) for index in range(self._buckets))
        return LinkCounters(int(number), int(sent), int(delivered), int(dropped), latencies)
