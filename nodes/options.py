"""Options of a node that the command line or the environment can set."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

_FLAG_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def add_option(
    parser: argparse.ArgumentParser,
    environ: Mapping[str, str],
    flag: str,
    parse: Callable[[str], Value],
    default: Value | None,
    text: str,
) -> None:
    """Add `--some-flag`, which the variable SOME_FLAG sets where the command line does not.

    A wrong value of either ends the program with a message that names where it stands.
    """
    variable = _variable(flag)
    shown = "" if default is None else f", default {default}"
    default_value = default
    if found := environ.get(variable, "").strip():
        try:
            default_value = parse(found)
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"environment variable {variable}={found}: {error}")
    parser.add_argument(
        flag,
        type=parse,
        default=default_value,
        metavar=variable.rpartition("_")[2],
        help=f"{text} [env {variable}{shown}]".replace("%", "%%"),
    )


def add_switch(
    parser: argparse.ArgumentParser, environ: Mapping[str, str], flag: str, text: str
) -> None:
    """Add `--flag`, off unless it is given or the variable FLAG says 1, true or yes."""
    variable = _variable(flag)
    found = environ.get(variable, "").strip().lower()
    if found and found not in _FLAG_WORDS:
        parser.error(f"environment variable {variable}={found}: expected true or false")
    parser.add_argument(
        flag,
        action=argparse.BooleanOptionalAction,
        default=_FLAG_WORDS.get(found, False),
        help=f"{text} [env {variable}]",
    )


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser for numbers from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser for one of a few words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise argparse.ArgumentTypeError(f"'{text}' is not one of {', '.join(words)}")
        return text.lower()

    return parse


def _variable(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").upper()
