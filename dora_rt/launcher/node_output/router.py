"""Routes the nodes' lines: all to log files and followers, a readable share to the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.launcher.node_output.console import Console
from dora_rt.launcher.node_output.followers import LineFollowers
from dora_rt.launcher.node_output.interruption import InterruptionFilter
from dora_rt.launcher.node_output.log_files import NodeLogs
from dora_rt.log_record import LogLevel, level_of, readable
from dora_rt.terminal import harmless
from dora_rt.units import counted

SHOWN_LINES_PER_S = 500
_WINDOW_NS = 1_000_000_000
_BEGUN_LENGTH = 1000


@dataclass(slots=True)
class _Window:
    """The second of a node that is being counted now."""

    end_ns: int = 0
    shown: int = 0
    hidden: int = 0
    was_full: bool = False


class LineRouter:
    """The lines of all nodes of one run."""

    def __init__(
        self,
        console: Console,
        logs: NodeLogs,
        *,
        least: Mapping[str, LogLevel] | None = None,
        relay: str | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Take where lines go.

        Args:
            console: what one reads.
            logs: the files.
            least: how loud a line of a node must be to be kept.
            relay: the node that sends on the lines of the others, if there is one.
            clock: `time.monotonic_ns`.
        """
        self._console = console
        self._logs = logs
        self._least = least or {}
        self._relay = relay
        self._followers = LineFollowers(has_relay=relay is not None)
        self.follow = self._followers.follow
        """Answers `follow` requests."""
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._interruptions: dict[str, InterruptionFilter] = {}
        # The lines that have begun, of which all was shown and logged.
        self._begun: dict[str, str] = {}

    @property
    def log_folder(self) -> Path:
        """Where the log files are."""
        return self._logs.folder

    def write(self, name: str, lines: Sequence[str], *, is_interrupted: bool = False) -> None:
        """Log lines that a node printed, and show them unless it floods the console.

        The first one is left out if it is what was shown when it had begun.

        Args:
            name: the node.
            lines: the lines that it printed.
            is_interrupted: whether it was sent a SIGINT: its traceback of that is not shown.
        """
        least = self._least.get(name, LogLevel.STDOUT)
        told = [(line, least is LogLevel.STDOUT or level_of(line).passes(least)) for line in lines]
        if self._followers.is_wanted and name != self._relay:
            self._followers.write(name, told)
        if lines and self._begun.pop(name, None) == lines[0]:
            del told[0]
        kept = [harmless(line) for line, is_kept in told if is_kept]
        self._logs.write(name, kept)
        if is_interrupted:
            kept = self._interruptions.setdefault(name, InterruptionFilter()).feed(kept)
        self._show(name, kept)

    def write_begun(self, name: str, begun: str) -> None:
        """Log and show a line that a node has begun, as it looks now; followers get whole lines."""
        if self._least.get(name, LogLevel.STDOUT) is not LogLevel.STDOUT:
            return
        self._begun.pop(name, None)
        if len(begun) <= _BEGUN_LENGTH:
            self._begun[name] = begun
        shown = harmless(begun[:_BEGUN_LENGTH])
        self._logs.write(name, [shown])
        self._show(name, [shown])

    def _show(self, name: str, lines: list[str]) -> None:
        window = self._windows.setdefault(name, _Window())
        now_ns = self._clock()
        if now_ns >= window.end_ns:
            window.was_full = window.hidden > 0
            self._tell_hidden(name, window)
            window.end_ns = now_ns + _WINDOW_NS
            window.shown = 0
        shown = lines[: SHOWN_LINES_PER_S - window.shown]
        for line in shown:
            for part in readable(line):
                self._console.node_line(name, part)
        window.shown += len(shown)
        if len(lines) > len(shown):
            if not window.hidden and not window.was_full:
                # At once, because the count is known only when the node prints again or ends.
                self._console.node_line(
                    name,
                    f"... more than {SHOWN_LINES_PER_S} lines a second, "
                    f"see {self._logs.path(name)}",
                )
            window.hidden += len(lines) - len(shown)

    def end(self, name: str) -> None:
        """Announce how many lines of an ended node were left out."""
        self._begun.pop(name, None)
        if name in self._interruptions:
            self._show(name, self._interruptions.pop(name).end())
        if name in self._windows:
            self._tell_hidden(name, self._windows.pop(name))

    def close(self, name: str) -> None:
        """Note that a node is over, and prints no more."""
        if name != self._relay:
            self._followers.end(name)

    def _tell_hidden(self, name: str, window: _Window) -> None:
        if window.hidden:
            self._console.node_line(
                name, f"... {counted(window.hidden, 'line')} not shown, see {self._logs.path(name)}"
            )
            window.hidden = 0
