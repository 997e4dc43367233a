"""The other methods of dora's `Node`: what it is part of, logs, services, and what is refused.

One dataflow does all of it, each test looks at one thing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.dora.recording import notes, start_noting
from tests.harness.finished import Finished
from tests.harness.flow import Flow

YAML = """
    nodes:
      - id: client
        path: client.py
        args: --speed 3
        description: asks
        env: {MODE: fast}
        inputs:
          answer:
            source: server/answer
            queue_size: 2
            input_timeout: 3.0
            queue_policy: backpressure
          tick: dora/timer/hz/10
          second: dora/timer/secs/1
        outputs: [question, other]
      - id: server
        path: server.py
        inputs: {question: client/question}
        outputs: [answer]
"""

CLIENT = """
    import contextlib, enum, io, logging, os
    from datetime import datetime
    import numpy as np
    import pyarrow as pa
    from dora import Node

    logging.getLogger("before").debug("nobody sees this")
    node = Node("another name")
    note("config", node.node_config())
    note("descriptor", node.dataflow_descriptor())
    note("ids", [node.dataflow_id(), node.dataflow_id()])
    note("restarts", [node.is_restart(), node.restart_count()])
    note("timestamp", [node.timestamp().timestamp(), str(node.timestamp().tzinfo)])
    note("told by the environment", "DORA_NODE_CONFIG" in os.environ)

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        node.log("info", "hello", "target", {"a": "b"})
        node.log("bogus", "two\\nlines")
        attempt("log with a dict for the target", lambda: node.log("info", "hello", {"a": "b"}))
        node.log_error("an error")
        node.log_warn("a warning")
        node.log_info("an info")
        node.log_debug("a detail")
        node.log_trace("a trace")
        logging.getLogger("some.module").warning("number %d", 3)
        logging.info("root")
        logging.debug("nobody sees this")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("failed")
        note("request", node.send_service_request("question", pa.array(["why"]), {"mine": 1}))
        replaced = node.send_service_request("question", b"x", {"request_id": "mine"})
    note("replaced", replaced)
    note("log", printed.getvalue().splitlines())
    answers = []
    while len(answers) < 2:
        event = node.next()
        if event["id"] == "answer":
            answers.append([event["value"].to_pylist(), event["metadata"]["request_id"]])
    note("answers", answers)

    class Colour(enum.Enum):
        RED = 1

    def send(data, metadata=None, output="question"):
        return lambda: node.send_output(output, data, metadata)

    attempt("list", send([1, 2]))
    attempt("table", send(pa.table({"a": [1]})))
    attempt("undeclared", send(b"", output="qestion"))
    attempt("undeclared request", lambda: node.send_service_request("qestion", b""))
    attempt("answer to nobody", lambda: node.send_service_response("other", b"", None))
    attempt("bytes in metadata", send(b"", {"a": b"x"}))
    attempt("enum in metadata", send(b"", {"a": Colour.RED}))
    attempt("metadata that are no dict", send(b"", [1]))
    attempt("key that is no string", send(b"", {1: 2}))
    attempt("second node", Node)
    attempt("ros", lambda: node.merge_external_events(None))
    attempt("store", lambda: node.extension_store("n", "k", b""))
    attempt("load", lambda: node.extension_load("n", "k"))
    attempt("drop", lambda: node.extension_drop("n", "k"))
    attempt("drain", lambda: node.drain_dropped_extension_keys("n"))

    node.send_output("question", b"", {
        "last": True, "int": np.int64(3), "float": np.float32(0.5), "bool": np.bool_(True),
        "none": None, "nested": {"a": [1]}, "bools": [True], "mixed": [1, "a"], "big": 2**70,
        "array": np.array([1, 2]), "tuple": (1, 2.5), "time": datetime(2022, 10, 13),
        "aware": node.timestamp(), "open_telemetry_context": "7632e76",
    })
"""

SERVER = """
    import contextlib, io
    from dora import Node

    node = Node()
    for event in node:
        if event["type"] == "INPUT" and not event["metadata"].get("last"):
            node.send_service_response("answer", event["value"], event["metadata"])
        elif event["type"] == "INPUT":
            metadata = event["metadata"]
            note("metadata", metadata)
            note("types", {key: type(value).__name__ for key, value in metadata.items()})
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        node.send_service_response("answer", b"", {})
    note("log", printed.getvalue().splitlines())
"""


@pytest.fixture(scope="module")
def done(shared_flow: Flow) -> Finished:
    return start_noting(shared_flow, YAML, client=CLIENT, server=SERVER)


@pytest.fixture(scope="module")
def client(shared_flow: Flow, done: Finished) -> dict[str, Any]:
    assert done.exit_code == 0, done.out + done.err
    return notes(shared_flow, "client")


@pytest.fixture(scope="module")
def server(shared_flow: Flow, done: Finished) -> dict[str, Any]:
    assert done.exit_code == 0, done.out + done.err
    return notes(shared_flow, "server")


def test_node_knows_its_inputs_and_outputs_as_dora_tells_them(client: dict[str, Any]):
    assert client["config"] == {
        "inputs": {
            "answer": {
                "source": "server/answer",
                "queue_size": 2,
                "input_timeout": 3.0,
                "queue_policy": "backpressure",
            },
            "tick": "dora/timer/millis/100",
            "second": "dora/timer/secs/1",
        },
        "outputs": ["question", "other"],
    }


def test_node_knows_the_whole_dataflow_with_defaults_filled_in(client: dict[str, Any]):
    descriptor = client["descriptor"]

    assert sorted(descriptor) == ["debug", "deploy", "health_check_interval", "nodes"]
    first, second = descriptor["nodes"]
    assert first["env"] == {"MODE": "fast"}
    assert first["description"] == "asks"
    assert first["args"] == ["--speed", "3"]
    assert {**second, "inputs": None} == {
        "id": "server",
        "name": None,
        "description": None,
        "path": "server.py",
        "env": None,
        "outputs": ["answer"],
        "inputs": None,
        "restart_policy": "never",
        "max_restarts": 0,
        "deploy": None,
    }
    assert second["inputs"] == {"question": "client/question"}


def test_dataflow_has_an_id_which_is_a_uuid(client: dict[str, Any]):
    first, second = client["ids"]

    assert first == second
    assert uuid.UUID(first).variant == uuid.RFC_4122


def test_node_knows_that_it_was_not_restarted(client: dict[str, Any]):
    assert client["restarts"] == [False, 0]


def test_timestamp_is_the_time_of_day_in_utc(client: dict[str, Any]):
    moment, zone = client["timestamp"]

    assert zone == "UTC"
    assert abs(datetime.now(timezone.utc).timestamp() - moment) < 60


def test_programs_find_in_the_environment_that_they_are_nodes(client: dict[str, Any]):
    assert client["told by the environment"] is True


def log_lines(script: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in script["log"]]


def test_log_lines_are_objects_with_level_message_target_and_fields(client: dict[str, Any]):
    lines = log_lines(client)

    first = lines[0]
    assert datetime.fromisoformat(first.pop("timestamp")).tzinfo is not None
    assert first == {
        "level": "info",
        "node_id": "client",
        "message": "hello",
        "target": "target",
        "fields": {"a": "b"},
    }
    assert [(line["level"], line["message"]) for line in lines[1:7]] == [
        ("info", "two\nlines"),
        ("error", "an error"),
        ("warn", "a warning"),
        ("info", "an info"),
        ("debug", "a detail"),
        ("trace", "a trace"),
    ]
    assert client["log with a dict for the target"]["raised"][0] == "TypeError"


def test_python_logging_writes_log_lines_from_info_on(done: Finished, client: dict[str, Any]):
    lines = [line for line in log_lines(client) if "file" in line]

    assert [(line["level"], line["target"]) for line in lines[:3]] == [
        ("warn", "some.module"),
        ("info", "root"),
        ("error", "root"),
    ]
    assert lines[0]["message"] == "number 3"
    assert lines[0]["file"].endswith("client.py")
    assert isinstance(lines[0]["line"], int)
    assert lines[2]["message"].startswith("failed\nTraceback")
    assert "nobody sees this" not in done.out


def test_request_gets_an_id_by_which_its_answer_is_known(client: dict[str, Any]):
    first, second = client["request"], client["replaced"]

    assert uuid.UUID(first).version == uuid.UUID(second).version == 7
    assert client["answers"] == [[["why"], first], [[ord("x")], second]]
    warnings = [line["message"] for line in log_lines(client) if line.get("target") == "dora"]
    assert warnings == ["send_service_request: replaces the 'request_id' in the metadata"]


def test_answer_without_a_request_id_is_sent_with_a_warning(server: dict[str, Any]):
    (line,) = log_lines(server)

    assert (line["level"], line["target"]) == ("warn", "dora")
    assert "no 'request_id'" in line["message"]


@pytest.mark.parametrize(
    ("mistake", "kind", "text"),
    [
        ("list", "TypeError", "np.asarray"),
        ("table", "TypeError", "a pyarrow array"),
        ("undeclared", "RuntimeError", "its outputs in the dataflow file: question, other"),
        ("undeclared request", "RuntimeError", "its outputs in the dataflow file"),
        ("answer to nobody", "TypeError", "those that came with the request, a dict, not a None"),
        ("bytes in metadata", "TypeError", "a value of type bytes has no JSON form"),
        ("enum in metadata", "TypeError", "a value of type Colour has no JSON form"),
        ("metadata that are no dict", "TypeError", "must be a dict or None, got a list"),
        ("key that is no string", "TypeError", "keys must be strings"),
        ("second node", "RuntimeError", "is in use in this process already"),
        ("ros", "TypeError", "what Ros2Node.create_subscription returns, not a NoneType"),
        ("store", "NotImplementedError", "extension table"),
        ("load", "NotImplementedError", "extension table"),
        ("drop", "NotImplementedError", "extension table"),
        ("drain", "NotImplementedError", "extension table"),
    ],
)
def test_what_is_not_possible_is_said(client: dict[str, Any], mistake: str, kind: str, text: str):
    raised = client[mistake]

    assert kind in raised["raised"]
    assert "RuntimeError" in raised["raised"], "which dora's programs catch"
    assert text in raised["text"]


def test_metadata_keep_what_dora_turns_into_text_or_refuses(server: dict[str, Any]):
    metadata = server["metadata"]

    assert metadata["int"] == 3
    assert metadata["float"] == 0.5
    assert metadata["bool"] is True
    assert metadata["none"] is None
    assert metadata["nested"] == {"a": [1]}
    assert metadata["bools"] == [True]
    assert metadata["mixed"] == [1, "a"]
    assert metadata["big"] == 2**70
    assert metadata["array"] == [1, 2]
    assert metadata["tuple"] == [1, 2.5]
    assert metadata["open_telemetry_context"] == "7632e76"


def test_times_in_metadata_arrive_as_times_with_a_zone(server: dict[str, Any]):
    types, metadata = server["types"], server["metadata"]

    assert types["time"] == types["aware"] == types["timestamp"] == "datetime"
    assert metadata["time"] == "2022-10-13 00:00:00+00:00"


def test_timestamp_in_metadata_that_are_passed_on_stays_the_first_one(flow: Flow):
    done = start_noting(
        flow,
        """
        nodes:
          - {id: first, path: first.py, outputs: [out]}
          - {id: second, path: second.py, inputs: {out: first/out}, outputs: [kept, popped]}
          - id: third
            path: third.py
            inputs: {kept: second/kept, popped: second/popped}
        """,
        first="""
        from datetime import datetime, timezone
        from dora import Node
        moment = datetime(2022, 10, 13, tzinfo=timezone.utc)
        Node().send_output("out", b"", {"timestamp": moment})
        """,
        second="""
        from dora import Node
        node = Node()
        event = node.next()
        node.send_output("kept", event["value"], event["metadata"])
        event["metadata"].pop("timestamp", None)
        node.send_output("popped", event["value"], event["metadata"])
        """,
        third="""
        from dora import Node
        for event in Node():
            if event["type"] == "INPUT":
                note(event["id"], event["metadata"]["timestamp"].year)
        """,
    )

    assert done.exit_code == 0, done.out
    seen = notes(flow, "third")
    assert seen["kept"] == 2022
    assert seen["popped"] >= 2025


def run_outside(code: str) -> str:
    """Run Python with dora on its path, as nodes have it, and no dataflow."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, dora_rt.compat as c\nsys.path[:0] = c.__path__\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout + done.stderr


@pytest.mark.programs
def test_outside_a_dataflow_the_node_is_a_runtime_error():
    out = run_outside("from dora import Node\ntry: Node()\nexcept RuntimeError as e: print(e)")

    assert out.startswith("Node() works only in a program that dora-launch started")


def test_program_from_elsewhere_is_the_dynamic_node(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {word: viewer/word}, outputs: [count]}
          - {id: viewer, path: dynamic, inputs: {count: source/count}, outputs: [word]}
        """,
    )
    flow.write(
        "source.py",
        """
        import pyarrow as pa
        from dora import Node
        node = Node()
        print("ready")
        while (event := node.next(0.005)) is not None:
            if event["type"] == "INPUT":
                print(event["value"].to_pylist(), flush=True)
                break
            node.send_output("count", pa.array(["counted"]))
        """,
    )
    launcher = flow.start()
    assert launcher.stdout is not None
    while "source | ready" not in (line := launcher.stdout.readline()):
        assert line, "the launcher runs"

    out = run_outside(
        "import pyarrow as pa\n"
        "from dora import Node\n"
        "node = Node('viewer')\n"
        "print(node.next(10)['value'], node.node_config(), node.dataflow_id())\n"
        "node.send_output('word', pa.array(['hello']))"
    )

    rest, _ = launcher.communicate(timeout=30)
    assert "counted" in out
    assert "{'inputs': {'count': 'source/count'}, 'outputs': ['word']}" in out
    assert "source | ['hello']" in rest, out + rest
    assert launcher.returncode == 0


def test_without_pyarrow_the_node_names_the_extra(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: one, path: one.py}
          - {id: two, path: two.py, api: tuples, inputs: {tick: dora/timer/secs/9}}
        """,
    )
    text = "import sys\nsys.modules['pyarrow'] = None\nfrom dora import Node\nnode = Node()\n"
    flow.write("one.py", text)
    flow.write("two.py", text + "print(tuple(node.next())[:2], 'pyarrow.lib' in sys.modules)")

    done = flow.run("--stop-after", "2s")

    assert "pip install 'dora_rt[arrow]'" in done.lines("one")[-1]
    assert done.ending("one") == "failed: exit status 1"
    assert done.lines("two") == ["('tick', b'') False"]


def test_form_of_the_file_says_what_a_node_gets_unless_api_does(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: today, path: node.py, inputs: {t: dora/timer/secs/9}}
          - {id: today-tuples, path: node.py, api: tuples, inputs: {t: dora/timer/secs/9}}
          - {id: of-2022, custom: {source: node.py, inputs: {t: dora/timer/secs/9}}}
          - id: of-2022-events
            custom: {source: node.py, inputs: {t: dora/timer/secs/9}}
            api: events
        """,
    )
    flow.write("node.py", "from dora import Node\nprint(type(Node().next()).__name__)\n")

    done = flow.run()

    assert done.lines("today") == done.lines("of-2022-events") == ["dict"]
    assert done.lines("today-tuples") == done.lines("of-2022") == ["Event"]


def test_api_that_does_not_exist_is_named_with_those_that_do(flow: Flow):
    flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py, api: event}\n")
    flow.write("node.py", "")

    done = flow.run("--check")

    assert done.exit_code == 2
    assert "'api' of node 'node': expected tuples or events, got string 'event'" in done.err


def test_installed_dora_is_found_instead_when_asked_for(flow: Flow):
    flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py}\n")
    folder = flow.folder / "site" / "dora"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    flow.write("node.py", "import dora, os\nprint(dora.__file__, 'DORA_NODE_CONFIG' in os.environ)")
    env = {"PYTHONPATH": str(folder.parent)}

    ours = flow.run(env=env).lines("node")[0]
    theirs = flow.run("--no-dora-compat", env=env).lines("node")[0]

    assert re.search(r"dora_rt/compat/dora/__init__.py True$", ours)
    assert theirs == f"{folder}/__init__.py False"
