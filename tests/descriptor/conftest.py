"""Show a dataflow to the descriptor, and look at what its author gets to read."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from dora_rt.descriptor import parse_descriptor
from dora_rt.descriptor.tree.model import Descriptor
from tests.descriptor.bad_inputs import FILE, refusal_lines


@pytest.fixture
def parse() -> Callable[[str], Descriptor]:
    return lambda text: parse_descriptor(dedent(text), FILE)


@pytest.fixture
def refusal() -> Callable[[str], list[str]]:
    return refusal_lines
