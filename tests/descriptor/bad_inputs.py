"""Helpers for the tests of bad inputs: numbered cases, and what a refused text's author reads."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from dora_rt.descriptor import DescriptorProblems, Host, parse_descriptor

FILE = "flow.yml"


def numbered(item: int, *cases: tuple[Any, ...]) -> list[Any]:
    """Give the cases of one bad input, each with the item's number and its own first value."""
    return [pytest.param(*case, id=f"{item} {str(case[0]).strip()[:40]}") for case in cases]


def refusal_lines(text: str, host: Host | None = None) -> list[str]:
    """Give the lines of the message with which a text is refused, without the file's name."""
    with pytest.raises(DescriptorProblems) as caught:
        parse_descriptor(dedent(text), FILE, host)
    return [line.removeprefix(f"{FILE}:") for line in str(caught.value).splitlines()]
