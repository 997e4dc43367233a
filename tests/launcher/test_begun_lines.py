"""A line that a node has begun is shown while it stands, and again as it changes."""

from __future__ import annotations

import pytest

from dora_rt.launcher.processes.line_splitter import LineSplitter
from tests.launcher.bed import Bed, alone, interrupt
from tests.launcher.machine import Program


def printed(*prints: tuple[float, bytes], ends_s: float = 20.0, **keys: object) -> list[str]:
    """Give what is shown of a node that prints this; a line that has only begun ends with ..."""
    text = alone(without_readers="go_on", **keys)
    bed = Bed(text, {"node": Program(ends_s=ends_s, prints=prints)})
    bed.run()
    return bed.output.printed.get("node", [])


def test_line_that_stands_for_a_second_is_shown_and_again_when_it_is_complete():
    assert printed((1, b"Loading model... "), (4, b"done\n")) == [
        "Loading model... ...",
        "Loading model... done",
    ]


def test_line_that_is_complete_in_time_is_shown_once():
    assert printed((1, b"Loading model... "), (1.9, b"done\n")) == ["Loading model... done"]


def test_prompt_that_nobody_answers_is_shown_once_and_not_again_at_the_end():
    assert printed((1, b"Your name? ")) == ["Your name? ..."]


def test_progress_bar_is_shown_once_a_second_with_its_last_state():
    steps = tuple((1 + n / 10, f"\r{n:2}%".encode()) for n in range(45))

    assert printed(*steps, (5.45, b"\n")) == ["10%...", "20%...", "30%...", "40%...", "44%"]


def test_bar_that_stands_still_is_not_repeated():
    assert printed((1, b"\r10%"), (8, b"\r20%"), (15, b"\r30%\n")) == ["10%...", "20%...", "30%"]


def test_bar_that_ends_its_states_with_a_return_is_seen_too():
    assert printed((1, b"10%\r"), (3, b"20%\r"), (6, b"\n")) == ["10%...", "20%..."]


def test_many_lines_that_come_in_pieces_are_not_shown_in_pieces():
    pieces = tuple((1 + n / 4, b"rest\nbegin ") for n in range(20))

    shown = printed(*pieces, (6.1, b"end\n"))

    assert [line for line in shown if line.endswith("...")] == []


def test_blanks_are_no_line():
    assert printed((1, b"   "), (5, b"\r")) == ["   "], "at the end"


def test_node_with_the_terminal_shows_its_prompt_at_once():
    text = alone(stdin="terminal")
    bed = Bed(text, {"node": Program(prints=((1, b"> "),))})
    seen: list[list[str]] = []
    bed.at(1.2, lambda bed: seen.append(list(bed.output.printed.get("node", []))))
    bed.at(2, interrupt)

    bed.run()

    assert seen == [["> ..."]]


@pytest.mark.parametrize(
    ("received", "begun"),
    [
        (b"a\nb", "b"),
        (b"a\n", ""),
        (b"\r 10%\r 20%", " 20%"),
        (b" 10%\r", " 10%"),
        ("grün"[:3].encode()[:-1], "gr"),
        (b"x" * 20_000, "x" * 16_384),
    ],
    ids=["part", "nothing", "bar", "return", "half a letter", "long"],
)
def test_begun_line_is_what_a_terminal_would_show(received: bytes, begun: str):
    splitter = LineSplitter()

    list(splitter.feed(received))

    assert splitter.begun == begun
