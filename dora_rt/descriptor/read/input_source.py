"""Parse what an input reads from: `node/output`, `dora/timer/...` or `dora/logs/...`."""

from __future__ import annotations

import re
from fractions import Fraction

from dora_rt.descriptor.tree.identifiers import is_name
from dora_rt.descriptor.tree.model import LogSource, OutputSource, TimerSource
from dora_rt.descriptor.tree.problems import MalformedError, did_you_mean, quote
from dora_rt.log_record import LogLevel

MIN_PERIOD_NS = 100_000
MAX_PERIOD_NS = 24 * 3600 * 1_000_000_000

_UNITS_NS = {"secs": 1_000_000_000, "millis": 1_000_000, "micros": 1_000, "nanos": 1}
_UNITS = (*_UNITS_NS, "hz")
_WHOLE = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# Nothing in range has more digits, and int() of thousands of them is an error of its own.
_MAX_DIGITS = 32


def parse_source(text: str) -> TimerSource | LogSource | OutputSource:
    """Parse an input's source.

    Raises:
        MalformedError: if the text is none, or something that dora_rt does not offer.
    """
    parts = text.split("/")
    if parts[0] == "dora":
        return _parse_virtual(text, parts[1:])
    if len(parts) < 2 or not all(is_name(part) for part in parts):
        raise MalformedError(
            f"expected <node>/<output>, got {quote(text)}",
            "such as camera/image, or dora/timer/millis/100 for a timer",
        )
    if len(parts) == 2:
        return OutputSource(node=parts[0], output=parts[1])
    # Or an output with a slash in its name: that needs the node, which is not known here.
    return OutputSource(node=parts[0], operator=parts[1], output="/".join(parts[2:]))


def _parse_virtual(text: str, parts: list[str]) -> TimerSource | LogSource:
    if parts and parts[0] == "logs":
        return _parse_logs(text, parts[1:])
    if not parts or parts[0] != "timer":
        raise MalformedError(
            f"there is no {quote(text)}",
            "what begins with 'dora/' is a timer, such as dora/timer/millis/100, or dora/logs",
        )
    if len(parts) != 3:
        raise MalformedError(
            f"expected dora/timer/<unit>/<number>, got {quote(text)}",
            "such as dora/timer/millis/100",
        )
    return TimerSource(_parse_period_ns(text, unit=parts[1], number=parts[2]))


def _parse_logs(text: str, parts: list[str]) -> LogSource:
    if len(parts) > 2 or not all(is_name(part) for part in parts):
        raise MalformedError(
            f"expected dora/logs/<level>/<node>, got {quote(text)}",
            "dora/logs and dora/logs/<level> are possible as well",
        )
    try:
        level = LogLevel(parts[0]) if parts else LogLevel.STDOUT
    except ValueError:
        levels = [level.value for level in LogLevel]
        raise MalformedError(
            f"unknown level {quote(parts[0])} in {quote(text)}",
            did_you_mean(parts[0], levels) or f"use {', '.join(levels)}",
        ) from None
    return LogSource(level, parts[1] if len(parts) > 1 else None)


def _parse_period_ns(text: str, *, unit: str, number: str) -> int:
    if unit not in _UNITS:
        raise MalformedError(
            f"unknown unit {quote(unit)} in {quote(text)}",
            did_you_mean(unit, _UNITS) or f"use {', '.join(_UNITS)}",
        )
    if unit == "hz":
        if not _DECIMAL.fullmatch(number):
            raise MalformedError(f"expected a number of hz in {quote(text)}, got {quote(number)}")
        frequency = Fraction(number) if len(number) <= _MAX_DIGITS else Fraction(0)
        period_ns = round(1_000_000_000 / frequency) if frequency > 0 else 0
    else:
        if not _WHOLE.fullmatch(number):
            raise MalformedError(
                f"expected a whole number of {unit} in {quote(text)}, got {quote(number)}",
                "take a smaller unit, or hz" if _DECIMAL.fullmatch(number) else "",
            )
        period_ns = int(number) * _UNITS_NS[unit] if len(number) <= _MAX_DIGITS else 0
    if not MIN_PERIOD_NS <= period_ns <= MAX_PERIOD_NS:
        raise MalformedError(
            f"timer {quote(text)} is out of range",
            "its period must be between 100 micros (10000 hz) and 1 day (86400 secs)",
        )
    return period_ns
