"""Parse whole numbers and sizes in bytes."""

from __future__ import annotations

import re
from fractions import Fraction

from dora_rt.descriptor.document import Kind, YamlScalar, YamlValue, describe
from dora_rt.descriptor.problems import MalformedError, quote

MAX_SLOT_NBYTES = 1024**3

_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_FACTORS = {unit.lower(): factor for unit, factor in _UNITS.items()}
# Not 010, which is eight in YAML 1.1 and ten in YAML 1.2; not more digits than any limit has.
_INTEGER = re.compile(r"-?(0|[1-9][0-9_]{0,18})")
_SIZE = re.compile(r"(-?[0-9]{1,19}(?:\.[0-9]{1,9})?) *([A-Za-z]*)")


def parse_integer(value: YamlValue, least: int, greatest: int) -> int:
    """Give a whole number within limits.

    Raises:
        MalformedError: if the value is something else.
    """
    got = describe(value)
    if isinstance(value, YamlScalar) and value.kind is Kind.INTEGER:
        got = value.text
        number = int(got.replace("_", "")) if _INTEGER.fullmatch(got) else least - 1
        if least <= number <= greatest:
            return number
    raise MalformedError(f"expected a whole number from {least} to {greatest}, got {got}")


def parse_nbytes(value: YamlValue) -> int:
    """Give the size in bytes that `8000000`, `8 MB` or `8 MiB` stands for.

    Raises:
        MalformedError: if the value is not a size, or out of range.
    """
    match = _SIZE.fullmatch(value.text) if isinstance(value, YamlScalar) else None
    if isinstance(value, YamlScalar) and value.kind is Kind.INTEGER:
        is_decimal = _INTEGER.fullmatch(value.text) is not None
        match = _SIZE.fullmatch(value.text.replace("_", "")) if is_decimal else None
    if match is None:
        raise MalformedError(
            f"expected a size such as 8000000, 8 MB or 8 MiB, got {describe(value)}"
        )
    number, unit = match.groups()
    factor = _FACTORS.get(unit.lower() or "b")
    if factor is None:
        raise MalformedError(
            f"unknown unit {quote(unit)} in {quote(match.string)}", f"use {', '.join(_UNITS)}"
        )
    nbytes = Fraction(number) * factor
    if nbytes.denominator != 1:
        raise MalformedError(f"{quote(match.string)} is not a whole number of bytes")
    if not 1 <= nbytes <= MAX_SLOT_NBYTES:
        raise MalformedError(f"expected a size from 1 B to 1 GiB, got {quote(match.string)}")
    return int(nbytes)
