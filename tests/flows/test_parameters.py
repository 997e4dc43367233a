"""Parameters of nodes that run: set by hand, kept over a restart, refused."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dora_rt.errors import ParameterRefusedError
from dora_rt.live.run_parameters import RunParameters
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs
from tests.harness.flow import Flow
from tests.harness.verbs import process, statuses, verb
from tests.harness.waiting import eventually

pytestmark = pytest.mark.programs

TUNED = """
nodes:
  - id: tuned
    path: tuned.py
    inputs: {tick: dora/timer/secs/100}
    outputs: [out]
    parameters:
      threshold: {value: 0.4, min: 0, max: 1, help: least confidence}
      classes: [person, dog]
      mode: {value: fast, choices: [fast, exact]}
"""
NOTING = """
from dora_rt import Node
from dora_rt.event import Event

node = Node()

def note(*words):
    with open("notes", "a") as file:
        print(*words, file=file)

note("begin", node.parameters())
while (event := node.next_event()) is not None:
    if not isinstance(event, Event):
        note(event, node.parameter(event.name, "none"))
"""


def notes(flow: Flow) -> list[str]:
    path = flow.folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def note_after(flow: Flow, count: int) -> str:
    eventually(lambda: len(notes(flow)) > count)
    return notes(flow)[count]


def start(flow: Flow, *arguments: str, text: str = TUNED, **programs: str) -> None:
    flow.write("flow.yml", text)
    for name, program in (programs or {"tuned": NOTING}).items():
        flow.write(f"{name}.py", program)
    flow.start(*arguments)
    eventually(lambda: bool(notes(flow)))


def test_node_that_waits_is_told_of_a_new_value_and_has_it_at_once(flow: Flow):
    start(flow)
    assert notes(flow) == ["begin {'threshold': 0.4, 'classes': ['person', 'dog'], 'mode': 'fast'}"]

    first = verb("param", "set", "tuned", "threshold", "1")
    told = note_after(flow, 1)
    second = verb("param", "set", "tuned", "classes", '["cat"]')

    assert (first.exit_code, first.out) == (0, "tuned.threshold = 1.0\n")
    assert told == "ParameterChanged('threshold', 1.0, previous=0.4) 1.0"
    assert second.out == 'tuned.classes = ["cat"]\n'
    assert note_after(flow, 2) == (
        "ParameterChanged('classes', ['cat'], previous=['person', 'dog']) ['cat']"
    )
    assert verb("param", "get", "tuned", "classes").out == '["cat"]\n'
    assert verb("param", "get", "tuned", "mode").out == "fast\n"


def test_value_is_kept_over_a_restart_and_deleting_it_brings_that_of_the_file_back(flow: Flow):
    start(flow, "--set", "tuned.mode=exact")
    verb("param", "set", "tuned", "threshold", "0.7")
    note_after(flow, 1)

    assert verb("restart", "tuned").exit_code == 0
    again = note_after(flow, 2)
    deleted = verb("param", "delete", "tuned", "threshold")

    assert again == "begin {'threshold': 0.7, 'classes': ['person', 'dog'], 'mode': 'exact'}"
    assert deleted.out == "tuned.threshold = 0.4, as in the file\n"
    assert note_after(flow, 3) == "ParameterChanged('threshold', 0.4, previous=0.7) 0.4"


def test_value_that_does_not_fit_is_refused_and_the_node_keeps_what_it_has(flow: Flow):
    start(flow)

    refused = [
        verb("param", *words)
        for words in (
            ("set", "tuned", "threshold", "1.5"),
            ("set", "tuned", "threshold", "high"),
            ("set", "tuned", "mode", "exat"),
            ("set", "tuned", "treshold", "1"),
            ("set", "tune", "threshold", "1"),
            ("delete", "tuned", "nothing"),
            ("get", "tuned", "nothing"),
            ("list", "tune"),
        )
    ]

    assert [one.exit_code for one in refused] == [1] * len(refused)
    ends = (
        "threshold' of node 'tuned': expected a number from 0 to 1, got 1.5",
        """threshold' of node 'tuned': expected a number, got "high\"""",
        'expected one of "fast", "exact", got "exat"; did you mean "exact"?',
        "node 'tuned' has no parameter 'treshold'; did you mean 'threshold'?",
        "there is no node 'tune'; did you mean 'tuned'?",
        "node 'tuned' has no parameter 'nothing'; it has: threshold, classes, mode",
        "has no parameter 'nothing' with a value; it has: threshold, classes, mode",
        "there is no node 'tune'; did you mean 'tuned'?",
    )
    for one, end in zip(refused, ends, strict=True):
        assert one.err.endswith(f"{end}\n"), one.err
    # The next change is the only one that comes.
    verb("param", "set", "tuned", "mode", "exact")
    assert note_after(flow, 1) == "ParameterChanged('mode', 'exact', previous='fast') exact"


def test_value_that_it_has_already_is_no_change(flow: Flow):
    start(flow)

    for value in ("0.4", "0.5"):
        assert verb("param", "set", "tuned", "threshold", value).exit_code == 0

    assert note_after(flow, 1) == "ParameterChanged('threshold', 0.5, previous=0.4) 0.5"


def test_listed_and_saved_parameters_start_the_next_run(flow: Flow):
    start(flow, "--set", "tuned.threshold=0.25")
    saved = flow.folder / "saved.yml"

    listed = verb("param", "list")
    done = verb("param", "save", str(saved))
    verb("stop")
    (flow.folder / "notes").unlink()
    flow.start("--parameters", str(saved), "--set", "tuned.mode=exact")

    assert listed.out.splitlines() == [
        "tuned.threshold  0.25               number, 0..1, least confidence",
        'tuned.classes    ["person", "dog"]  list',
        'tuned.mode       "fast"             "fast" | "exact"',
    ]
    assert done.exit_code == 0
    assert note_after(flow, 0) == (
        "begin {'threshold': 0.25, 'classes': ['person', 'dog'], 'mode': 'exact'}"
    )


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--set=tuned.threshold=2", "--set tuned.threshold=2: parameter 'threshold' of node"),
        ("--set=tuned.tresh=1", "node 'tuned' has no parameter 'tresh'; did you mean 'threshold'?"),
        ("--parameters=values.yml", "values.yml:1:15: parameter 'mode' of node 'tuned': expected"),
        ("--parameters=nowhere.yml", "cannot read nowhere.yml"),
    ],
)
def test_run_does_not_begin_with_values_that_do_not_fit(flow: Flow, argument: str, told: str):
    flow.write("flow.yml", TUNED)
    flow.write("tuned.py", NOTING)
    values = flow.write("values.yml", "tuned: {mode: slow}\n")
    argument = argument.replace("values.yml", str(values))

    done = flow.run(argument)

    assert done.exit_code == 2
    assert told in done.err
    assert notes(flow) == []


def test_node_of_dora_gets_all_values_first_and_then_each_change(flow: Flow):
    text = """
    nodes:
      - {id: tuned, path: tuned.py, inputs: {t: dora/timer/secs/100}, parameters: {x: 1, y: a}}
      - {id: free, path: tuned.py, inputs: {t: dora/timer/secs/100}}
    """
    program = """
    import json
    from dora import Node
    node = Node()
    for event in node:
        if event["type"].startswith("PARAM"):
            with open("notes", "a") as file:
                print(json.dumps(event), file=file)
    """
    start(flow, "--set", "free.z=2.5", text=text, tuned=program)
    eventually(lambda: len(notes(flow)) == 3)

    verb("param", "set", "free", "z", '{"any": ["thing"]}')
    note_after(flow, 3)
    verb("param", "delete", "free", "z")
    note_after(flow, 4)
    verb("param", "set", "tuned", "x", "2")
    note_after(flow, 5)

    update = {"type": "PARAM_UPDATE", "kind": "dora"}
    found = [json.loads(line) for line in notes(flow)]
    assert sorted(found[:3], key=lambda one: one["id"]) == [
        {**update, "id": "x", "value": 1},
        {**update, "id": "y", "value": "a"},
        {**update, "id": "z", "value": 2.5},
    ]
    assert found[3:] == [
        {**update, "id": "z", "value": {"any": ["thing"]}},
        {"type": "PARAM_DELETED", "id": "z", "kind": "dora"},
        {**update, "id": "x", "value": 2},
    ]


def test_operators_get_the_values_of_their_node_and_others_in_the_process_do_not(flow: Flow):
    inputs = "inputs: {t: dora/timer/secs/100}"
    text = f"""
    nodes:
      - id: first
        operators: [{{id: one, python: op.py, {inputs}}}, {{id: two, python: op.py, {inputs}}}]
        parameters: {{x: 1}}
      - {{id: second, operator: {{python: op.py, {inputs}}}, runtime: both, parameters: {{x: 5}}}}
      - {{id: third, operator: {{python: plain.py, {inputs}}}, runtime: both}}
    """
    operator = """
    from dora import DoraStatus
    class Operator:
        def on_event(self, event, send_output):
            if event["type"].startswith("PARAM"):
                with open("notes", "a") as file:
                    print(event["type"], event["id"], event.get("value"), file=file)
            return DoraStatus.CONTINUE
    """
    plain = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            return DoraStatus.CONTINUE
    """
    start(flow, text=text, op=operator, plain=plain)
    eventually(lambda: len(notes(flow)) == 3)
    first = sorted(notes(flow))

    verb("param", "set", "second", "x", "6")
    note_after(flow, 3)
    verb("param", "set", "third", "x", "7")
    verb("param", "set", "first", "x", "8")
    eventually(lambda: len(notes(flow)) == 6)

    assert first == ["PARAM_UPDATE x 1", "PARAM_UPDATE x 1", "PARAM_UPDATE x 5"]
    assert notes(flow)[3:] == ["PARAM_UPDATE x 6", "PARAM_UPDATE x 8", "PARAM_UPDATE x 8"]
    assert process("both")["state"] == "running"


def test_source_that_never_waits_sees_the_new_value(flow: Flow):
    text = "nodes: [{id: tuned, path: tuned.py, outputs: [out], parameters: {n: 1}}]"
    program = """
    from dora_rt import Node
    node, last = Node(), None
    while not node.is_stopped():
        if node.parameter("n") != last:
            last = node.parameter("n")
            with open("notes", "a") as file:
                print(last, file=file)
    """
    start(flow, text=text, tuned=program)

    verb("param", "set", "tuned", "n", "2")

    assert note_after(flow, 1) == "2"


def test_stopped_node_begins_with_the_value_that_was_set_meanwhile(flow: Flow):
    start(flow, text=f"{TUNED}  - {{id: other, path: tuned.py, inputs: {{t: tuned/out}}}}\n")
    eventually(lambda: len(notes(flow)) == 2)
    assert verb("stop", "tuned").exit_code == 0

    verb("param", "set", "tuned", "mode", "exact")
    verb("restart", "tuned")

    assert "'mode': 'exact'" in note_after(flow, 2)


def test_parameter_without_a_value_is_an_error_that_says_what_there_is(flow: Flow):
    flow.write("flow.yml", TUNED)
    flow.write("tuned.py", "from dora_rt import Node\nnode = Node()\nnode.parameter('treshold')")

    done = flow.run()

    assert done.exit_code == 1
    expected = "node 'tuned' has no parameter 'treshold'; its parameters: threshold, classes, mode"
    assert expected in done.out + done.err


def test_values_that_cannot_be_written_are_refused_and_nothing_changes(flow: Flow):
    start(flow)
    (run,) = find_runs(base_folder(os.environ))
    # As with a full disk: what was to be written is not.
    (base_folder(os.environ) / run / "parameters-0.new").mkdir()

    refused = verb("param", "set", "tuned", "threshold", "0.5")
    (base_folder(os.environ) / run / "parameters-0.new").rmdir()
    value = verb("param", "get", "tuned", "threshold").out
    verb("param", "set", "tuned", "threshold", "0.6")

    assert (refused.exit_code, value) == (1, "0.4\n")
    assert "the value cannot be written: Is a directory" in refused.err
    assert note_after(flow, 1) == "ParameterChanged('threshold', 0.6, previous=0.4) 0.6"


def test_node_that_waits_has_a_new_value_within_50_ms(flow: Flow):
    program = """
    import time
    from dora_rt import Node, ParameterChanged
    node = Node()
    with open("notes", "a") as file:
        print("begin", file=file)
    while (event := node.next_event()) is not None:
        if isinstance(event, ParameterChanged):
            with open("notes", "a") as file:
                print(event.value, time.monotonic_ns(), file=file)
    """
    start(flow, text=TUNED.replace("0.4, min: 0, max: 1", "0, min: 0"), tuned=program)
    (run,) = find_runs(base_folder(os.environ))
    connection = Connection.open(base_folder(os.environ), run)
    assert connection is not None

    took_ms = []
    with connection:
        for value in range(1, 42):
            began_ns = time.monotonic_ns()
            connection.ask("set_parameter", node="tuned", name="threshold", value=value)
            number, seen_ns = note_after(flow, value).split()
            assert number == f"{value}"
            took_ms.append((int(seen_ns) - began_ns) / 1e6)

    # Of the quickest half: all that a busy machine adds is no finding.
    assert statistics.median(sorted(took_ms)[:21]) < 50, took_ms


def test_values_that_are_set_together_are_all_set_or_none(flow: Flow):
    start(flow)
    (run,) = find_runs(base_folder(os.environ))
    connection = Connection.open(base_folder(os.environ), run)
    assert connection is not None

    with connection:
        for bad in ({"threshold": 1, "mode": "exat"}, {"threshold": 1, "modes": "exact"}, ["mode"]):
            with pytest.raises(RefusedError):
                connection.ask("set_parameters", node="tuned", values=bad)
        before = verb("param", "get", "tuned", "threshold").out
        good = {"threshold": 1, "mode": "exact", "classes": ["person", "dog"]}
        answer, _ = connection.ask("set_parameters", node="tuned", values=good)

    assert before == "0.4\n"
    assert answer["values"] == {"threshold": 1.0, "mode": "exact", "classes": ["person", "dog"]}
    eventually(lambda: len(notes(flow)) == 3)
    assert set(notes(flow)[1:]) == {
        "ParameterChanged('threshold', 1.0, previous=0.4) 1.0",
        "ParameterChanged('mode', 'exact', previous='fast') exact",
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"a": "x" * 100_000}, "at most 32"),
        (dict.fromkeys("abc", "x" * 30_000), "bytes together"),
        ({"a": "ü" * 16_000}, "bytes together"),
    ],
)
def test_values_that_no_request_can_carry_are_refused_with_the_reason(
    flow: Flow, values: dict[str, Any], reason: str
):
    start(flow, text=TUNED[: TUNED.index("    parameters:")])
    (run,) = find_runs(base_folder(os.environ))
    parameters = RunParameters(base_folder(os.environ), run)

    with pytest.raises(ParameterRefusedError, match=reason):
        parameters.write("tuned", values)
    parameters.write("tuned", {"a": "x" * 30_000})

    assert parameters.read("tuned")[0]["value"] == "x" * 30_000
    parameters.close()


ODD_REQUESTS: list[dict[str, Any]] = [
    {"node": "tuned", "name": "threshold"},
    {"node": None, "name": None, "value": 5},
    {"node": ["tuned"], "name": {}, "value": 5},
    {"node": "tuned", "name": "threshold", "value": {"a": 1}},
    {"node": "tuned", "name": "threshold", "value": 10**400},
    {"node": "tuned", "name": "classes", "value": [[]]},
    {"node": "tuned", "name": "classes", "value": ["x" * 50_000]},
    {"node": "tuned", "name": "mode", "text": 5},
    {"node": "tuned", "name": "mode", "value": "\ud800"},
    {"node": "\ud800", "name": "\ud800", "value": 5},
    {"node": "tuned", "name": "\x1b[31m", "value": 5},
]


def test_odd_requests_are_refused_and_harm_nothing(flow: Flow):
    start(flow)
    (run,) = find_runs(base_folder(os.environ))
    connection = Connection.open(base_folder(os.environ), run)
    assert connection is not None

    with connection:
        for fields in ODD_REQUESTS:
            connection.send("set_parameter", **fields)
            with pytest.raises(RefusedError):
                connection.receive()

    assert verb("param", "get", "tuned", "threshold").out == "0.4\n"
    assert notes(flow)[1:] == []


def test_help_of_each_action_is_there():
    for action in ("list", "get", "set", "delete", "save"):
        done = verb("param", action, "--help")
        assert done.exit_code == 0
        assert f"dora-rt param {action}" in done.out


def test_saving_where_nothing_can_be_written_is_a_usage_error(flow: Flow):
    start(flow)

    done = verb("param", "save", str(Path("/proc/nowhere.yml")))

    assert done.exit_code == 2
    assert "/proc/nowhere.yml" in done.err


def test_dynamic_node_has_the_values_of_the_run_when_it_attaches_and_when_it_comes_back(
    flow: Flow,
):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: tuned, path: dynamic, inputs: {x: keep/x}, parameters: {n: 1}}
          - {id: keep, path: keep.py, inputs: {t: dora/timer/secs/100}, outputs: [x]}
        """,
    )
    flow.write("keep.py", "from dora_rt import Node\nfor event in Node(): pass")
    program = flow.write(
        "tuned.py",
        """
        from dora_rt import Node
        with open("notes", "a") as file, Node("tuned") as node:
            print("begin", node.parameters(), file=file, flush=True)
            print(node.next_event(), file=file, flush=True)
        """,
    )
    flow.start()
    eventually(lambda: [one["state"] for one in statuses()] == ["running"])
    command = [sys.executable, str(program)]

    with subprocess.Popen(command, cwd=flow.folder) as first:
        note_after(flow, 0)
        verb("param", "set", "tuned", "n", "2")
        assert first.wait(30) == 0
    verb("param", "set", "tuned", "n", "3")
    with subprocess.Popen(command, cwd=flow.folder):
        note_after(flow, 2)
        verb("param", "set", "tuned", "n", "4")

    assert notes(flow) == [
        "begin {'n': 1}",
        "ParameterChanged('n', 2, previous=1)",
        "begin {'n': 3}",
        "ParameterChanged('n', 4, previous=3)",
    ]
