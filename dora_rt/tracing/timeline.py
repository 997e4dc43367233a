"""The timeline: what a node did and when, into the file that the launcher makes a trace of."""

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
    """Records for each thread what it is at; as an attribute of each, what is not over yet."""

    _open: tuple[mmap.mmap, int] | None = None

    def __init__(self, writer: TraceWriter, places: dict[str, int], threads: itertools.count[int]):
        # Called again in each thread that comes.
        self._writer = writer
        self._places = places
        self._thread = min(next(threads), _MOST_THREADS)

    @classmethod
    def open(cls, config: NodeConfig) -> Timeline | None:
        """Begin the file of this process; None, and a word about it, if that cannot be."""
        if config.trace_path is None:
            return None
        name = f"{config.number}-{config.restart_count}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            writer = TraceWriter(Path(config.trace_path) / name)
        except OSError as error:
            sys.stderr.write(f"dora_rt: this node will not be in the trace: {error}\n")
            return None
        places = {entry.id: place for place, entry in enumerate(config.inputs)}
        return cls(writer, places, itertools.count())

    def end(self) -> None:
        """Note that this thread asks for what comes next."""
        if self._open is not None:
            self._writer.end(self._open, time.monotonic_ns())
            self._open = None

    def begin(self, event: Event) -> None:
        """Note what this thread was given."""
        now_ns = time.monotonic_ns()
        if isinstance(event, MatchedEvents):
            self._begin(Kind.MATCHED, 0, event.dropped, event.seq, now_ns, event.sent_ns)
            for member in event.value.values():
                self._write(Kind.MEMBER, self._places[member.id], member, now_ns)
        else:
            place = self._places[event.id]
            self._begin(Kind.INPUT, place, event.dropped, event.seq, now_ns, event.sent_ns)

    def begin_passed(self, link: int, seq: int, dropped: int, sent_ns: int) -> None:
        """Note what an operator was given by another one of this process."""
        self._begin(Kind.PASSED, link, dropped, seq, time.monotonic_ns(), sent_ns)

    def note(self, kind: Kind, place: int, seq: int, begin_ns: int, sent_ns: int = 0) -> None:
        """Note what has just ended."""
        end_ns = time.monotonic_ns()
        self._writer.write(Record(kind, self._thread, place, 0, seq, begin_ns, end_ns, sent_ns))

    def _begin(
        self, kind: Kind, place: int, dropped: int, seq: int, now_ns: int, sent_ns: int
    ) -> None:
        few = min(dropped, 2**32 - 1)
        record = Record(kind, self._thread, place, few, seq, now_ns, 0, sent_ns)
        self._open = self._writer.write(record)

    def _write(self, kind: Kind, place: int, event: Event, now_ns: int) -> None:
        few = min(event.dropped, 2**32 - 1)
        self._writer.write(
            Record(kind, self._thread, place, few, event.seq, now_ns, now_ns, event.sent_ns)
        )
