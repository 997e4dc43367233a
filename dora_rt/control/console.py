"""What the person at the terminal sees: the nodes' lines with their names, and our notices."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_BOLD_RED = "1;31"


class Console:
    """Writes whole lines to one stream."""

    def __init__(self, stream: TextIO, *, has_colour: bool) -> None:
        self._stream = stream
        self._has_colour = has_colour
        self._is_gone = False
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
        """Show a line that a node printed."""
        prefix = f"{name:<{self._width}} |"
        self._write(f"{self._paint(prefix, str(self._colour_of.get(name, 37)))} {line}\n")

    def notice(self, text: str) -> None:
        """Show a line of our own."""
        self._write(f"{text}\n")

    def alarm(self, text: str) -> None:
        """Show a line of our own that nobody should miss."""
        self._write(f"{self._paint(text, _BOLD_RED)}\n")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colour else text

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except UnicodeEncodeError:
            # A terminal of the C locale: rather a code than no line.
            self._write(text.encode("ascii", "backslashreplace").decode())
        except OSError:
            # Whoever read along has left, or the disk is full; the robot goes on.
            self._is_gone = True
            self._forget_stream()

    def _forget_stream(self) -> None:
        # What is left in the stream's buffer would fail once more when the interpreter ends, and
        # change our exit code.
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
