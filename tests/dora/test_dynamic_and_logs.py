"""Nodes of dora 1.x that somebody starts by hand, and that read what other nodes log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dora_rt.compat
from dora_rt.runs import Connection, base_folder, find_runs
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

COMPAT = next(iter(dora_rt.compat.__path__))


def test_program_that_was_started_by_hand_is_the_dynamic_node(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/5, go: viewer/go},
             outputs: [number]}
          - {id: viewer, path: dynamic, inputs: {number: source/number}, outputs: [go]}
        """,
    )
    # Ends with its own input, and so does then the dynamic node.
    flow.write(
        "source.py",
        """
        import pyarrow as pa
        from dora import Node
        node = Node()
        for event in node:
            if event["type"] == "INPUT" and event["id"] == "go":
                for number in range(5):
                    node.send_output("number", pa.array([number, 10]))
                break
        """,
    )
    program = flow.write(
        "viewer.py",
        """
        from dora import Node
        node = Node("viewer")
        node.send_output("go", b"")
        for event in node:
            value = event["value"].to_pylist() if event["type"] == "INPUT" else None
            print(event["type"], value)
        print([one["id"] for one in node.dataflow_descriptor()["nodes"]])
        """,
    )
    launcher = flow.start()
    eventually(has_run)

    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": COMPAT},
        capture_output=True,
        text=True,
        timeout=20,
    )
    launcher.communicate(timeout=30)

    assert done.stdout.splitlines() == [
        *(f"INPUT [{number}, 10]" for number in range(5)),
        "INPUT_CLOSED None",
        "STOP None",
        "['source', 'viewer']",
    ], done.stderr
    assert launcher.returncode == 0


def has_run() -> bool:
    base = base_folder(os.environ)
    for run in find_runs(base):
        connection = Connection.open(base, run)
        if connection is not None:
            with connection:
                return True
    return False


def test_logs_and_lines_of_nodes_arrive_as_strings(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: talker, path: talker.py, send_stdout_as: raw, outputs: [raw]}
          - {id: listener, path: listener.py, inputs: {logs: dora/logs/info, raw: talker/raw}}
        """,
    )
    flow.write(
        "talker.py",
        """
        import logging
        from dora import Node
        node = Node()
        print("plain")
        node.log("warn", "hot", target="arm", fields={"celsius": "80"})
        logging.info("bridged")
        """,
    )
    flow.write(
        "listener.py",
        """
        from pathlib import Path
        from dora import Node
        heard = {"logs": [], "raw": []}
        for event in Node():
            if event["type"] == "INPUT":
                assert str(event["value"].type) == "string" and len(event["value"]) == 1
                heard[event["id"]].append(event["value"][0].as_py())
        import json
        Path("heard").write_text(json.dumps(heard))
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    heard = json.loads(Path(flow.folder / "heard").read_text())
    records = [json.loads(text) for text in heard["logs"]]
    assert [(one["level"], one["message"]) for one in records] == [
        ("WARN", "hot"),
        ("INFO", "bridged"),
    ]
    assert (records[0]["target"], records[0]["fields"]) == ("arm", {"celsius": "80"})
    assert heard["raw"][0] == "plain\n"
    assert done.lines("talker")[:2] == ["plain", "WARN  arm: hot (celsius=80)"]
