"""What a verb of the command `dora-rt` is made of."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that the command can do; its one-line help is in the table of `dora-rt`."""

    description: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


class HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs to the width of the terminal, and leaves lists of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(self._fill_part(part, width, indent) for part in text.split("\n\n"))

    def _fill_part(self, part: str, width: int, indent: str) -> str:
        lines = part.splitlines()
        if any(line.startswith(" ") for line in lines):
            return "\n".join(f"{indent}{_fold(line, width - len(indent))}" for line in lines)
        return textwrap.fill(
            " ".join(lines), width, initial_indent=indent, subsequent_indent=indent
        )


def _fold(example: str, width: int) -> str:
    """Put the remark behind a command below it where both do not fit into a line."""
    found = re.fullmatch(r"( +\S.*?) {2,}(\S.*)", example)
    return example if len(example) <= width or found is None else f"{found[1]}\n      {found[2]}"


def exit_codes_help(meanings: Mapping[int | str, str]) -> str:
    """Return the lines of a help text that say what the exit codes of a command mean."""
    listed = ", ".join(f"{code} {meaning}" for code, meaning in meanings.items())
    return f"exit codes: {listed}"
