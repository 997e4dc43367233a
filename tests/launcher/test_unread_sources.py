"""A flow of which only sources without readers are left ends, and no other does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dora_rt.launcher.summary import render
from tests.launcher.bed import CHAIN, Bed, FakeRequester, ask, attach, endings, interrupt, vanish
from tests.launcher.machine import CRASH, JOB, Program

PAIR = """
    nodes:
      - {id: source, path: a, outputs: [out]}
      - {id: sink, path: b, inputs: {in: source/out}}
"""
DIES = Program(ends_s=1.0, status=1)
WAY_OUT = "`without_readers: go_on` at source lets it go on"


def with_keys(text: str, node: str, keys: str) -> str:
    return text.replace(f"id: {node},", f"id: {node}, {keys},")


def test_source_whose_only_reader_has_failed_ends_the_flow_after_a_grace():
    bed = Bed(PAIR, {"sink": DIES})

    outcome = bed.run()

    assert bed.when("sink ends 1") == [1.0]
    assert bed.when("the stop begins") == [4.0]
    assert endings(outcome.report) == {"source": "stopped", "sink": "failed: exit status 1"}
    why = "no node reads source any more, since sink has ended"
    assert bed.console.notices == [f"{why}: the dataflow ends ({WAY_OUT})"]
    assert outcome.report.notes == (f"the dataflow was ended: {why} ({WAY_OUT})",)
    assert outcome.report.notes[0] in render(outcome.report)


def test_reader_that_has_finished_ends_the_flow_as_well_and_nothing_has_failed():
    bed = Bed(PAIR, {"sink": JOB})

    outcome = bed.run()

    assert bed.when("the stop begins") == [4.0]
    assert not outcome.report.failures


def test_source_that_ends_by_itself_meanwhile_is_not_stopped():
    bed = Bed(PAIR, {"sink": JOB, "source": Program(ends_s=3.9)})

    outcome = bed.run()

    assert bed.when("the stop begins") == []
    assert endings(outcome.report) == {"source": "finished", "sink": "finished"}
    assert outcome.report.notes == ()


def test_failure_in_the_middle_takes_what_is_behind_it_along_and_then_the_flow_ends():
    bed = Bed(CHAIN, {"filter": DIES})

    outcome = bed.run()

    assert bed.when("sink ends 0") == [1.01]
    assert bed.when("the stop begins") == [4.01]
    assert "no node reads source any more, since filter has ended" in bed.console.notices[0]
    assert [one.name for one in outcome.report.failures] == ["filter"]


@pytest.mark.parametrize(
    "text",
    [
        with_keys(PAIR, "source", "without_readers: go_on"),
        # Somebody may come at any time.
        PAIR + "      - {id: visitor, path: dynamic, inputs: {in: source/out}}\n",
        # It may do something by itself: its outputs are read by no node of the file.
        PAIR + "      - {id: motor, path: c, outputs: [state]}\n",
        PAIR + "      - {id: program, path: c}\n",
        # It has inputs, and may move a robot by them.
        PAIR + "      - {id: other, path: c, outputs: [out]}\n"
        "      - {id: motor, path: d, inputs: {in: other/out}}\n",
        # One of its readers is left.
        PAIR + "      - {id: motor, path: d, inputs: {in: source/out}}\n",
        # What it prints is read, by way of the relay.
        PAIR + "      - {id: logger, path: d, inputs: {in: dora/logs/info/source}}\n",
        # A circle has no source.
        """
        nodes:
          - {id: source, path: a, inputs: {back: filter/out}, outputs: [out]}
          - {id: filter, path: b, inputs: {in: source/out}, outputs: [out]}
          - {id: sink, path: c, inputs: {in: source/out}}
        """,
        # It reads itself, so it is not only a source.
        with_keys(PAIR, "source", "inputs: {own: source/out}"),
    ],
    ids=[
        *("key", "dynamic", "unread-from-the-start", "plain", "other-flow", "other-reader"),
        *("logs", "circle", "own-input"),
    ],
)
def test_flow_goes_on_while_anything_else_may_want_it(text: str):
    bed = Bed(text, {"sink": JOB}).at(60, interrupt)

    outcome = bed.run()

    assert bed.when("the stop begins") == [60.0]
    assert outcome.report.notes == ()


def test_source_that_beats_by_a_timer_is_a_source():
    text = with_keys(PAIR, "source", "inputs: {tick: dora/timer/hz/10}")
    bed = Bed(text, {"sink": JOB})

    bed.run()

    assert bed.when("the stop begins") == [4.0]


def test_reader_that_is_started_again_is_waited_for():
    text = with_keys(PAIR, "sink", "restart: on-failure, max_restarts: 2, restart_delay: 20")
    bed = Bed(text, {"sink": [DIES, CRASH, CRASH]})

    bed.run()

    last = bed.when("sink ends 1")[-1]
    assert last > 50
    assert bed.when("the stop begins") == [round(last + 3, 3)]


def test_reader_that_was_stopped_by_hand_may_be_started_again():
    bed = Bed(PAIR).at(1, ask, "stop", "sink").at(60, ask, "restart", "sink").at(70, interrupt)

    bed.run()

    assert bed.when("the stop begins") == [70.0]
    assert len(bed.when("start sink")) == 2


def test_failed_reader_that_is_restarted_by_hand_in_time_keeps_the_flow():
    bed = Bed(PAIR, {"sink": [DIES, Program()]}).at(3, ask, "restart", "sink").at(60, interrupt)

    bed.run()

    assert bed.when("the stop begins") == [60.0]


def test_flow_goes_on_while_somebody_looks_at_it_from_outside():
    bed = Bed(PAIR, {"sink": JOB}, watched_until_s=42.2)

    bed.run()

    assert bed.when("the stop begins") == [42.5], "looked at twice a second"


def test_dynamic_source_is_never_ended_for_want_of_readers():
    text = PAIR.replace("{id: source, path: a", "{id: source, path: dynamic") + (
        "      - {id: other, path: c, outputs: [out]}\n"
    )
    requester = FakeRequester(77)
    bed = Bed(text, {"sink": JOB, "other": Program(ends_s=9.0)})
    bed.at(0.5, attach, requester, "source").at(30, vanish, requester)

    bed.run()

    assert bed.when("the stop begins") == [9.0], "with the last node that the launcher started"


def test_two_sources_end_together_once_neither_has_readers():
    text = """
        nodes:
          - {id: left, path: a, outputs: [out]}
          - {id: right, path: a, outputs: [out]}
          - {id: sink, path: b, inputs: {in: left/out}}
          - {id: late, path: b, inputs: {in: right/out}}
    """
    bed = Bed(text, {"sink": DIES, "late": replace(JOB, ends_s=20.0)})

    bed.run()

    assert bed.when("the stop begins") == [23.0]
    assert (
        "no node reads left and right any more, since sink and late have ended: the dataflow ends "
        "(`without_readers: go_on` at left lets it go on)"
    ) in bed.console.notices


def test_line_reader_that_is_gone_keeps_nothing_alive():
    text = """
        nodes:
          - {id: source, path: a, outputs: [out, lines], send_stdout_as: lines}
          - {id: sink, path: b, inputs: {in: source/out, lines: source/lines}}
    """
    bed = Bed(text, {"sink": JOB})

    bed.run()

    assert bed.when("the stop begins") == [4.0]


def test_what_goes_on_after_a_failure_is_told_with_the_way_to_stop_it():
    text = CHAIN + "      - {id: motor, path: d, inputs: {in: source/out}}\n"
    bed = Bed(text, {"filter": DIES}).at(30, interrupt)

    outcome = bed.run()

    way_out = "`on_exit: stop_all` at filter ends the dataflow with it"
    told = f"filter has failed, and source and motor go on; Ctrl-C stops the dataflow, {way_out}"
    assert bed.console.notices[0] == told
    assert outcome.report.notes == (f"source and motor went on when filter had failed; {way_out}",)


def test_failures_of_one_moment_are_told_together():
    text = CHAIN + "      - {id: motor, path: d, outputs: [state]}\n"
    late = replace(DIES, ends_s=1.2, drains_s=None)
    bed = Bed(text, {"filter": DIES, "sink": late}).at(30, interrupt)

    bed.run()

    assert bed.console.notices[0].startswith("filter and sink have failed, and source and motor")


def test_nothing_is_told_where_nothing_goes_on_or_the_flow_is_being_stopped():
    alone = Bed("nodes: [{id: node, path: a, outputs: [out]}]", {"node": DIES})
    stopping = Bed(CHAIN, {"filter": DIES}).at(1.2, interrupt)

    alone.run()
    stopping.run()

    assert alone.console.notices == []
    assert [text for text in stopping.console.notices if "go" in text] == []


def test_relay_that_has_failed_for_good_is_no_node_of_the_user_to_speak_of():
    text = PAIR + "      - {id: logger, path: d, inputs: {in: dora/logs/info/source}}\n"
    bed = Bed(text, {"dora": CRASH}).at(300, interrupt)

    outcome = bed.run()

    assert [one.name for one in outcome.report.failures] == ["dora"]
    assert [text for text in bed.console.notices if "go on" in text] == []


def test_failed_node_that_is_restarted_by_hand_at_once_is_not_told_as_failed():
    text = CHAIN + "      - {id: motor, path: d, inputs: {in: source/out}}\n"
    bed = Bed(text, {"filter": [DIES, Program()]}).at(1.5, ask, "restart", "filter")
    bed.at(30, interrupt)

    bed.run()

    assert [text for text in bed.console.notices if "go on" in text] == []
