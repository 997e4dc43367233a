"""From what each node has recorded to one trace that opens in Perfetto: Chrome's JSON format.

Nothing is held in memory but one event: the file is written as the records are read, and viewers
sort it themselves.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from dora_rt.node_config import NodePlan
from dora_rt.plan.plan import Plan
from dora_rt.report import TraceReport
from dora_rt.tracing.record_file import Kind, Record, Trace, read_trace

# Tracks of a process: its first thread, or its operators, and then its other threads. For viewers
# number 0 is the idle process, and the numbers of threads are those of the whole machine.
_TRACKS = 1_000_000
_OTHER_THREADS = 900_000


def check_target(path: Path) -> None:
    """Look, before a run, whether its trace can be written.

    Raises:
        OSError: it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file, such as trace.json")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        what = "cannot be written" if path.parent.is_dir() else "does not exist"
        raise PermissionError(f"the folder {path.parent} {what}")


def write_trace(plan: Plan, folder: Path, path: Path, *, began_ns: int) -> TraceReport:
    """Make one trace of the files in `folder`; `path` gets it when it is complete.

    Args:
        plan: what ran.
        folder: what the nodes have written.
        path: the file to make.
        began_ns: `time.monotonic_ns()` that is to be 0 in the trace.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            merger = _Merger(plan, file, began_ns)
            for process in plan.processes:
                merger.add(_Process(process.config), _read_parts(folder, process.config.number))
            merger.finish()
        unfinished.replace(path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return TraceReport(str(path), merger.events, merger.left_out)


def _read_parts(folder: Path, number: int) -> list[Trace]:
    """Give what each start of a process has recorded, in turn."""
    parts = []
    for path in folder.glob(f"{number}-*"):
        with suppress(ValueError):  # killed before it had begun
            parts.append(read_trace(path))
    return sorted(parts, key=lambda part: part.began_ns)


class _Merger:
    """Writes events as they come."""

    def __init__(self, plan: Plan, file: TextIO, began_ns: int) -> None:
        self.events = 0
        self.left_out = 0
        self._plan = plan
        self._file = file
        self._began_ns = began_ns
        self._senders = _senders_of_links(plan)
        self._named: set[tuple[int, int]] = set()
        file.write('{"displayTimeUnit":"ms","traceEvents":[')
        self._separator = "\n"

    def add(self, process: _Process, parts: list[Trace]) -> None:
        """Add what one process has recorded at each of its starts."""
        self._write({"ph": "M", "name": "process_name", "pid": process.number + 1}, process.name)
        ends_ns = [part.began_ns for part in parts[1:]] + [time.monotonic_ns()]
        for part, at_latest_ns in zip(parts, ends_ns, strict=True):
            self.left_out += part.left_out
            for record in part.records:
                self._add(process, record, at_latest_ns)

    def finish(self) -> None:
        """Write what comes last."""
        self._file.write("\n]}\n")

    def _add(self, process: _Process, record: Record, at_latest_ns: int) -> None:
        track, name, category = process.place_of(record)
        self._name(process, track)
        base = _where(process, track)
        if record.kind != Kind.MEMBER:
            begin = {"ph": "X", "name": name, "cat": category, "ts": self._us(record.begin_ns)}
            self._write_slice({**begin, **base}, record, at_latest_ns)
        if record.kind == Kind.SENT:
            for edge in process.config.outputs[record.number].edges:
                self._arrow("s", base, f"e{edge.number}", record.sent_ns, record.sent_ns)
        elif record.kind in (Kind.INPUT, Kind.MEMBER):
            number = process.edge_number(record.number)
            if number is not None:
                self._arrow("f", base, f"e{number}", record.sent_ns, record.begin_ns)
        elif record.kind == Kind.PASSED:
            sender = _where(process, self._senders[record.number])
            self._arrow("s", sender, f"l{record.number}", record.sent_ns, record.sent_ns)
            self._arrow("f", base, f"l{record.number}", record.sent_ns, record.begin_ns)

    def _write_slice(self, event: dict[str, Any], record: Record, at_latest_ns: int) -> None:
        arguments: dict[str, Any] = {"seq": record.seq}
        if record.kind in (Kind.INPUT, Kind.PASSED, Kind.MATCHED):
            arguments["latency_us"] = (record.begin_ns - record.sent_ns) / 1e3
            arguments["dropped"] = record.dropped
        if not record.end_ns:
            # The process was killed in the middle of it: that lasted until the next start at most.
            arguments["unfinished"] = True
        end_ns = record.end_ns or max(at_latest_ns, record.begin_ns)
        event["dur"] = (end_ns - record.begin_ns) / 1e3
        self._write({**event, "args": arguments})

    def _arrow(self, kind: str, base: dict[str, int], edge: str, sent_ns: int, at_ns: int) -> None:
        # When it was sent tells a sample of an edge from all others, also after a restart.
        # Viewers want a number for the id, and take the category for a part of it.
        arrow = {"ph": kind, "name": "sample", "cat": f"sample {edge}", "id": f"{sent_ns:#x}"}
        if kind == "f":
            arrow["bp"] = "e"
        self._write({**arrow, "ts": self._us(at_ns), **base})

    def _name(self, process: _Process, track: int) -> None:
        if (process.number, track) in self._named:
            return
        self._named.add((process.number, track))
        base = {"ph": "M", "name": "thread_name", **_where(process, track)}
        self._write(base, process.track_name(track))

    def _us(self, time_ns: int) -> float:
        return (time_ns - self._began_ns) / 1e3

    def _write(self, event: dict[str, Any], name: str | None = None) -> None:
        if name is None:
            self.events += 1
        else:
            event["args"] = {"name": name}
        self._file.write(self._separator + json.dumps(event, separators=(",", ":")))
        self._separator = ",\n"


class _Process:
    """The names and tracks of what a process has recorded by number."""

    def __init__(self, config: NodePlan) -> None:
        self.config = config
        self.number = config.number
        self.name = config.node
        self._inputs = {
            port_id: (track, input_id)
            for track, operator in enumerate(config.operators)
            for port_id, input_id in operator.inputs
        }
        self._outputs = {
            route.external_id: (track, route.output_id)
            for track, operator in enumerate(config.operators)
            for route in operator.routes
        }
        self._links = dict(_links(config))

    def place_of(self, record: Record) -> tuple[int, str, str]:
        """Give the track, the name and the category of a record's slice."""
        config = self.config
        if record.kind in (Kind.INPUT, Kind.MEMBER):
            input_id = config.inputs[record.number].id
            track, name = self._inputs.get(input_id, (0, input_id))
            return self._track(record, track), name, "input"
        if record.kind == Kind.MATCHED:
            return self._track(record, 0), "sync", "input"
        if record.kind == Kind.PASSED:
            _, track, name = self._links[record.number]
            return self._track(record, track), name, "input"
        output_id = config.outputs[record.number].id
        track, name = self._outputs.get(output_id, (0, output_id))
        if record.kind == Kind.WAITED:
            return self._track(record, track), f"wait for readers of {name}", "wait"
        return self._track(record, track), f"send {name}", "send"

    def edge_number(self, place: int) -> int | None:
        """Tell which edge an input has; None for a timer."""
        edge = self.config.inputs[place].edge
        return None if edge is None else edge.number

    def track_name(self, track: int) -> str:
        """Tell what a track is called."""
        if track > _OTHER_THREADS:
            return f"thread {track - _OTHER_THREADS + 1}"
        operators = self.config.operators
        return operators[track].name if operators else self.name

    def _track(self, record: Record, track: int) -> int:
        return track if record.thread == 0 else _OTHER_THREADS + record.thread


def _where(process: _Process, track: int) -> dict[str, int]:
    number = process.number + 1
    return {"pid": number, "tid": number * _TRACKS + track}


def _links(config: NodePlan) -> Iterator[tuple[int, tuple[int, int, str]]]:
    """Give the links of a process by number: tracks of sender and reader, and the input."""
    for track, operator in enumerate(config.operators):
        for route in operator.routes:
            for link in route.links:
                yield link.number, (track, link.operator, link.input_id)


def _senders_of_links(plan: Plan) -> dict[int, int]:
    return {
        number: sender
        for process in plan.processes
        for number, (sender, _, _) in _links(process.config)
    }
