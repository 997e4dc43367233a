from __future__ import annotations

from collections.abc import Callable

import pytest

Refusal = Callable[[str], list[str]]

SOURCE_HINT = "such as camera/image, or dora/timer/millis/100 for a timer"
RANGE = "its period must be between 100 micros (10000 hz) and 1 day (86400 secs)"


@pytest.mark.parametrize("source", ["camera", "camera/", "/image", "a/b/c/d", "a b/c", "3"])
def test_source_that_is_no_node_and_output(refusal: Refusal, source: str) -> None:
    messages = refusal(f"nodes:\n- id: plot\n  path: plot.py\n  inputs:\n    image: {source}\n")

    assert messages == [
        f"5:12: input 'plot/image': expected <node>/<output>, got '{source}'; {SOURCE_HINT}"
    ]


@pytest.mark.parametrize(
    ("timer", "message"),
    [
        ("dora/timer/millis/0", f"timer 'dora/timer/millis/0' is out of range; {RANGE}"),
        ("dora/timer/millis/-5", f"timer 'dora/timer/millis/-5' is out of range; {RANGE}"),
        ("dora/timer/micros/99", f"timer 'dora/timer/micros/99' is out of range; {RANGE}"),
        ("dora/timer/secs/86401", f"timer 'dora/timer/secs/86401' is out of range; {RANGE}"),
        ("dora/timer/hz/0", f"timer 'dora/timer/hz/0' is out of range; {RANGE}"),
        ("dora/timer/hz/10001", f"timer 'dora/timer/hz/10001' is out of range; {RANGE}"),
        (
            "dora/timer/hz/0.000000001",
            f"timer 'dora/timer/hz/0.000000001' is out of range; {RANGE}",
        ),
        (
            "dora/timer/secs/" + "9" * 80,
            f"timer 'dora/timer/secs/{'9' * 80}' is out of range; {RANGE}",
        ),
        (
            "dora/timer/millis/abc",
            "expected a whole number of millis in 'dora/timer/millis/abc', got 'abc'",
        ),
        (
            "dora/timer/secs/inf",
            "expected a whole number of secs in 'dora/timer/secs/inf', got 'inf'",
        ),
        (
            "dora/timer/secs/0.5",
            "expected a whole number of secs in 'dora/timer/secs/0.5', got '0.5'; "
            "take a smaller unit, or hz",
        ),
        ("dora/timer/hz/1e3", "expected a number of hz in 'dora/timer/hz/1e3', got '1e3'"),
        (
            "dora/timer/millis",
            "expected dora/timer/<unit>/<number>, got 'dora/timer/millis'; "
            "such as dora/timer/millis/100",
        ),
        (
            "dora/timer/milis/5",
            "unknown unit 'milis' in 'dora/timer/milis/5'; did you mean 'millis'?",
        ),
        (
            "dora/timer/fortnights/5",
            "unknown unit 'fortnights' in 'dora/timer/fortnights/5'; "
            "use secs, millis, micros, nanos, hz",
        ),
        (
            "timer/millis/100",
            "unknown source 'timer/millis/100'; did you mean 'dora/timer/millis/100'?",
        ),
        (
            "dora/logs/info",
            "'dora/logs/info' is not supported; the only input that begins with 'dora/' is a "
            "timer, such as dora/timer/millis/100",
        ),
    ],
    ids=lambda value: value[:30],
)
def test_timer_that_cannot_tick(refusal: Refusal, timer: str, message: str) -> None:
    messages = refusal(f"nodes:\n- id: plot\n  path: plot.py\n  inputs:\n    tick: {timer}\n")

    assert messages == [f"5:11: input 'plot/tick': {message}"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("queue_size: 0", "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
         "got 0"),
        ("queue_size: -1", "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
         "got -1"),
        ("queue_size: 1.5", "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
         "got float '1.5'"),
        ("queue_size: ten", "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
         "got string 'ten'"),
        ("queue_size: 1000000000", "'queue_size' of input 'b/x': expected a whole number from "
         "1 to 1024, got 1000000000"),
        ("queue_size: 010", "'queue_size' of input 'b/x': expected a whole number from 1 to 1024, "
         "got 010"),
        ("max_held: 65", "'max_held' of input 'b/x': expected a whole number from 1 to 64, got 65"),
        ("slot_bytes: 0", "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, "
         "got '0'"),
        ("slot_bytes: -8", "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, "
         "got '-8'"),
        ("slot_bytes: 2 GiB", "'slot_bytes' of input 'b/x': expected a size from 1 B to 1 GiB, "
         "got '2 GiB'"),
        ("slot_bytes: 5 parsecs", "'slot_bytes' of input 'b/x': unknown unit 'parsecs' in "
         "'5 parsecs'; use B, kB, MB, GB, KiB, MiB, GiB"),
        ("slot_bytes: large", "'slot_bytes' of input 'b/x': expected a size such as 8000000, "
         "8 MB or 8 MiB, got string 'large'"),
        ("slot_bytes: 0.5 B", "'slot_bytes' of input 'b/x': '0.5 B' is not a whole number of "
         "bytes"),
        ("queue_policy: newest", "unknown queue_policy 'newest' of input 'b/x'; "
         "use latest, drop_oldest or block"),
    ],
)  # fmt: skip
def test_queue_option_out_of_its_range(refusal: Refusal, option: str, message: str) -> None:
    key, value = option.split(": ", 1)
    messages = refusal(
        "nodes:\n- {id: a, path: a.py, outputs: [x]}\n- id: b\n  path: b.py\n  inputs:\n"
        f"    x:\n      source: a/x\n      {key}: {value}\n"
    )

    assert messages == [f"8:{9 + len(key)}: {message}"]


def test_latest_with_a_longer_queue_contradicts_itself(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - {id: a, path: a.py, outputs: [x]}
          - {id: b, path: b.py, inputs: {x: {source: a/x, queue_policy: latest, queue_size: 3}}}
        """
    )

    assert messages == [
        "3:85: input 'b/x' has queue_policy 'latest', which keeps one sample, but queue_size 3; "
        "remove 'queue_size', or use drop_oldest"
    ]


def test_timer_takes_no_options_of_a_queue(refusal: Refusal) -> None:
    messages = refusal(
        """\
        nodes:
          - id: b
            path: b.py
            inputs:
              tick: {source: dora/timer/secs/1, queue_policy: block}
        """
    )

    assert messages == [
        "5:41: 'queue_policy' has no meaning for input 'b/tick', which is a timer; remove it"
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            "[a/x]",
            "5:11: 'inputs' of 'b': expected a mapping such as 'image: camera/image', got a list",
        ),
        ("{x: }", "5:14: input 'b/x': expected <node>/<output>, got nothing"),
        ("{x: [a/x]}", "5:15: input 'b/x': expected <node>/<output>, got a list"),
        ("{x: {queue_size: 3}}", "5:15: input 'b/x' has no 'source'; "
         "add 'source: <node>/<output>'"),
        ("{x: {sorce: a/x}}", "5:16: unknown key 'sorce' in input 'b/x'; did you mean 'source'?"),
        ("{a b: a/x}", "5:12: invalid input name 'a b'; "
         "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter or '_'"),
        ("{on: a/x}", "5:12: input name: expected a string, got boolean 'on': quote it (\"on\")"),
        ("{x: a/x, x: a/x}", "5:20: duplicate key 'x' (first at line 5)"),
    ],
)  # fmt: skip
def test_inputs_of_the_wrong_form(refusal: Refusal, inputs: str, message: str) -> None:
    messages = refusal(
        "nodes:\n- {id: a, path: a.py, outputs: [x]}\n- id: b\n  path: b.py\n"
        f"  inputs: {inputs}\n"
    )

    assert messages == [message]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            "[image, bbox, image]",
            "4:26: output 'a/image' is listed twice (first at line 4)",
        ),
        ("image", "4:12: 'outputs' of 'a': expected a list such as '- image', got string 'image'"),
        (
            "{image: raw}",
            "4:12: 'outputs' of 'a': expected a list such as '- image', got a mapping",
        ),
        ("[no]", "4:13: output name: expected a string, got boolean 'no': quote it (\"no\")"),
        ("[{image: raw}]", "4:13: output name: expected a name, got a mapping"),
    ],
)
def test_outputs_of_the_wrong_form(refusal: Refusal, outputs: str, message: str) -> None:
    assert refusal(f"nodes:\n- id: a\n  path: a.py\n  outputs: {outputs}\n") == [message]
