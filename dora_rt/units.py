"""Quantities as text: read from the command line, and shown to people."""

from __future__ import annotations

import argparse
import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LONGEST_S = 100 * 365 * 24 * 3600.0
_PART_OF_A_TIME = r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*"
_LAST_PORT = 65535
_KIB, _MIB = 2**10, 2**20


def duration_s(text: str) -> float:
    """Give a time above 0, and of 100 years at most, in seconds, as `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
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


def web_port(text: str) -> int:
    """Give a port, 0 for any, as `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(_LAST_PORT))
        and int(text) <= _LAST_PORT
    ):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {_LAST_PORT}")


def counted(number: int, noun: str) -> str:
    """Say how many: `1 edge`, `2 edges`, `1,000 processes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def mib(nbytes: int) -> str:
    """Give an amount of memory in MiB, or in KiB if that were 0.0 MiB."""
    return f"{nbytes / _MIB:.1f} MiB" if nbytes >= _MIB / 10 else f"{nbytes / _KIB:.1f} KiB"
