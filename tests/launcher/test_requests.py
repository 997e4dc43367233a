"""One connection to the socket of a run, over a real socket."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from dora_rt.launcher.requests import Requester


@pytest.fixture
def ends() -> Iterator[tuple[Requester, socket.socket, list[dict[str, Any]]]]:
    """Give the launcher's end of a connection, the program's, and the requests that arrived."""
    ours, theirs = socket.socketpair()
    heard: list[dict[str, Any]] = []
    with selectors.DefaultSelector() as selector, theirs:
        requester = Requester(ours, selector)
        requester.serve({"note": lambda _, told: heard.append(told)})
        yield requester, theirs, heard
        requester.close()


Ends = tuple[Requester, socket.socket, list[dict[str, Any]]]


def line(**fields: object) -> bytes:
    return json.dumps({"request": "note", **fields}).encode() + b"\n"


def test_what_a_program_sent_before_its_end_is_taken_at_once(ends: Ends) -> None:
    requester, theirs, heard = ends
    theirs.sendall(line(number=1) + line(number=2, padding="x" * 50_000))
    theirs.close()

    requester.read_rest()

    assert [told["number"] for told in heard] == [1, 2]
    assert requester.is_gone


def test_reading_the_rest_waits_for_nothing(ends: Ends) -> None:
    requester, theirs, heard = ends
    theirs.sendall(line(number=1))

    requester.read_rest()

    assert [told["number"] for told in heard] == [1]
    assert not requester.is_gone


def test_line_that_is_too_long_ends_a_connection_unless_it_may_be(ends: Ends) -> None:
    requester, theirs, heard = ends
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    requester.longest_nbytes = 1 << 20
    theirs.sendall(line(number=1, padding="x" * 100_000))

    requester.read_rest()
    requester.longest_nbytes = 1000
    theirs.sendall(b"x" * 2000)
    requester.read_rest()

    assert [told["number"] for told in heard] == [1]
    assert requester.is_gone
