"""The screen of `dora-rt top`, `hz` and `bw`: tables that fit, scroll and sort, and its keys."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dora_rt.terminal import harmless, steer
from dora_rt.units import table

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _RED, _FAINT, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_FEWEST_ROWS = 3
_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "k": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "j": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    " ": "page down",
    "\x1b[H": "home",
    "g": "home",
    "\x1b[F": "end",
    "G": "end",
    "\t": "next",
    "s": "sort",
    "q": "quit",
    "Q": "quit",
    "\x03": "quit",
    "\x04": "quit",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under titles.

    Attributes:
        name: what the rows are: `nodes`.
        titles, rows, numbers: as `units.table` takes them.
        spare: the columns to leave out in a narrow terminal, the first one first.
        orders: by what the rows can be sorted: a number for each row, the largest first.
        alarms: the rows to show in red.
    """

    name: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int]
    spare: Sequence[int] = ()
    orders: Mapping[str, Sequence[float]] = field(default_factory=dict)
    alarms: frozenset[int] = frozenset()

    def as_text(self) -> str:
        """Return all of it, as wide as it is."""
        return table(self.titles, self.rows, numbers=self.numbers)


@dataclass(slots=True)
class View:
    """What the user has chosen to see: which table the keys are for, and its place and order."""

    focus: int = 0
    first: dict[str, int] = field(default_factory=dict)
    order: dict[str, str] = field(default_factory=dict)
    page_rows: int = 1

    def press(self, key: str, tables: Sequence[Table]) -> None:
        """Do what a key says; `draw` limits the place to what there is."""
        if not tables:
            return
        focused = tables[self.focus % len(tables)]
        first = self.first.get(focused.name, 0)
        step = {
            "up": -1,
            "down": 1,
            "page up": -self.page_rows,
            "page down": self.page_rows,
            "home": -len(focused.rows),
            "end": len(focused.rows),
        }.get(key, 0)
        self.first[focused.name] = max(0, first + step)
        if key == "next":
            self.focus = (self.focus + 1) % len(tables)
        elif key == "sort":
            orders = ["", *focused.orders]
            now = orders.index(self.order.get(focused.name, ""))
            self.order[focused.name] = orders[(now + 1) % len(orders)]


def draw(
    title: str, tables: Sequence[Table], view: View, columns: int, rows: int, *, has_colours: bool
) -> list[str]:
    """Return at most `rows` lines of at most `columns` characters, escape sequences not counted."""
    shares = _share([len(one.rows) for one in tables], rows - 2 - 2 * len(tables) + 1)
    paint = _Paint(has_colours)
    lines = [paint(title[:columns], _BOLD)]
    places, left_out = [], []
    for number, (one, share) in enumerate(zip(tables, shares, strict=True)):
        most = max(0, len(one.rows) - share)
        first = view.first[one.name] = min(view.first.get(one.name, 0), most)
        is_focused = number == view.focus % len(tables)
        if is_focused:
            view.page_rows = max(1, share)
        order = _order(one, view.order.get(one.name, ""))
        fitted, missing = _fit(one, columns)
        left_out += missing
        head, *body = [harmless(line, has_colours=False) for line in fitted]
        if number:
            lines.append("")
        lines.append(paint(head, _FAINT))
        lines += [
            paint(body[index], _RED if index in one.alarms else "")
            for index in order[first : first + share]
        ]
        if share < len(one.rows):
            mark = "*" if is_focused and len(tables) > 1 else ""
            places.append(f"{mark}{one.name} {first + 1}-{first + share}/{len(one.rows)}")
    lines = lines[: rows - 1]
    lines.append(paint(_footer(tables, view, places, left_out)[:columns], _FAINT))
    return lines


class Screen:
    """The whole terminal, given back at the end with what it showed before; and its keys."""

    def __init__(self) -> None:
        self.view = View()
        self._tables: Sequence[Table] = ()
        self._title = ""
        self._has_colours = not os.environ.get("NO_COLOR")

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Screen]:
        """Take the terminal for the block. Keys come one by one if the input is a terminal."""
        before = None
        if sys.stdin is not None and sys.stdin.isatty():
            before = termios.tcgetattr(sys.stdin)
        try:
            if before is not None:
                tty.setcbreak(sys.stdin)
            steer(sys.stdout, _ENTER)
            yield cls()
        finally:
            if before is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            steer(sys.stdout, _LEAVE)
            sys.stdout.flush()

    def show(self, title: str, tables: Sequence[Table]) -> None:
        """Show new numbers."""
        self._title, self._tables = title, tables
        self._draw()

    def wait(self, seconds: float) -> bool:
        """Wait, and do what keys say meanwhile; return whether one said to quit."""
        deadline = time.monotonic() + seconds
        if sys.stdin is None or not sys.stdin.isatty():
            time.sleep(seconds)
            return False
        descriptor = sys.stdin.fileno()
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left)[0]:
                return False
            typed = os.read(descriptor, 64)
            if not typed:
                return True  # the terminal has gone
            for key in read_keys(typed.decode(errors="replace")):
                if key == "quit":
                    return True
                self.view.press(key, self._tables)
            self._draw()
        return False

    def _draw(self) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = draw(
            self._title, self._tables, self.view, columns, rows, has_colours=self._has_colours
        )
        # No line end after the last row: it would scroll the first one away.
        steer(sys.stdout, _HOME + f"{_CLEAR_LINE}\n".join(lines) + _CLEAR_LINE + _CLEAR_BELOW)
        sys.stdout.flush()


def read_keys(typed: str) -> Iterator[str]:
    """Yield the meaning of each key that was typed and has one."""
    while typed:
        known = next((code for code in _KEYS if typed.startswith(code)), None)
        if known is not None:
            yield _KEYS[known]
        typed = typed[len(known or typed[0]) :]


class _Paint:
    def __init__(self, has_colours: bool) -> None:
        self._has_colours = has_colours

    def __call__(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if colour and self._has_colours else text


def _share(wanted: Sequence[int], rows: int) -> list[int]:
    """Give each table its rows, or an equal share of what the smaller ones leave."""
    shares = [0] * len(wanted)
    left = max(rows, _FEWEST_ROWS * len(wanted))
    for rank, index in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[index] = min(wanted[index], left // (len(wanted) - rank))
        left -= shares[index]
    return shares


def _order(one: Table, order: str) -> list[int]:
    rows = list(range(len(one.rows)))
    numbers = one.orders.get(order)
    return rows if numbers is None else sorted(rows, key=lambda row: -numbers[row])


def _fit(one: Table, columns: int) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and the titles of the columns for which there was no room."""
    kept = list(range(len(one.titles)))
    left_out: list[str] = []
    for column in (*one.spare, None):
        titles = [one.titles[index] for index in kept]
        rows = [[row[index] for index in kept] for row in one.rows]
        numbers = [place for place, index in enumerate(kept) if index in one.numbers]
        excess = max(map(len, table(titles, rows, numbers=numbers).split("\n"))) - columns
        if excess <= 0 or column is None:
            break
        kept.remove(column)
        left_out.append(one.titles[column])
    width = max(map(len, (titles[0], *(row[0] for row in rows))))
    if excess > 0 and width - excess >= 8:
        rows = [[_cut(row[0], width - excess), *row[1:]] for row in rows]
    lines = table(titles, rows, numbers=numbers).split("\n")
    return [line[:columns] for line in lines], left_out


def _cut(text: str, width: int) -> str:
    # Of `a/image -> b/image` both ends tell more than the middle.
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _footer(
    tables: Sequence[Table], view: View, places: Sequence[str], left_out: Sequence[str]
) -> str:
    parts = ["q quit"]
    if tables:
        focused = tables[view.focus % len(tables)]
        if focused.orders:
            order = view.order.get(focused.name, "")
            parts.append(f"s sort: {order}" if order else "s sort")
    if places:
        parts += ["Tab", "up/down"] if len(tables) > 1 else ["up/down"]
        parts += places
    if left_out:
        parts.append(f"hidden: {', '.join(dict.fromkeys(left_out))}")
    return "  ".join(parts)
