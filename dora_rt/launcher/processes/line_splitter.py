"""Cut the output of a process into lines, whatever its bytes and however long a line."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST_LINE_NBYTES = 16 * 1024


class LineSplitter:
    """Bytes in as they come, lines of text out; never holds more than one longest line."""

    def __init__(self, longest_nbytes: int = LONGEST_LINE_NBYTES) -> None:
        self._longest_nbytes = longest_nbytes
        self._begun = b""
        self._begun_nbytes = 0  # of the whole line so far; `_begun` has only its first part

    def feed(self, received: bytes) -> Iterator[str]:
        """Yield the lines that are complete by now."""
        *pieces, rest = received.split(b"\n")
        for piece in pieces:
            if self._begun_nbytes or len(piece) > self._longest_nbytes:
                self._add(piece)
                yield self._finish()
            else:
                yield _text(piece)
        self._add(rest)

    @property
    def begun(self) -> str:
        """The line that is not complete yet, as far as it is known, and as it looks now."""
        # Its last letter may be here in part only.
        return _last_state(self._begun.decode("utf-8", "ignore"))

    def end(self) -> Iterator[str]:
        """Yield the line that was never completed, if there is one."""
        if self._begun_nbytes:
            yield self._finish()

    def _add(self, piece: bytes) -> None:
        redrawn = piece.rstrip(b"\r").rfind(b"\r")
        if redrawn >= 0 and len(self._begun) + len(piece) > self._longest_nbytes:
            # A progress bar goes on for hours in one line: only its last state will be shown.
            piece = piece[redrawn + 1 :]
            self._begun = b""
            self._begun_nbytes = 0
        self._begun += piece[: self._longest_nbytes - len(self._begun)]
        self._begun_nbytes += len(piece)

    def _finish(self) -> str:
        text = _text(self._begun)
        if self._begun_nbytes > len(self._begun):
            text += f" ... [cut: a line of {self._begun_nbytes:,} bytes]"
        self._begun = b""
        self._begun_nbytes = 0
        return text


def _text(line: bytes) -> str:
    return _last_state(line.decode("utf-8", "backslashreplace"))


def _last_state(text: str) -> str:
    # Only what was shown last of a line that was redrawn, as progress bars do.
    return text.rstrip("\r").rsplit("\r", 1)[-1]
