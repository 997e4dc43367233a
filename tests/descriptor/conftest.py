"""Show a dataflow to the descriptor, and look at what its author gets to read."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from dora_rt.descriptor import DescriptorProblems, parse_descriptor
from dora_rt.descriptor.model import Descriptor

FILE = "flow.yml"


@pytest.fixture
def parse() -> Callable[[str], Descriptor]:
    return lambda text: parse_descriptor(dedent(text), FILE)


@pytest.fixture
def refusal() -> Callable[[str], list[str]]:
    """Give the lines of the message with which a text is refused, without the file's name."""

    def lines(text: str) -> list[str]:
        with pytest.raises(DescriptorProblems) as caught:
            parse_descriptor(dedent(text), FILE)
        return [line.removeprefix(f"{FILE}:") for line in str(caught.value).splitlines()]

    return lines
