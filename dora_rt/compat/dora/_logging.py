"""Log lines of nodes of dora 1.x: one JSON object a line, which dora-launch reads."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

_LEVELS = ("error", "warn", "info", "debug", "trace")


def write_log(
    node_id: str,
    level: str,
    message: str,
    target: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Print one log line; a level that does not exist counts as info.

    Raises:
        TypeError: the message or the target is no string, or the fields are no mapping.
    """
    if not isinstance(message, str) or not isinstance(target, (str, type(None))):
        raise TypeError(
            "log(level, message, target=None, fields=None): message and target are strings; give "
            "a dict as fields="
        )
    line = _record(node_id, level, message)
    if target is not None:
        line["target"] = target
    if fields:
        line["fields"] = {str(key): str(value) for key, value in fields.items()}
    _print(line)


class LogBridge(logging.Handler):
    """Writes what Python's `logging` is given as log lines of the node."""

    def __init__(self, node_id: str) -> None:
        super().__init__()
        self._node_id = node_id

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        line = _record(self._node_id, _level(record.levelno), self.format(record))
        try:
            _print({**line, "target": record.name, "file": record.pathname, "line": record.lineno})
        except (OSError, ValueError):
            # A closed stdout must not fail the program that logs.
            self.handleError(record)


def bridge_logging(node_id: str) -> None:
    """Let `logging` write log lines from INFO on, unless the program has set it up already."""
    logging.basicConfig(handlers=[LogBridge(node_id)], level=logging.INFO, format="%(message)s")


def _record(node_id: str, level: str, message: str) -> dict[str, object]:
    level = level.lower()
    return {
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "level": level if level in _LEVELS else "info",
        "node_id": node_id,
        "message": message,
    }


def _print(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"
