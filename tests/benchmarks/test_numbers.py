"""How samples become numbers, and numbers tables."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import payload
from benchmarks.tables import Table, microseconds
from benchmarks.timing import over_rounds, repeat, summarize


def test_summary_of_a_hundred_samples_is_in_microseconds():
    found = summarize([number * 1000 for number in range(100, 0, -1)])

    assert found == {"p50_us": 51.0, "p99_us": 100.0, "min_us": 1.0, "samples": 100}


def test_median_over_rounds_leaves_out_rounds_without_the_number():
    rows = [{"us": 1.0}, {"us": 9.0}, {"other": 5.0}, {"us": 2.0}]

    assert over_rounds(rows, "us") == 2.0
    assert over_rounds(rows, "absent") is None


def test_least_number_of_samples_is_taken_however_long_it_takes():
    assert repeat(lambda: 7, budget_s=0, most=100, least=6) == [7] * 6


def test_number_of_a_message_comes_back_from_its_bytes():
    message = payload.make_source(100)
    payload.stamp(message, 2**40 + 5)

    assert payload.read(message) == 2**40 + 5


def test_message_with_bytes_of_another_one_is_noticed():
    message = payload.make_source(100)
    payload.stamp(message, 6)
    message[-1] = 7

    with pytest.raises(payload.TornError, match="message 6 of 100 bytes ends with 7"):
        payload.read(message)


def test_messages_of_eight_bytes_are_only_their_number():
    message = np.zeros(8, np.uint8)
    payload.stamp(message, 2**63)

    assert payload.read(message) == 2**63


def test_table_is_markdown_with_aligned_columns():
    table = Table(
        "Times", ["", "µs"], [["first", microseconds(1.25)], ["second", "100"]], "A note."
    )

    assert str(table) == (
        "**Times**\n\n"
        "|        |  µs |\n"
        "| ------ | --: |\n"
        "| first  | 1.2 |\n"
        "| second | 100 |\n\n"
        "A note."
    )
