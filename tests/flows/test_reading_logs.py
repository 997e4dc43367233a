"""Nodes that read what other nodes print: `dora/logs`, `send_stdout_as` and `send_logs_as`."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from dora_rt.log_record import LogLevel, LogRecord, level_of, parse_record, readable, to_log_message
from dora_rt.runs import RUN_PATTERN
from tests.harness.finished import Finished
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

# Prints text and records of a log, as `node.log()` does in dora.
TALKER = """
    import json
    from dora_rt import Node
    node = Node()
    print("a line")
    print(json.dumps({"level": "debug", "message": "fine", "node_id": "talker"}))
    print(json.dumps({"level": "warn", "message": "hot", "target": "arm", "fields": {"c": "80"},
                      "timestamp": "2026-01-02T03:04:05.678Z"}))
    raise SystemExit("too hot")
"""

# Writes what comes, and the end, to a file of its own name.
LISTENER = """
    from dora_rt import Node
    node = Node()
    with open(f"heard.{node.id()}", "w", buffering=1) as heard:
        for event in node:
            heard.write(f"{event.id} {event.value.decode().strip()}\\n")
        heard.write("the end\\n")
"""

TICKER = """
    from dora_rt import Node
    for count, event in enumerate(Node()):
        print("tick", count, flush=True)
"""


def heard(flow: Flow, node: str, input_id: str = "") -> list[str]:
    """Give what a listener has received, of one input."""
    path = flow.folder / f"heard.{node}"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(f"{input_id} ") for line in lines if line.startswith(input_id)]


def messages(flow: Flow, node: str, input_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in heard(flow, node, input_id)]


@pytest.fixture(scope="module")
def told(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Flow, Finished]:
    """Give a flow in which everything there is was read once, and how it ended."""
    flow = Flow(tmp_path_factory.mktemp("told"))
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: talker, path: talker.py, send_stdout_as: raw, send_logs_as: records,
             min_log_level: info, outputs: [raw]}
          - {id: plain, path: plain.py}
          - id: listener
            path: listener.py
            inputs: {all: dora/logs, loud: dora/logs/warn, of: dora/logs/stdout/plain,
                     raw: talker/raw, records: talker/records}
          - {id: second, path: listener.py, inputs: {all: dora/logs}}
        """,
    )
    flow.write("talker.py", TALKER)
    flow.write("plain.py", "print('hello')\n")
    flow.write("listener.py", LISTENER)
    return flow, flow.run()


Told = tuple[Flow, Finished]


def test_flow_with_readers_of_logs_ends_by_itself(told: Told):
    flow, done = told

    assert done.exit_code == 1, "because of the talker"
    assert heard(flow, "listener")[-1] == heard(flow, "second")[-1] == "the end"
    assert done.ending("dora") == "finished"


def test_lines_of_a_node_are_an_output_of_it_whatever_they_are(told: Told):
    raw = heard(told[0], "listener", "raw")

    assert (raw[0], raw[-1]) == ("a line", "too hot")
    assert [json.loads(line)["message"] for line in raw[1:-1]] == ["fine", "hot"]


def test_records_have_the_keys_and_the_levels_of_dora(told: Told):
    (hot,) = messages(told[0], "listener", "records")

    assert list(hot) == [
        *("build_id", "dataflow_id", "node_id", "daemon_id", "level", "target", "module_path"),
        *("file", "line", "message", "timestamp", "fields"),
    ]
    assert (hot["level"], hot["message"], hot["node_id"]) == ("WARN", "hot", "talker")
    assert (hot["target"], hot["fields"]) == ("arm", {"c": "80"})
    assert hot["timestamp"] == "2026-01-02T03:04:05.678Z"
    assert re.fullmatch(RUN_PATTERN, hot["dataflow_id"])


def test_logs_of_all_are_as_loud_as_the_reader_and_the_node_want(told: Told):
    flow, _ = told

    def told_of(node: str, input_id: str) -> set[tuple[str, str]]:
        found = messages(flow, node, input_id)
        return {(message["node_id"], message["message"]) for message in found}

    assert told_of("second", "all") == {("talker", "hot"), ("plain", "hello")}
    assert told_of("listener", "loud") == {("talker", "hot")}
    assert told_of("listener", "of") == {("plain", "hello")}


def test_quiet_lines_are_neither_shown_nor_kept_but_explain_a_failure(told: Told):
    _, done = told

    assert done.lines("talker") == ["WARN  arm: hot (c=80)"]
    assert "  DEBUG fine\n" in done.out, "the last lines of a node that failed are all there"
    assert "  too hot\n" in done.out


def test_log_files_are_as_large_and_as_many_as_the_node_says(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: few, path: talk.py, max_log_size: 2kB, max_rotated_files: 1}
          - {id: many, path: talk.py}
        """,
    )
    flow.write("talk.py", "for number in range(500): print('line', number)\n")

    done = flow.run("--log-dir", str(flow.folder / "logs"))

    assert done.exit_code == 0
    sizes = {path.name: path.stat().st_size for path in (flow.folder / "logs").iterdir()}
    assert sizes.keys() == {"few.log", "few.log.1", "many.log"}
    assert max(sizes["few.log"], sizes["few.log.1"]) <= 2000 < sizes["many.log"]
    assert "line 499" in (flow.folder / "logs" / "few.log").read_text()


def test_node_does_not_go_on_for_the_logs_of_others(flow: Flow):
    # The worker has a source that ends; the clock has none and goes on, though it reads logs.
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: worker, path: listener.py, inputs: {in: source/out, logs: dora/logs}}
          - {id: clock, path: listener.py, inputs: {tick: dora/timer/millis/20, logs: dora/logs}}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write("listener.py", LISTENER)
    launcher = flow.start()

    eventually(lambda: "the end" in heard(flow, "worker"))
    ticks = len(heard(flow, "clock", "tick"))
    eventually(lambda: len(heard(flow, "clock", "tick")) > ticks + 3)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)

    assert launcher.returncode == 130


def test_what_nodes_say_while_they_are_stopped_is_read_as_well(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: ticker, path: ticker.py, inputs: {tick: dora/timer/millis/5}}
          - {id: listener, path: listener.py, inputs: {all: dora/logs}}
        """,
    )
    flow.write("ticker.py", TICKER + "    print('goodbye')\n")
    flow.write("listener.py", LISTENER)

    done = flow.run("--stop-after", "200ms")

    assert done.exit_code == 0
    lines = heard(flow, "listener")
    assert "goodbye" in lines[-2] and lines[-1] == "the end"


def test_flood_of_lines_holds_up_nobody_and_is_counted(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: flood, path: flood.py}
          - {id: listener, path: listener.py, inputs: {all: {source: dora/logs, queue_size: 5}}}
        """,
    )
    flow.write("flood.py", "for number in range(30_000): print(number)\n")
    flow.write("listener.py", LISTENER)

    done = flow.run()

    assert (done.exit_code, done.ending("flood")) == (0, "finished")
    edge = done.edge("dora/logs", "listener/all")
    assert edge.sent == edge.delivered + edge.dropped
    told = [re.match(r"left out ([\d,]+) lines? of ", line) for line in done.lines("dora")]
    left_out = sum(int(match[1].replace(",", "")) for match in told if match is not None)
    assert None not in told
    assert edge.sent + left_out == 30_000


def test_operator_reads_logs_and_has_an_output_of_its_lines(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: talker, path: talker.py}
          - id: alarm
            operator:
              python: alarm.py
              inputs: {loud: dora/logs/warn/talker}
              send_stdout_as: said
              outputs: [alarm]
          - {id: listener, path: listener.py, inputs: {said: alarm/said, alarm: alarm/alarm}}
        """,
    )
    flow.write("talker.py", TALKER.replace('raise SystemExit("too hot")', ""))
    flow.write(
        "alarm.py",
        """
        import json
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                print("alarm!", json.loads(dora_input["data"])["message"])
                send_output("alarm", b"1")
                return DoraStatus.CONTINUE
        """,
    )
    flow.write("listener.py", LISTENER)

    assert flow.run().exit_code == 0

    assert sorted(heard(flow, "listener")) == ["alarm 1", "said alarm! hot", "the end"]


def test_relay_that_is_killed_comes_back(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: ticker, path: ticker.py, inputs: {tick: dora/timer/millis/5}}
          - {id: listener, path: listener.py, inputs: {all: dora/logs}}
        """,
    )
    flow.write("ticker.py", TICKER)
    flow.write("listener.py", LISTENER)
    launcher = flow.start()
    eventually(lambda: len(heard(flow, "listener")) > 3)

    kill_relay_of(launcher.pid)

    before = len(heard(flow, "listener"))
    eventually(lambda: len(heard(flow, "listener")) > before + 3)
    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=30)
    assert "node dora failed: SIGKILL (Killed); restart 1" in out
    assert heard(flow, "listener")[-1] == "the end"


def kill_relay_of(launcher: int) -> None:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
        if b"dora_rt.node.log_relay" in command and parent == launcher:
            os.kill(int(path.name), signal.SIGKILL)
            return
    raise AssertionError("there is a relay")


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("plain", LogLevel.STDOUT),
        ("{not json", LogLevel.STDOUT),
        ("[1]", LogLevel.STDOUT),
        ('{"level": "loud", "message": "x"}', LogLevel.STDOUT),
        ('{"level": "info"}', LogLevel.STDOUT),
        ('{"level": 3, "message": "x"}', LogLevel.STDOUT),
        ('{"level": "WARNING", "message": "x"}', LogLevel.WARN),
        ('{"level": "error", "message": "x"}', LogLevel.ERROR),
        ("{" * 100_000, LogLevel.STDOUT),
    ],
)
def test_only_records_have_a_level(line: str, level: LogLevel):
    assert level_of(line) is level


def test_levels_pass_what_is_as_loud_and_stdout_passes_all():
    assert LogLevel.STDOUT.passes(LogLevel.STDOUT)
    assert LogLevel.TRACE.passes(LogLevel.STDOUT)
    assert not LogLevel.STDOUT.passes(LogLevel.TRACE)
    assert LogLevel.INFO.passes(LogLevel.INFO)
    assert not LogLevel.DEBUG.passes(LogLevel.INFO)
    assert LogLevel.ERROR.passes(LogLevel.WARN)


def test_message_of_several_lines_is_shown_as_several_lines():
    assert readable('{"level": "warn", "message": "a\\nb", "fields": {"c": 1}}') == [
        "WARN  a",
        "b (c=1)",
    ]
    assert readable("{}") == ["{}"]


def test_parts_of_a_record_of_a_wrong_type_are_left_out():
    line = '{"level": "info", "message": "x", "target": 3, "fields": [], "timestamp": {}}'

    assert parse_record(line) == LogRecord(LogLevel.INFO, "x")
    assert readable(line) == ["INFO  x"]
    message = json.loads(to_log_message(line, node="a", run="r"))
    assert (message["target"], message["fields"]) == (None, None)
    assert message["timestamp"].endswith("Z")
