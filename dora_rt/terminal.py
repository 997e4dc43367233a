"""Text from others on its way to a terminal: what would steer the terminal is made harmless.

A line of a node may come from a camera, a file or a program in the network; names and paths
may as well. A terminal that is sent the wrong bytes erases earlier lines, writes
its clipboard, or shows text in another order than it is read by a program.
"""

from __future__ import annotations

import re
from typing import TextIO, cast

_RESET = "\x1b[0m"
# What takes no room, or only looks like a blank: direction marks, overrides and isolates, fillers,
# byte order marks, annotations, and the tags, in which a whole text can hide.
_UNSEEN = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_JOINERS = r"\u200c\u200d"
_VARIANTS = r"\u180b-\u180d\u180f\ufe00-\ufe0f"
_NO_NEIGHBOUR = rf"\x00-\x9f\ud800-\udfff{_UNSEEN}{_JOINERS}"
_ESCAPE = re.compile(
    r"\x1b\[([0-9;:]*)m"  # SGR: colours
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # other control sequences: move, erase, ask
    r"|\x1b[ -/]+[0-~]"  # another character set
    # C0 but tab and newline, DEL, C1, lone surrogates
    rf"|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_UNSEEN}]"
    # Emoji, and scripts such as Persian and Hindi, are written with these: one, between two of
    # their characters, changes how those look, and so is seen.
    rf"|(?<![^{_NO_NEIGHBOUR}])[{_JOINERS}]|[{_JOINERS}](?![^{_NO_NEIGHBOUR}{_VARIANTS}])"
    # So does one of these behind a character; behind a digit, only of a key cap.
    rf"|(?<![^{_NO_NEIGHBOUR}{_VARIANTS}])[{_VARIANTS}](?!\u20e3)"
)
_CONCEALED = "8"
# How many parameters belong to an extended colour, behind its 38, 48 or 58.
_COLOUR_PARAMETERS = {"5": 2, "2": 4}


def harmless(text: str, *, has_colours: bool = True) -> str:
    """Return text that only shows itself, line by line.

    Colours may stay: they end with their line. Other sequences for terminals (ESC [) are left out,
    and every other character that is not to be seen becomes its code, such as \\x1b or \\u202e.
    """
    # Not isprintable() alone: it takes fillers and the like for letters.
    if (text.isascii() and text.isprintable()) or _ESCAPE.search(text) is None:
        return text
    return "\n".join(_harmless_line(line, has_colours=has_colours) for line in text.split("\n"))


def _harmless_line(line: str, *, has_colours: bool) -> str:
    is_coloured = False

    def replaced(found: re.Match[str]) -> str:
        nonlocal is_coloured
        parameters = found[1]
        if parameters is not None and has_colours and not _conceals(parameters):
            is_coloured = bool(parameters.strip("0;"))
            return found[0]
        if len(found[0]) > 1:
            return ""
        code = ord(found[0])
        if code < 0x80:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    shown = _ESCAPE.sub(replaced, line)
    return shown + _RESET if is_coloured else shown


def _conceals(parameters: str) -> bool:
    """Return whether a colour sequence would hide text."""
    # With colons (38:5:8), a colour is one value, and later values do not belong to it.
    values = [value.lstrip("0") for value in parameters.split(";")]
    position = 0
    while position < len(values):
        if values[position].split(":")[0] == _CONCEALED:
            return True
        if values[position] in ("38", "48", "58") and position + 1 < len(values):
            position += _COLOUR_PARAMETERS.get(values[position + 1], 0)
        position += 1
    return False


class HarmlessStream:
    """A text stream that makes all text harmless before it writes it to the stream it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def around(cls, stream: TextIO) -> TextIO:
        """Wrap a stream, unless it is wrapped already."""
        return stream if isinstance(stream, cls) else cast(TextIO, cls(stream))

    def write(self, text: str) -> int:
        """Write text, made harmless."""
        self._stream.write(harmless(text))
        return len(text)

    def write_as_it_is(self, text: str) -> None:
        """Write text that is meant to steer the terminal, unchanged."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def steer(stream: TextIO, text: str) -> None:
    """Write text that is meant to steer the terminal; whatever it quotes must be harmless."""
    if isinstance(stream, HarmlessStream):
        stream.write_as_it_is(text)
    else:
        stream.write(text)
