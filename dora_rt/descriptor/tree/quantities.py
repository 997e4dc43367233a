"""Parse whole numbers, sizes in bytes, and times."""

from __future__ import annotations

import re
from fractions import Fraction

from dora_rt.descriptor.tree.document import Kind, YamlScalar, YamlValue, describe
from dora_rt.descriptor.tree.problems import MalformedError, quote

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
_FACTORS |= {"k": 1024, "m": 1024**2, "g": 1024**3}  # dora's
# Not 010, which is eight in YAML 1.1 and ten in YAML 1.2; not more digits than any limit has.
_INTEGER = re.compile(r"-?(0|[1-9][0-9_]{0,18})")
_SIZE = re.compile(r"(-?[0-9]{1,19}(?:\.[0-9]{1,9})?) *([A-Za-z]*)")
_DURATION = re.compile(r"(-?(?:[0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})) *([A-Za-z]*)")
_PER_SECOND = {"ms": 1000.0, "s": 1.0, "m": 1 / 60, "h": 1 / 3600}


def parse_integer(value: YamlValue, least: int, greatest: int) -> int:
    """Return a whole number within limits.

    Raises:
        MalformedError: if the value is something else.
    """
    got = describe(value)
    if isinstance(value, YamlScalar) and (value.kind is Kind.INTEGER or value.is_expanded):
        got = value.text or got
        number = int(got.replace("_", "")) if _INTEGER.fullmatch(got) else least - 1
        if least <= number <= greatest:
            return number
    raise MalformedError(f"expected a whole number from {least} to {greatest}, got {got}")


def parse_boolean(value: YamlValue) -> bool:
    """Return what `true` or `false` stands for.

    Raises:
        MalformedError: if the value is something else.
    """
    text = value.text.lower() if isinstance(value, YamlScalar) else ""
    if text not in ("true", "false"):
        raise MalformedError(f"expected true or false, got {describe(value)}")
    return text == "true"


def parse_nbytes(value: YamlValue, least: int, greatest: int) -> int:
    """Return the size in bytes that `8000000`, `8 MB` or `8 MiB` stands for, if within limits.

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
    if not least <= nbytes <= greatest:
        limits = f"from {_show_nbytes(least)} to {_show_nbytes(greatest)}"
        raise MalformedError(f"expected a size {limits}, got {quote(match.string)}")
    return int(nbytes)


def parse_duration_s(value: YamlValue, least_s: float, greatest_s: float) -> float:
    """Return the seconds that `2`, `0.5`, `500ms`, `2s`, `1m` or `1h` stands for, if within limits.

    Raises:
        MalformedError: if the value is not a time, or out of range.
    """
    match = _DURATION.fullmatch(value.text) if isinstance(value, YamlScalar) else None
    if isinstance(value, YamlScalar) and value.kind is Kind.INTEGER:
        # Not 010 and not 1:30, which YAML 1.1 takes for other numbers than it shows.
        match = match if _INTEGER.fullmatch(value.text) else None
    if match is None:
        raise MalformedError(f"expected a time such as 2, 0.5, 500ms or 1m, got {describe(value)}")
    number, unit = match.groups()
    per_second = _PER_SECOND.get(unit or "s")
    if per_second is None:
        raise MalformedError(
            f"unknown unit {quote(unit)} in {quote(match.string)}", f"use {', '.join(_PER_SECOND)}"
        )
    duration_s = float(number) / per_second
    if not least_s <= duration_s <= greatest_s:
        limits = f"from {_show_duration(least_s)} to {_show_duration(greatest_s)}"
        raise MalformedError(f"expected a time {limits}, got {quote(match.string)}")
    return duration_s


def _show_nbytes(nbytes: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if nbytes >= _UNITS[unit]:
            return f"{nbytes // _UNITS[unit]} {unit}"
    return f"{nbytes} B"


def _show_duration(duration_s: float) -> str:
    for unit in ("h", "m", "s"):
        if duration_s * _PER_SECOND[unit] >= 1:
            return f"{round(duration_s * _PER_SECOND[unit])} {unit}"
    return f"{round(duration_s * 1000)} ms" if duration_s else "0 s"
