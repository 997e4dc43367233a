"""What a verb of the command `dora-rt` is made of."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_HELP_COLUMNS = 98


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that the command can do; its one-line help is in the table of `dora-rt`."""

    description: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


def exit_codes_help(meanings: Mapping[int | str, str]) -> str:
    """Return the lines of a help text that say what the exit codes of a command mean."""
    listed = ", ".join(f"{code} {meaning}" for code, meaning in meanings.items())
    return textwrap.fill(f"exit codes: {listed}", _HELP_COLUMNS)
