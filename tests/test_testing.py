"""The node for tests refuses what the real one refuses."""

from __future__ import annotations

import numpy as np
import pytest

from dora_rt.errors import UnknownOutputError, UnsupportedValueError
from dora_rt.testing import FakeNode


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        ("text", None),
        ([1, 2], None),
        (np.array(["a"]), None),
        (b"", {1: 2}),
        (b"", {"a": object()}),
    ],
    ids=["text", "list", "strings", "metadata key", "metadata value"],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is_sent(data: object, metadata: dict | None):
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match=r"^output 'image': "):
        node.send_output("image", data, metadata)

    assert node.sent == []


def test_times_that_are_none_are_refused():
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match="captured_ns"):
        node.send_output("image", b"", captured_ns=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        node.send_output("image", b"", timeout=-1)


def test_loan_that_cannot_be_sent_is_refused_before_its_block_begins():
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match="cannot be loaned"), node.loan("image", 3, "O"):
        raise AssertionError("the block does not run")
    with pytest.raises(ValueError, match="not possible"), node.loan("image", (-1, 3)):
        raise AssertionError("the block does not run")


def test_outputs_are_checked_when_the_test_names_them():
    node = FakeNode(output_ids=("image",))
    node.send_output("image", b"x")

    with pytest.raises(UnknownOutputError, match="its outputs: image"):
        node.send_output("imgae", b"x")

    assert [sent.output_id for sent in node.sent] == ["image"]
