"""Lines that nodes print: plain text, or one record of a log in dora's form of it, as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any


class LogLevel(Enum):
    """The level of a line; `stdout` is a line that is no log record."""

    STDOUT = "stdout"
    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    def passes(self, least: LogLevel) -> bool:
        """Return whether this level is at least `least`."""
        return least is LogLevel.STDOUT or _LOUDNESS[self] >= _LOUDNESS[least]


_LOUDNESS = {level: loudness for loudness, level in enumerate(LogLevel)}
_LEVELS = {level.value: level for level in LogLevel} | {"warning": LogLevel.WARN}


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of a log; `fields` and `target` as the node gave them, or None."""

    level: LogLevel
    message: str
    target: str | None = None
    fields: dict[str, Any] | None = None
    timestamp: str | None = None

    def readable(self) -> str:
        """Return the line that a person reads."""
        fields = " ".join(f"{key}={value}" for key, value in (self.fields or {}).items())
        where = f"{self.target}: " if self.target else ""
        text = f"{self.level.value.upper():<5} {where}{self.message}"
        return f"{text} ({fields})" if fields else text


def parse_record(line: str) -> LogRecord | None:
    """Return the record that a line is; None if it is plain text."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    level = _LEVELS.get(str(found.get("level")).lower()) if isinstance(found, dict) else None
    message = found.get("message") if level is not None else None
    if level is None or not isinstance(message, str):
        return None
    target, fields, timestamp = (found.get(key) for key in ("target", "fields", "timestamp"))
    return LogRecord(
        level,
        message,
        target if isinstance(target, str) else None,
        fields if isinstance(fields, dict) else None,
        timestamp if isinstance(timestamp, str) else None,
    )


def level_of(line: str) -> LogLevel:
    """Return the level of a line."""
    record = parse_record(line)
    return LogLevel.STDOUT if record is None else record.level


def readable(line: str) -> list[str]:
    """Return a line as people see it: the lines of the message, if it is a record."""
    record = parse_record(line)
    return [line] if record is None else record.readable().splitlines()


def to_log_message(line: str, *, node: str, run: str) -> str:
    """Return a line as readers of `dora/logs` get it: JSON with all of dora's keys."""
    record = parse_record(line) or LogRecord(LogLevel.STDOUT, line)
    # dora writes the levels of records in capitals, and that of plain text not.
    is_record = record.level is not LogLevel.STDOUT
    return json.dumps(
        {
            "build_id": None,
            "dataflow_id": run,
            "node_id": node,
            "daemon_id": None,
            "level": record.level.value.upper() if is_record else record.level.value,
            "target": record.target,
            "module_path": None,
            "file": None,
            "line": None,
            "message": record.message,
            "timestamp": record.timestamp or _now(),
            "fields": record.fields,
        },
        separators=(",", ":"),
    )


def _now() -> str:
    now_ns = time.time_ns()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 1_000_000_000))
    return f"{moment}.{now_ns % 1_000_000_000:09}Z"
