"""A line that a node has begun and not ended: a prompt, `Loading ...`, a progress bar."""

from __future__ import annotations

_FIRST_NS = 1_000_000_000  # most lines are complete by then
_PROMPT_NS = 100_000_000
_AGAIN_NS = 1_000_000_000


class BegunLine:
    """When to show the line that one process has begun: once it stands, and as it changes."""

    def __init__(self, *, is_prompt: bool = False) -> None:
        """Begin; `is_prompt`: somebody at the terminal waits for it."""
        self.shown = ""
        """The state of this line that `take` returned last."""
        self.due_ns: int | None = None
        self._first_ns = _PROMPT_NS if is_prompt else _FIRST_NS
        self._shown_ns = 0
        self._text = ""

    def end(self) -> None:
        """Note that the line is complete; the next one begins anew."""
        self.shown = ""
        self.due_ns = None

    def note(self, text: str, now_ns: int) -> None:
        """Note how the line looks now."""
        self._text = text
        if not text.strip() or text == self.shown:
            self.due_ns = None
        elif self.due_ns is None:
            first_ns = now_ns if self.shown else now_ns + self._first_ns
            self.due_ns = max(first_ns, self._shown_ns + _AGAIN_NS if self.shown else 0)

    def take(self, now_ns: int) -> str | None:
        """Return what is to be shown now; None: nothing."""
        if self.due_ns is None or now_ns < self.due_ns:
            return None
        self.due_ns = None
        self._shown_ns = now_ns
        self.shown = self._text
        return self.shown
