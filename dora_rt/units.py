"""Options read from the command line, and numbers shown to people.

Memory and bandwidth are shown in binary units everywhere (1 MiB is 1024 KiB), as `df -h`, `docker
run --shm-size` and `mount -o size=` count.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LONGEST_S = 100 * 365 * 24 * 3600.0
_PART_OF_A_TIME = r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*"
_LAST_PORT = 65535
_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def read_duration_s(text: str) -> float:
    """Return the seconds of a time such as `1h30m`; for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: the text is no time, or not above 0, or above 100 years.
    """
    parts = re.findall(_PART_OF_A_TIME, text)
    is_time = re.fullmatch(rf"(?:{_PART_OF_A_TIME})+", text.strip()) is not None
    is_complete = len(parts) == 1 or all(unit for _, unit in parts)
    if is_time and is_complete and all(unit in _UNITS_S for _, unit in parts):
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
        if seconds > _LONGEST_S:
            raise argparse.ArgumentTypeError(
                f"{text!r} is longer than {_LONGEST_S / 3600:.0f}h (100 years)"
            )
        if seconds > 0:
            return seconds
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a time above 0: write 10s, 500ms, 5m or 1h30m"
    )


def read_port(text: str) -> int:
    """Return a port, 0 for any; for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: the text is no port.
    """
    if (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(_LAST_PORT))
        and int(text) <= _LAST_PORT
    ):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {_LAST_PORT}")


def read_path(text: str) -> Path:
    """Parse the path of an option: of `--log-dir=~/logs` no shell expands the home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 edge`, `2 edges`, `1,000 processes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def size(nbytes: float | None) -> str:
    """Return an amount of memory: `900.0 KiB`; `-` if it is unknown."""
    if nbytes is None:
        return "-"
    for unit, factor in _SIZES:
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes:.0f} B"


def lost_count(count: int | None, *, crosses: bool) -> str:
    """Return samples lost between machines: `-` on one machine, `?` if the other has not told."""
    if not crosses:
        return "-"
    return "?" if count is None else str(count)


def bandwidth(bytes_per_s: float | None) -> str:
    """Return bytes a second: `26.4 MiB/s`; `-` if they are unknown."""
    return "-" if bytes_per_s is None else f"{size(bytes_per_s)}/s"


def rate(hz: float | None) -> str:
    """Return a frequency in Hz, without the unit; `-` if it is unknown."""
    return "-" if hz is None else f"{hz:.1f}"


def latency(duration_ns: float | None) -> str:
    """Return a short time with two or three digits: `164 us`, `3.4 ms`, `1.2 s`; `-` for None."""
    if duration_ns is None:
        return "-"
    for unit, unit_ns in (("s", 1e9), ("ms", 1e6)):
        if duration_ns >= unit_ns:
            value = duration_ns / unit_ns
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{duration_ns / 1e3:.0f} us"


def duration(seconds: float) -> str:
    """Return a long time in at most two units: `12.0 s`, `3 min 20 s`, `2 d 5 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clock_offset(offset_ns: int, error_ns: int | None) -> str:
    """Return by how much another clock is ahead, and how exactly: `+73 h 5 min 12 ms, ±0.4 ms`."""
    sign = "-" if offset_ns < 0 else "+"
    seconds, rest_ns = divmod(abs(offset_ns), 1_000_000_000)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    large = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    parts = [f"{number} {unit}" for number, unit in large if number]
    milliseconds = rest_ns / 1e6
    parts.append(f"{milliseconds:.0f} ms" if parts else f"{milliseconds:.3g} ms")
    error = "" if error_ns is None else f", ±{error_ns / 1e6:.2g} ms"
    return f"{sign}{' '.join(parts)}{error}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]) -> str:
    """Return rows in columns; the columns in `numbers` are aligned to the right."""
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def read_assignment(text: str) -> str:
    """Return `NAME=VALUE` as it is, for an option.

    Raises:
        ArgumentTypeError: it is of another form.
    """
    name, equals, _ = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no argument of a file: write NAME=VALUE")
    return text
