"""Cut what a serial port gives into lines, of which none can fill the memory."""

from __future__ import annotations

_PRINTABLE = frozenset({"\t", "\x1b"})


class LineBuffer:
    """Take pieces of bytes as they come; give the whole lines of text that are in them.

    A line ends with a line feed, a carriage return, or both; empty ones are left out. The first
    piece of a connection mostly begins in the middle of a line, which is no fault of the device.

    Args:
        max_line_nbytes: a longer line is left out up to its end.

    Attributes:
        overlong: lines that were left out because of their length.
        garbled: lines that were left out because they are no text in UTF-8.
    """

    def __init__(self, max_line_nbytes: int) -> None:
        self._max_nbytes = max_line_nbytes
        self._begun = bytearray()
        self._is_skipping = False
        self._is_first = True
        self.overlong = 0
        self.garbled = 0

    def restart(self) -> None:
        """Forget the line that has begun: the device was plugged in again."""
        self._begun.clear()
        self._is_skipping = False
        self._is_first = True

    def feed(self, piece: bytes) -> list[str]:
        """Take the next bytes; return the lines that they complete."""
        lines = []
        *ended, rest = piece.replace(b"\r", b"\n").split(b"\n")
        for part in ended:
            line = self._end_line(part)
            if line is not None:
                lines.append(line)
        self._add(rest)
        return lines

    def _end_line(self, part: bytes) -> str | None:
        self._add(part)
        whole = bytes(self._begun)
        self._begun.clear()
        if self._is_skipping:
            self._is_skipping = False
            return None
        if not whole:
            return None
        is_first, self._is_first = self._is_first, False
        text = _text(whole)
        if text is None and not is_first:
            self.garbled += 1
        return text or None

    def _add(self, part: bytes) -> None:
        if self._is_skipping:
            return
        if len(self._begun) + len(part) > self._max_nbytes:
            self._begun.clear()
            self._is_skipping = True
            self._is_first = False
            self.overlong += 1
            return
        self._begun += part


def _text(line: bytes) -> str | None:
    """Return the line without the blanks around it; None if it is no text."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    is_text = all(letter.isprintable() or letter in _PRINTABLE for letter in text)
    return text.strip() if is_text else None
