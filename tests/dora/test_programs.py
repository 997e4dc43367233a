"""dora's modules for programs beside a dataflow: builder, test node, running, and type checking."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest
import yaml

import dora_rt.compat
from dora_rt.compat import dora
from dora_rt.compat.dora.builder import DataflowBuilder, Operator
from dora_rt.compat.dora.testing import MockNode
from dora_rt.errors import LaunchError
from tests.harness.flow import Flow


def test_builder_writes_a_file_that_can_be_launched(flow: Flow):
    with DataflowBuilder("example") as dataflow:
        sender = dataflow.add_node("sender", description="sends").path("sender.py")
        sender.args("--fast").env({"MODE": "x"})
        value = sender.add_output("value")
        receiver = dataflow.add_node("receiver").path("receiver.py")
        receiver.add_input("value", value, queue_size=3, queue_policy="backpressure")
        receiver.add_input("tick", "dora/timer/secs/9")
        dataflow.to_yaml(str(flow.folder / "flow.yml"))
    flow.write(
        "sender.py",
        "import os, sys\nfrom dora import Node\n"
        "Node().send_output('value', f\"{os.environ['MODE']}{sys.argv[1]}\".encode())\n",
    )
    flow.write(
        "receiver.py",
        "from dora import Node\n"
        "for event in Node():\n"
        "    if event['id'] == 'value' and event['type'] == 'INPUT':\n"
        "        print(bytes(event['value'].to_pylist()))\n",
    )

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("receiver") == ["b'x--fast'"]


def test_builder_gives_the_text_with_all_that_was_set():
    dataflow = DataflowBuilder()
    node = dataflow.add_node("node").build("make").git("url", branch="main", rev=None)
    node.add_operator(Operator("op", name="first", python="op.py", send_stdout_as="out"))
    node.add_output("out")
    node.add_output("out")
    node.add_input("a", "other/b").add_input("c", "other/d", queue_size=1)

    text = dataflow.to_yaml()

    assert text is not None
    assert yaml.safe_load(text) == {
        "nodes": [
            {
                "id": "node",
                "build": "make",
                "git": "url",
                "branch": "main",
                "outputs": ["out"],
                "inputs": {"a": "other/b", "c": {"source": "other/d", "queue_size": 1}},
                "operators": [
                    {"id": "op", "name": "first", "python": "op.py", "send_stdout_as": "out"}
                ],
            }
        ]
    }


@pytest.mark.parametrize("wrong", [{"queue_policy": "newest"}, {"queue_size": 0}])
def test_builder_refuses_queues_that_dora_does_not_have(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="queue"):
        DataflowBuilder().add_node("node").add_input("a", "b/c", **wrong)  # type: ignore[arg-type]


def test_mock_node_gives_its_inputs_and_then_the_stop_and_keeps_the_outputs():
    node = MockNode([("image", pa.array([1])), ("image", pa.array([2]))], {"width": 3})
    seen = []

    for event in node:
        seen.append((event["type"], event["id"], event.get("metadata")))
        if event["type"] == "INPUT":
            event["metadata"]["mine"] = True
            node.send_output("twice", event["value"], event["metadata"])

    assert seen == [
        ("INPUT", "image", {"width": 3, "mine": True}),
        ("INPUT", "image", {"width": 3, "mine": True}),
        ("STOP", "ALL_INPUTS_CLOSED", None),
    ]
    assert [array.to_pylist() for array in node.outputs["twice"]] == [[1], [2]]
    assert node.next(timeout=1) is None


def test_mock_node_takes_whole_events_and_can_be_polled():
    node = MockNode(
        [{"type": "INPUT_CLOSED", "id": "a"}, {"type": "STOP", "id": "MANUAL"}, ("b", 1)]
    )

    assert not node.is_empty()
    assert node.try_recv() == {"type": "INPUT_CLOSED", "id": "a"}
    assert asyncio.run(node.recv_async(timeout=1)) == {"type": "STOP", "id": "MANUAL"}
    assert [event["id"] for event in node.drain()] == ["b"]
    assert node.is_empty()
    assert node.try_recv() is None


def test_mock_node_answers_requests_before_the_stop():
    node = MockNode([("tick", None)], service_responses={"question": [pa.array(["why not"])]})
    node.next()

    request_id = node.send_service_request("question", pa.array(["why"]), {"a": 1})
    node.send_service_request("question", pa.array(["again"]))

    answer = node.next()
    assert answer is not None
    assert answer["value"].to_pylist() == ["why not"]
    assert answer["metadata"] == {"request_id": request_id}
    stop = node.next()
    assert stop is not None
    assert stop["type"] == "STOP"
    assert [request["metadata"] for request in node.service_requests] == [{"a": 1}, {}]
    node.send_service_response("out", b"x", {"request_id": "7"})
    assert node.service_responses_sent[0]["request_id"] == "7"


def test_mock_node_tells_what_the_test_prepared_and_keeps_logs():
    node = MockNode(
        [],
        dataflow_descriptor={"nodes": []},
        dataflow_id="id",
        node_config={"inputs": {}},
        is_restart=True,
        restart_count=2,
    )
    node.log("info", "message", "target", {"a": "b"})
    for level in ("error", "warn", "info", "debug", "trace"):
        getattr(node, f"log_{level}")("text")

    assert (node.dataflow_descriptor(), node.dataflow_id()) == ({"nodes": []}, "id")
    assert (node.node_config(), node.is_restart(), node.restart_count()) == (
        {"inputs": {}},
        True,
        2,
    )
    assert node.timestamp().tzinfo is not None
    assert node.logs[0] == {
        "level": "info",
        "message": "message",
        "target": "target",
        "fields": {"a": "b"},
    }
    assert [line["level"] for line in node.logs[1:]] == ["error", "warn", "info", "debug", "trace"]
    with pytest.raises(NotImplementedError):
        node.send_output_raw("out", 3)
    with pytest.raises(NotImplementedError):
        node.merge_external_events(None)


def test_mock_node_has_every_method_of_the_node():
    def methods(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    # Those that only the real one has are seams of dora's daemon.
    extensions = {
        "drain_dropped_extension_keys",
        "extension_drop",
        "extension_load",
        "extension_store",
    }
    assert methods(dora.Node) - methods(MockNode) == extensions


def test_run_runs_a_dataflow_to_its_end_and_raises_when_a_node_fails(flow: Flow):
    path = flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py}\n")
    flow.write("node.py", "from pathlib import Path\nPath('ran').touch()\n")

    dora.run(str(path))

    assert (flow.folder / "ran").exists()
    flow.write("node.py", "raise SystemExit(3)\n")
    with pytest.raises(LaunchError, match="ended with exit code 1"):
        dora.run(path)


def test_run_stops_after_a_time_and_says_that_uv_is_not_used(flow: Flow):
    path = flow.write(
        "flow.yml", "nodes:\n  - {id: node, path: node.py, inputs: {tick: dora/timer/secs/1}}\n"
    )
    flow.write("node.py", "from dora import Node\nlist(Node())\n")

    with pytest.warns(UserWarning, match="uv=True has no effect"):
        dora.run(str(path), uv=True, stop_after=0.2)


def test_build_runs_the_build_commands_of_the_file(flow: Flow):
    path = flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py, build: touch built.txt}\n")
    flow.write("node.py", "")

    dora.build(str(path), coordinator_addr="127.0.0.1", coordinator_port=1, force_local=True)

    assert (flow.folder / "built.txt").exists()
    flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py, build: 'false'}\n")
    with pytest.raises(LaunchError, match="ended with exit code"):
        dora.build(path)


def test_start_runtime_runs_the_operators_of_this_process(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes:\n  - {id: node, operator: {python: op.py, inputs: {tick: dora/timer/secs/9}}}\n",
    )
    flow.write(
        "op.py",
        """
        import sys
        from dora import DoraStatus, start_runtime
        class Operator:
            def on_event(self, dora_event, send_output):
                print(start_runtime.__module__, sys.modules["__main__"].__spec__.name)
                return DoraStatus.STOP
        """,
    )

    done = flow.run()

    assert done.lines("node") == ["dora._run dora_rt.node.runtime"]


CLIENT = """
    import asyncio
    from typing import Any

    import dora
    import pyarrow as pa
    from dora import DoraStatus, Node
    from dora.builder import DataflowBuilder
    from dora.testing import MockNode

    node = Node("id")
    other: Node = Node(node_id="id", daemon_port=53290)
    event = node.next(timeout=0.5)
    if event is not None:
        kind: str = event["type"]
    for event in node:
        node.send_output(output_id="a", data=event["value"], metadata=event["metadata"])
    polled: dict[str, Any] | None = node.try_recv()
    drained: list[dict[str, Any]] = node.drain()
    is_empty: bool = node.is_empty()


    async def receive() -> None:
        received: dict[str, Any] | None = await node.recv_async(timeout=1.0)


    with node.send_output_raw("a", 3, {"k": 1}) as buffer:
        memoryview(buffer)[:] = b"abc"
    handler: dora.SampleHandler = node.send_output_raw("a", 3)
    written: dora.SampleBuffer = handler.as_buffer()
    view: memoryview = handler.as_memoryview()
    handler.send()
    request_id: str = node.send_service_request("a", b"x")
    node.send_service_response("a", b"x", {"request_id": request_id})
    numbers: tuple[bool, int, str] = node.is_restart(), node.restart_count(), node.dataflow_id()
    inputs = node.node_config()["inputs"]
    nodes = node.dataflow_descriptor()["nodes"]
    second: int = node.timestamp().second
    node.log("info", "text", target="t", fields={"a": "b"})
    for log in (node.log_error, node.log_warn, node.log_info, node.log_debug, node.log_trace):
        log("text")
    dataflow = DataflowBuilder("x")
    output = dataflow.add_node("y", path="z").args("-v").env({"A": 1}).add_output("o")
    dataflow.add_node("w").add_input("i", output, queue_size=1, queue_policy="drop_oldest")
    text: str | None = dataflow.to_yaml()
    MockNode([("a", 1)], is_restart=True).send_output("a", 1)
    status: DoraStatus = DoraStatus.STOP_ALL
    dora.run("flow.yml", stop_after=1.0)
    dora.build("flow.yml", uv=True)
    dora.start_runtime()
"""


def check_types(folder: Path) -> str:
    """Run the type checker over all files of a folder, and give what it says."""
    compat = next(iter(dora_rt.compat.__path__))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]
    done = subprocess.run(
        [*command, "--disable-error-code=import-untyped", "."],
        cwd=folder,
        env={"MYPYPATH": compat, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


@pytest.mark.programs
def test_type_checker_knows_every_method(tmp_path: Path):
    (tmp_path / "client.py").write_text(dedent(CLIENT))
    (tmp_path / "wrong.py").write_text(
        "from dora import Node\nNode().send_output(3, b'')\nNode().send_outputs('a', b'')\n"
    )

    *errors, _ = check_types(tmp_path).splitlines()

    assert len(errors) == 2, errors
    assert 'wrong.py:2: error: Argument 1 to "send_output" of "Node"' in errors[0]
    assert 'wrong.py:3: error: "Node" has no attribute "send_outputs"' in errors[1]


def signatures(tree: ast.Module) -> dict[str, list[str]]:
    """Give the parameters of every public function and method of a stub."""
    found = {}
    for entry in tree.body:
        functions = entry.body if isinstance(entry, ast.ClassDef) else [entry]
        prefix = f"{entry.name}." if isinstance(entry, ast.ClassDef) else ""
        for function in functions:
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = [argument.arg for argument in function.args.args if argument.arg != "self"]
                found[prefix + function.name] = names
    return found


# What other files of the layer call.
NOT_OF_DORA = {
    "SampleBuffer": ("release",),
    "Ros2Transport": ("found", "opener"),
    "Ros2Topic": ("route",),
    "Ros2Subscription": ("take", "merge", "has_messages"),
    "Ros2Node": ("close",),
}


def test_stub_has_the_names_and_parameters_of_the_module():
    stub = ast.parse(Path(dora.__file__).with_suffix(".pyi").read_text())
    public = {name for name in dora.__all__ if not name.startswith("_")}
    names = {
        entry.name for entry in stub.body if isinstance(entry, (ast.ClassDef, ast.FunctionDef))
    }

    assert public == names
    said = signatures(stub)
    for kind in (getattr(dora, name) for name in sorted(public)):
        for name, function in vars(kind).items():
            if name in NOT_OF_DORA.get(kind.__name__, ()):
                continue
            if inspect.isfunction(function) and not name.startswith("_"):
                parameters = list(inspect.signature(function).parameters)[1:]
                assert said[f"{kind.__name__}.{name}"] == parameters
    for name in ("build", "run", "start_runtime"):
        assert said[name] == list(inspect.signature(getattr(dora, name)).parameters)
