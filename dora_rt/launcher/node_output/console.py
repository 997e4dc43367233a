"""The console: the nodes' lines with their names, and the launcher's notices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from dora_rt.launcher.node_output.background_writer import BackgroundWriter
from dora_rt.terminal import harmless

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_BOLD_RED = "1;31"


class Console:
    """Writes whole lines to one stream; a context manager that waits at its end for the reader."""

    def __init__(self, stream: TextIO, *, has_colour: bool) -> None:
        self._writer = BackgroundWriter(stream)
        self._has_colour = has_colour
        self._width = 0
        self._colour_of: dict[str, int] = {}

    def introduce(self, names: Iterable[str]) -> None:
        """Learn the names, so that the lines align and each name has its colour."""
        names = list(names)
        self._width = max((len(name) for name in names), default=0)
        self._colour_of = {
            name: _COLOURS[position % len(_COLOURS)] for position, name in enumerate(names)
        }

    def node_line(self, name: str, line: str) -> None:
        """Show a line that a node printed, unless the stream has been stuck for long."""
        prefix = f"{name:<{self._width}} |"
        shown = f"{self._paint(prefix, str(self._colour_of.get(name, 37)))} {harmless(line)}\n"
        self._writer.write(shown, is_vital=False)

    def notice(self, text: str) -> None:
        """Show a line of our own."""
        self._writer.write(f"{harmless(text)}\n", is_vital=True)

    def alarm(self, text: str) -> None:
        """Show a line of the launcher's own, highlighted."""
        self._writer.write(f"{self._paint(harmless(text), _BOLD_RED)}\n", is_vital=True)

    def drain(self, within_s: float | None = None) -> None:
        """Wait until all is shown; after `within_s` seconds give up, once and for all."""
        self._writer.drain(within_s)

    def __enter__(self) -> Console:
        self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # A second Ctrl-C means that the rest need not be read.
            self._writer.drain(0)
        self._writer.close()

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colour else text
