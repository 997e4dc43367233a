"""How samples become numbers, and numbers tables."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import aims, gateway, payload, publish
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


def test_costs_of_gateways_are_put_between_the_marks_of_a_page():
    title = gateway.LOADS[1].title
    numbers = {"crossed_hz": 29.9, "sender_percent": 20.0, "sender_ms": 6.5, "sender_mb": 79.0}
    numbers |= {"receiver_percent": 15.0, "receiver_ms": 5.0, "receiver_mb": 92.0}
    results = {"machine": {"processor": "A", "cores": 2}, "rounds": 3, "load": 1.25}
    page = "before\n<!-- from make bench: gateway -->\nold\n<!-- end -->\nafter\n"

    written = publish.with_gateways(page, [{"load": title, **numbers}], results)

    assert written.startswith("before\n<!-- from make bench: gateway -->\nA, 2 cores, both ends")
    assert written.endswith(" |\n<!-- end -->\nafter\n")
    assert "old" not in written
    (line,) = [line for line in written.splitlines() if line.startswith(f"| {title}")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [title, "29.9", "20.0 %: 6.5 ms each", "15.0 %: 5.0 ms each", "79 MB", "92 MB"]


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


def round_trip(contender: str, p50_us: float) -> dict[str, object]:
    where = {"size": "8 B", "way": "produced", "placement": "two cores"}
    return {"benchmark": "roundtrip", "contender": contender, "p50_us": p50_us, **where}


def test_aims_are_compared_with_medians_of_the_rounds_and_what_is_missing_is_left_out():
    rows = [round_trip("bare semaphores", us) for us in (40.0, 50.0, 90.0)]
    rows += [round_trip("dora_rt", us) for us in (60.0, 61.0, 10.0)]
    rows += [round_trip("iceoryx2", 75.0)]

    table = aims.table(rows)

    what = "round trip of 8 B, asleep, two cores, beside"
    assert table.lines == [
        [f"{what} bare semaphores", "at most 1.25", "1.20", "met"],
        [f"{what} iceoryx2", "at most 0.85", "0.80", "met"],
    ]
    (line, _) = aims.table([*rows, round_trip("bare semaphores", 46.0)]).lines
    assert line[2:] == ["1.25", "met"]
    (line, _) = aims.table([*rows, *[round_trip("bare semaphores", 42.0)] * 2]).lines
    assert line[2:] == ["1.43", "missed"]


def test_rate_is_aimed_at_from_below():
    where = {"benchmark": "throughput", "size": "8 B", "placement": "two cores"}
    rates = {"dora_rt": 190.0, "bare semaphores": 100.0, "iceoryx2": 100.0}
    rows = [{"contender": name, "per_s": rate, **where} for name, rate in rates.items()]

    what = "lossless messages of 8 B a second, beside"
    assert aims.table(rows).lines == [
        [f"{what} bare semaphores", "at least 1", "1.90", "met"],
        [f"{what} iceoryx2", "at least 2", "1.90", "missed"],
    ]
