"""The KeyboardInterrupt traceback of a stopped Python node: in its log file only."""

from __future__ import annotations

_HEAD = "Traceback (most recent call last):"
_NAME = "KeyboardInterrupt"
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_LONGEST = 1000  # lines


class InterruptionFilter:
    """Lines of a program in, lines to show out; the traceback of a KeyboardInterrupt is not.

    Of a chain of exceptions the last counts: it is the one that ended the program.
    """

    def __init__(self) -> None:
        self._held: list[str] = []
        self._last: str | None = None
        """The exception of the traceback that is held, once it is complete."""

    def feed(self, lines: list[str]) -> list[str]:
        """Return the lines to show by now: a traceback that has begun is held until it is over."""
        shown: list[str] = []
        for line in lines:
            if self._held and not self._belongs(line):
                shown += self.end()
            if self._held or line == _HEAD:
                self._held.append(line)
            else:
                shown.append(line)
        return shown

    def end(self) -> list[str]:
        """Return the held lines, which must be shown now that nothing will follow."""
        held, self._held = self._held, []
        last, self._last = self._last, None
        return [] if last == _NAME else held

    def _belongs(self, line: str) -> bool:
        if len(self._held) >= _LONGEST:
            return False
        if self._last is None:
            if line and not line.startswith(" "):
                self._last = line.split(":")[0]
            return True
        if line in _LINKS:
            return True
        if line == _HEAD and self._held[-2] in _LINKS:
            self._last = None
            return True
        return not line
