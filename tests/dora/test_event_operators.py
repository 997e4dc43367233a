"""Operators of dora 1.x: `on_event`, alone and beside `on_input` in one process."""

from __future__ import annotations

from tests.dora.recording import run_noting, start_noting
from tests.harness.finished import Edge
from tests.harness.flow import Flow

SOURCE = """
    import numpy as np
    import pyarrow as pa
    from dora import Node
    node = Node()
    for number in range(3):
        node.send_output("number", pa.array([number]), {"number": number})
    node.send_output("image", np.zeros((2, 4, 3), np.uint8))
"""


def test_operator_gets_events_until_the_stop_and_knows_the_dataflow(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, outputs: [number, image]}
          - id: doubler
            operator:
              python: doubler.py
              inputs: {number: source/number, image: source/image, tick: dora/timer/secs/9}
              outputs: [twice, last]
          - {id: sink, path: sink.py, inputs: {twice: doubler/twice, last: doubler/last}}
        """,
        source=SOURCE,
        doubler="""
import pyarrow as pa
from dora import DoraStatus

class Operator:
    def __init__(self):
        self.events = []

    def on_event(self, dora_event, send_output):
        if dora_event["type"] == "INPUT":
            value, metadata = dora_event["value"], dora_event["metadata"]
            self.events.append([dora_event["id"], str(value.type), len(value), sorted(metadata)])
            if dora_event["id"] == "number":
                send_output("twice", pa.array([{"twice": 2 * value[0].as_py()}]), metadata)
        else:
            self.events.append(dora_event)
        if dora_event["type"] == "STOP":
            note("events", self.events)
            note("nodes", [node["id"] for node in self.dataflow_descriptor["nodes"]])
            attempt("late", lambda: send_output("last", b"word"))
            attempt("undeclared", lambda: send_output("lst", b"word"))
        return DoraStatus.CONTINUE
""",
        sink="""
        from dora import Node
        values = {"twice": [], "last": []}
        for event in Node():
            if event["type"] == "INPUT":
                values[event["id"]].append(event["value"].to_pylist())
        note("values", values)
        """,
    )

    events = seen["doubler"]["events"]
    assert ["tick", "null", 0, ["timestamp"]] in events
    numbers = [event for event in events if isinstance(event, list) and event[0] == "number"]
    assert numbers == [["number", "int64", 1, ["number", "timestamp"]]] * 3
    image = ["encoding", "height", "primitive", "timestamp", "width"]
    assert ["image", "uint8", 24, image] in events
    assert events[-1] == {"type": "STOP", "id": "ALL_INPUTS_CLOSED", "kind": "dora"}
    closed = {event["id"] for event in events[:-1] if isinstance(event, dict)}
    assert closed == {"number", "image"}
    assert seen["doubler"]["nodes"] == ["source", "doubler", "sink"]
    assert seen["doubler"]["late"] is None
    assert "RuntimeError" in seen["doubler"]["undeclared"]["raised"]
    assert seen["sink"]["values"] == {
        "twice": [[{"twice": 2 * number}] for number in range(3)],
        "last": [list(b"word")],
    }


def test_operators_of_both_kinds_share_a_process_and_pass_arrays_by_reference(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, outputs: [number, image]}
          - id: pair
            operators:
              - id: old
                python: old.py
                inputs: {image: source/image}
                outputs: [image, bytes]
              - id: new
                python: new.py
                inputs: {image: pair/old/image, bytes: pair/old/bytes}
                outputs: [image, names]
              - id: older
                python: older.py
                inputs: {image: pair/new/image, names: pair/new/names}
        """,
        source=SOURCE,
        old="""
import numpy as np
from dora_rt import DoraStatus

class Operator:
    def on_input(self, dora_input, send_output):
        image = np.full((2, 4, 3), 7, np.uint8)
        note("address", image.ctypes.data)
        send_output("image", image)
        send_output("bytes", b"ab", {"open_telemetry_context": "7632e76"})
        return DoraStatus.CONTINUE
""",
        new="""
import pyarrow as pa
from dora import DoraStatus

class Operator:
    def on_event(self, dora_event, send_output):
        if dora_event["type"] == "INPUT":
            value, metadata = dora_event["value"], dora_event["metadata"]
            note(dora_event["id"], [str(value.type), value.to_pylist()[:2]])
            note("metadata of " + dora_event["id"], sorted(metadata))
            if dora_event["id"] == "image":
                note("address", value.buffers()[1].address)
                send_output("image", value, metadata)
                send_output("names", pa.array(["cat", "dog"]))
        return DoraStatus.CONTINUE
""",
        older="""
from dora_rt import DoraStatus

class Operator:
    def on_input(self, dora_input, send_output):
        value = dora_input["data"]
        if dora_input["id"] == "image":
            note("image", [value.shape, value.flags.writeable, value.ctypes.data])
        else:
            note("names", value.to_pylist())
        return DoraStatus.CONTINUE
""",
    )

    address = seen["old"]["address"]
    assert seen["new"]["image"] == ["uint8", [7, 7]]
    assert seen["new"]["address"] == address
    assert seen["new"]["bytes"] == ["uint8", list(b"ab")]
    assert seen["new"]["metadata of bytes"] == ["open_telemetry_context", "timestamp"]
    assert seen["older"]["image"] == [[2, 4, 3], False, address]
    assert seen["older"]["names"] == ["cat", "dog"]


def test_stop_of_the_dataflow_reaches_the_operator_which_may_still_send(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - id: source
            operator:
              python: source.py
              inputs: {tick: dora/timer/millis/10}
              outputs: [last]
          - {id: sink, path: sink.py, inputs: {last: source/last}}
        """,
        "--stop-after",
        "200ms",
        source="""
from dora import DoraStatus

class Operator:
    def on_event(self, dora_event, send_output):
        if dora_event["type"] == "STOP":
            note("stop", dora_event["id"])
            send_output("last", b"word")
        return DoraStatus.CONTINUE
""",
        sink="""
        from dora import Node
        note("values", [event["value"].to_pylist() for event in Node() if event["type"] == "INPUT"])
        """,
    )

    assert seen["source"]["stop"] == "MANUAL"
    assert seen["sink"]["values"] == [list(b"word")]


def test_operator_that_ends_itself_gets_no_stop(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - id: counter
            operator: {python: counter.py, inputs: {tick: dora/timer/millis/5}}
        """,
        counter="""
from dora import DoraStatus

class Operator:
    def __init__(self):
        self.types = []

    def on_event(self, dora_event, send_output):
        self.types.append(dora_event["type"])
        note("types", self.types)
        return DoraStatus.STOP if len(self.types) == 3 else DoraStatus.CONTINUE
""",
    )

    assert seen["counter"]["types"] == ["INPUT"] * 3


def test_exception_in_on_event_names_the_operator_and_the_input(flow: Flow):
    done = start_noting(
        flow,
        """
        nodes:
          - {id: bad, operator: {python: bad.py, inputs: {tick: dora/timer/millis/5}}}
        """,
        bad="""
        class Operator:
            def on_event(self, dora_event, send_output):
                raise ValueError("no")
        """,
    )

    assert done.exit_code == 1
    assert "operator 'bad': on_event raised on input 'tick': ValueError: no" in done.out


def test_class_with_neither_method_is_told_both(flow: Flow):
    done = start_noting(
        flow,
        """
        nodes:
          - {id: bad, operator: {python: bad.py, inputs: {tick: dora/timer/millis/5}}}
        """,
        bad="class Operator: pass",
    )

    assert "no method `on_input(self, dora_input, send_output)`" in done.out
    assert "`on_event(self, dora_event, send_output)`" in done.out


def test_edge_between_operators_counts_what_went_over_it(flow: Flow):
    done = start_noting(
        flow,
        """
        nodes:
          - id: pair
            operators:
              - {id: a, python: a.py, inputs: {tick: dora/timer/millis/5}, outputs: [x]}
              - {id: b, python: b.py, inputs: {x: pair/a/x}}
        """,
        a="""
        import pyarrow as pa
        from dora import DoraStatus
        class Operator:
            def on_event(self, dora_event, send_output):
                send_output("x", pa.array(["a"]))
                return DoraStatus.STOP
        """,
        b="""
        from dora import DoraStatus
        class Operator:
            def on_event(self, dora_event, send_output):
                return DoraStatus.CONTINUE
        """,
    )

    assert done.exit_code == 0, done.out
    assert done.edge("pair/a/x", "pair/b/x") == Edge(1, 1, 0)
