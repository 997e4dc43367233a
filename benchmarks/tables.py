"""Tables that read well in a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head and lines of cells; `note` says what a reader must know."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        """Give it in Markdown, with its columns aligned."""
        rows = [list(self.head), *(list(line) for line in self.lines)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.head))]
        ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        text = [f"**{self.title}**", ""] if self.title else []
        for row in (rows[0], ruler, *rows[1:]):
            first, *others = row
            cells = [first.ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            text.append(f"| {' | '.join(cells)} |")
        return "\n".join([*text, *(["", self.note] if self.note else [])])


def microseconds(value: float | None) -> str:
    """Write microseconds with three digits that mean something."""
    if value is None:
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def quantity(value: float | None) -> str:
    """Write a number of things with three digits that mean something."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
