"""Numbers and what they count, in messages."""

from __future__ import annotations

_KIB, _MIB = 2**10, 2**20


def counted(number: int, noun: str) -> str:
    """Say how many: `1 edge`, `2 edges`, `1,000 processes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def mib(nbytes: int) -> str:
    """Give an amount of memory in MiB, or in KiB if that were 0.0 MiB."""
    return f"{nbytes / _MIB:.1f} MiB" if nbytes >= _MIB / 10 else f"{nbytes / _KIB:.1f} KiB"
