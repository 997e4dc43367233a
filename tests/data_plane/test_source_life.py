"""The life of a far node in front of the metadata of its samples."""

from __future__ import annotations

import pytest

from dora_rt.transport.values.source_life import split_life, with_life


@pytest.mark.parametrize("sent", [b"", b'{"a":1}', b'{"dora_rt.life":"1.2"}', b'{"a":{"b":[]}}'])
def test_life_is_taken_off_again(sent: bytes) -> None:
    life, rest = split_life(with_life(sent, 0xABC, 3))

    assert life == b"abc.3"
    assert rest == sent


def test_metadata_with_nothing_in_them_are_none_behind_a_life() -> None:
    assert split_life(with_life(b"{}", 1, 0)) == (b"1.0", b"")


@pytest.mark.parametrize("garbage", [b"[1]", b"x", b"\xff{", b"null"])
def test_what_is_no_dict_does_not_cross(garbage: bytes) -> None:
    assert split_life(with_life(garbage, 1, 0)) == (b"1.0", b"")


@pytest.mark.parametrize("sent", [b"", b"{}", b'{"a":1}', b'{"dora_rt.life":7}'])
def test_metadata_without_a_life_stay_as_they_are(sent: bytes) -> None:
    assert split_life(sent) == (b"", sent)
