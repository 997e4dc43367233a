"""The timeline of a node: records for the launcher's Perfetto trace."""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
import time
from pathlib import Path

from dora_rt.event import Event, MatchedEvents
from dora_rt.node_config import NodeConfig
from dora_rt.tracing.record_file import Kind, Record, TraceWriter

_MOST_THREADS = 255


class Timeline(threading.local):
    """Records the activities of each thread; the unfinished one is an attribute of each."""

    _open: tuple[mmap.mmap, int] | None = None

    def __init__(self, writer: TraceWriter, numbers: dict[str, int], threads: itertools.count[int]):
        # Called again in each thread that comes.
        self._writer = writer
        self._numbers = numbers
        self._thread = min(next(threads), _MOST_THREADS)

    @classmethod
    def open(cls, config: NodeConfig) -> Timeline | None:
        """Begin the file of this process; None, with a warning, if that fails."""
        if config.trace_path is None:
            return None
        name = f"{config.number}-{config.restart_count}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            writer = TraceWriter(Path(config.trace_path) / name)
        except OSError as error:
            sys.stderr.write(f"dora_rt: this node will not be in the trace: {error}\n")
            return None
        numbers = {entry.id: number for number, entry in enumerate(config.inputs)}
        return cls(writer, numbers, itertools.count())

    def end(self) -> None:
        """Note that this thread asks for the next event."""
        if self._open is not None:
            self._writer.end(self._open, time.monotonic_ns())
            self._open = None

    def begin(self, event: Event) -> None:
        """Note what this thread was given."""
        now_ns = time.monotonic_ns()
        if isinstance(event, MatchedEvents):
            self._begin(Kind.MATCHED, 0, event.dropped, event.seq, now_ns, event.sent_ns)
            for member in event.value.values():
                self._write(Kind.MEMBER, self._numbers[member.id], member, now_ns)
        else:
            number = self._numbers[event.id]
            self._begin(Kind.INPUT, number, event.dropped, event.seq, now_ns, event.sent_ns)

    def begin_passed(self, link: int, seq: int, dropped: int, sent_ns: int) -> None:
        """Note what an operator was given by another one of this process."""
        self._begin(Kind.PASSED, link, dropped, seq, time.monotonic_ns(), sent_ns)

    def note(self, kind: Kind, number: int, seq: int, begin_ns: int, sent_ns: int = 0) -> None:
        """Set the end of the activity that is over."""
        end_ns = time.monotonic_ns()
        self._writer.write(Record(kind, self._thread, number, 0, seq, begin_ns, end_ns, sent_ns))

    def _begin(
        self, kind: Kind, number: int, dropped: int, seq: int, now_ns: int, sent_ns: int
    ) -> None:
        few = min(dropped, 2**32 - 1)
        record = Record(kind, self._thread, number, few, seq, now_ns, 0, sent_ns)
        self._open = self._writer.write(record)

    def _write(self, kind: Kind, number: int, event: Event, now_ns: int) -> None:
        few = min(event.dropped, 2**32 - 1)
        self._writer.write(
            Record(kind, self._thread, number, few, event.seq, now_ns, now_ns, event.sent_ns)
        )
