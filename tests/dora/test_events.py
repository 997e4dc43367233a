"""What a node of dora 1.x receives: waiting with and without a limit, polling, asyncio, the end.

One dataflow does all of it, each test looks at one thing.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.dora.recording import notes, run_noting, start_noting
from tests.harness.flow import Flow

# The reader says when the sender goes on, so that nothing depends on who is faster.
YAML = """
    nodes:
      - id: sender
        path: sender.py
        inputs: {go: reader/go}
        outputs: [text, other, newest]
      - id: reader
        path: reader.py
        inputs:
          text: sender/text
          other: {source: sender/other, queue_size: 100}
          newest: {source: sender/newest, queue_size: 1}
        outputs: [go]
"""

SENDER = """
    import time
    from pathlib import Path
    import pyarrow as pa
    from dora import Node

    node = Node()

    def wait():
        assert node.next()["id"] == "go"

    wait()
    sent_at = time.time()
    node.send_output("text", pa.array(["first"]), {"number": 1})
    wait()
    for number in range(3):
        node.send_output("other", pa.array([number]))
    wait()
    node.send_output("text", pa.array(["for who polls"]))
    wait()
    node.send_output("text", pa.array(["for a coroutine"]))
    wait()
    node.send_output("text", pa.array(["after a cancelled wait"]))
    wait()
    node.send_output("text", pa.array(["for a thread"]))
    node.send_output("text", pa.array(["for a thread"]))
    wait()
    for number in range(1000):
        node.send_output("newest", pa.array([number]))
    Path("all_sent").touch()
    wait()
    for number in range(50):
        node.send_output("other", pa.array([number]))
    note("sent at", sent_at)
"""

READER = """
    import asyncio, threading, time
    from pathlib import Path
    from dora import Node

    node = Node()

    def go():
        node.send_output("go", b"")

    def plain(event):
        if event is None:
            return None
        return {**event, "value": event["value"].to_pylist()} if "value" in event else event

    note("empty", [node.is_empty(), node.try_recv(), node.drain()])
    began = time.monotonic()
    note("timed out", node.next(timeout=0.05))
    note("waited", time.monotonic() - began)
    note("timed out at once", node.next(0))
    for name, timeout in (("negative", -1), ("nan", float("nan")), ("text", "1")):
        attempt(name, lambda: node.next(timeout))

    go()
    event = node.next(10)
    note("keys", sorted(event))
    note("input", plain(event))
    note("timestamp", [event["metadata"]["timestamp"].timestamp(),
                       str(event["metadata"]["timestamp"].tzinfo)])
    event["metadata"]["mine"] = True

    go()
    drained = []
    while len(drained) < 3:
        drained += node.drain()
    note("drained", [plain(event)["value"] for event in drained])
    note("metadata are fresh", sorted(drained[0]["metadata"]))

    go()
    while node.is_empty():
        pass
    note("not empty twice", node.is_empty())
    note("polled", plain(node.try_recv())["value"])

    async def wait_beside_others():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        timed_out = await node.recv_async(timeout=0.1)
        before = ticks
        go()
        event = await node.recv_async()
        ticking.cancel()
        try:
            await asyncio.wait_for(node.recv_async(), 0.01)
        except asyncio.TimeoutError:
            pass
        go()
        return [timed_out, before, plain(event)["value"], plain(await node.recv_async())["value"]]

    note("async", asyncio.run(wait_beside_others()))

    taken = []
    threads = [threading.Thread(target=lambda: taken.append(plain(node.next(10))["value"]))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    note("waits beside the threads", node.next(0.05)["type"])
    go()
    for thread in threads:
        thread.join()
    note("threads", taken)

    go()
    while not Path("all_sent").exists():
        pass
    note("newest", [plain(event)["value"] for event in node.drain()])

    go()
    rest = []
    while (event := node.next()) is not None:
        rest.append([event["type"], event["id"]])
    note("rest", rest)
    note("sorted keys of the end", sorted(rest[-1]))
    note("after the end", [node.next(), node.next(0.1), node.try_recv(), node.is_empty(),
                           asyncio.run(node.recv_async()), list(node)])
    attempt("drain after the end", node.drain)
    attempt("send after the end", lambda: node.send_output("go", b"late"))
"""


@pytest.fixture(scope="module")
def seen(shared_flow: Flow) -> dict[str, Any]:
    return run_noting(shared_flow, YAML, sender=SENDER, reader=READER)


@pytest.fixture(scope="module")
def reader(seen: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = seen["reader"]
    return found


TIMED_OUT = {
    "type": "ERROR",
    "error": "Timeout event stream error: Receiver timed out",
    "kind": "dora",
}


def test_wait_in_vain_gives_an_error_event_when_its_time_is_over(reader: dict[str, Any]):
    assert reader["timed out"] == TIMED_OUT
    assert 0.05 <= reader["waited"] < 1
    assert reader["timed out at once"] == TIMED_OUT


@pytest.mark.parametrize(
    ("timeout", "error"), [("negative", "ValueError"), ("nan", "ValueError"), ("text", "TypeError")]
)
def test_timeout_that_is_none_is_refused(reader: dict[str, Any], timeout: str, error: str):
    assert reader[timeout]["raised"][0] == error


def test_input_has_the_keys_of_dora_and_the_time_when_it_was_sent(
    seen: dict[str, Any], reader: dict[str, Any]
):
    assert reader["keys"] == ["id", "kind", "metadata", "type", "value"]
    event = reader["input"]
    assert (event["type"], event["id"], event["kind"]) == ("INPUT", "text", "dora")
    assert event["value"] == ["first"]
    assert event["metadata"]["number"] == 1
    moment, zone = reader["timestamp"]
    assert zone == "UTC"
    assert 0 <= moment - seen["sender"]["sent at"] < 1


def test_metadata_are_a_fresh_dict_each_time(reader: dict[str, Any]):
    assert reader["metadata are fresh"] == ["timestamp"]


def test_polling_waits_for_nothing_and_loses_nothing(reader: dict[str, Any]):
    assert reader["empty"] == [True, None, []]
    assert reader["not empty twice"] is False
    assert reader["drained"] == [[0], [1], [2]]
    assert reader["polled"] == ["for who polls"]


def test_coroutine_waits_while_others_go_on_and_a_cancelled_one_loses_nothing(
    reader: dict[str, Any],
):
    timed_out, ticks, first, second = reader["async"]

    assert timed_out == TIMED_OUT
    assert ticks >= 10
    assert [first, second] == [["for a coroutine"], ["after a cancelled wait"]]


def test_threads_take_turns_in_waiting(reader: dict[str, Any]):
    assert reader["waits beside the threads"] == "ERROR"
    assert reader["threads"] == [["for a thread"], ["for a thread"]]


def test_queue_of_one_has_the_newest_although_many_were_sent(reader: dict[str, Any]):
    assert reader["newest"] == [[999]]


def test_everything_that_was_sent_comes_before_the_end(reader: dict[str, Any]):
    rest = [tuple(event) for event in reader["rest"]]

    assert rest.count(("INPUT", "other")) == 50
    # In no order between inputs, but in order within each.
    other = [event for event in rest if event[1] == "other"]
    assert other[-1] == ("INPUT_CLOSED", "other")
    assert {("INPUT_CLOSED", "text"), ("INPUT_CLOSED", "newest")} < set(rest)
    assert len(rest) == 54
    assert rest[-1] == ("STOP", "ALL_INPUTS_CLOSED")


def test_after_the_end_there_is_nothing_and_nothing_waits(reader: dict[str, Any]):
    assert reader["after the end"] == [None, None, None, True, None, []]
    assert reader["drain after the end"]["raised"][0] == "RuntimeError"


def test_who_has_seen_the_end_may_still_send(reader: dict[str, Any]):
    assert reader["send after the end"] is None


def test_source_without_inputs_waits_for_the_stop_and_may_send_after_it(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, outputs: [last]}
          - {id: sink, path: sink.py, inputs: {last: source/last}}
        """,
        "--stop-after",
        "300ms",
        source="""
        from dora import Node
        node = Node()
        note("first", node.next(0.01)["type"])
        note("stop", node.next())
        node.send_output("last", b"word")
        note("after", node.next())
        """,
        sink="""
        from dora import Node
        note("events", [[event["type"], event["id"]] for event in Node()])
        """,
    )

    assert seen["source"]["first"] == "ERROR"
    assert seen["source"]["stop"] == {"type": "STOP", "id": "MANUAL", "kind": "dora"}
    assert seen["source"]["after"] is None
    assert seen["sink"]["events"] == [
        ["INPUT", "last"],
        ["INPUT_CLOSED", "last"],
        ["STOP", "ALL_INPUTS_CLOSED"],
    ]


def test_inputs_of_the_same_moment_come_one_after_the_other(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: camera, path: camera.py, inputs: {tick: dora/timer/millis/5}, outputs: [image]}
          - {id: detector, path: detector.py, inputs: {image: camera/image}, outputs: [boxes]}
          - id: sink
            path: sink.py
            sync: exact
            inputs: {image: camera/image, boxes: detector/boxes}
        """,
        camera="""
        import pyarrow as pa
        from dora import Node
        node = Node()
        for event, number in zip(node, range(6)):
            node.send_output("image", pa.array([number]))
        """,
        detector="""
        from dora import Node
        node = Node()
        for event in node:
            if event["type"] == "INPUT" and event["value"][0].as_py() % 2 == 0:
                node.send_output("boxes", event["value"])
        """,
        sink="""
        from dora import Node
        node, inputs = Node(), []
        while not node.is_empty() or not inputs or inputs[-1][0] != "STOP":
            event = node.next()
            is_input = event["type"] == "INPUT"
            inputs.append([event["id"], event["value"][0].as_py()] if is_input
                          else [event["type"], event["id"]])
        note("inputs", [entry for entry in inputs if entry[0] in ("image", "boxes")])
        """,
    )

    assert seen["sink"]["inputs"] == [
        [input_id, number] for number in (0, 2, 4) for input_id in ("image", "boxes")
    ]


def test_timers_tick_with_nothing_in_them_and_end_with_the_inputs(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/10}, outputs: [out]}
          - id: sink
            path: sink.py
            inputs: {tick: dora/timer/millis/10, out: source/out}
        """,
        source="""
        from dora import Node
        node = Node()
        for event, _ in zip(node, range(3)):
            note("tick", [event["type"], event["id"], str(event["value"].type),
                          len(event["value"]), sorted(event["metadata"])])
        node.send_output("out", b"")
        """,
        sink="""
        from dora import Node
        note("events", [[event["type"], event["id"]] for event in Node()])
        """,
    )

    assert seen["source"]["tick"] == ["INPUT", "tick", "null", 0, ["timestamp"]]
    assert ["INPUT", "tick"] in seen["sink"]["events"]
    assert seen["sink"]["events"][-1] == ["STOP", "ALL_INPUTS_CLOSED"]


def test_restarted_source_and_silent_input_are_told(flow: Flow):
    done = start_noting(
        flow,
        """
        nodes:
          - id: source
            path: source.py
            restart_policy: on-failure
            restart_delay: 0.05
            outputs: [out]
          - id: sink
            path: sink.py
            inputs: {out: {source: source/out, input_timeout: 0.1}}
        """,
        source="""
        import sys, time
        from dora import Node
        node = Node()
        note("restarts", [node.is_restart(), node.restart_count()])
        node.send_output("out", b"1")
        if not node.is_restart():
            sys.exit(1)
        time.sleep(0.4)
        node.send_output("out", b"2")
        """,
        sink="""
        from dora import Node
        note("events", [[event["type"], event["id"]] for event in Node()])
        """,
    )

    assert done.exit_code == 0, done.out
    assert notes(flow, "source")["restarts"] == [True, 1]
    events = [tuple(event) for event in notes(flow, "sink")["events"]]
    assert events.count(("INPUT", "out")) == 3
    assert ("NODE_RESTARTED", "source") in events
    closed = events.index(("INPUT_CLOSED", "out"))
    assert events[closed + 1] in (("INPUT_RECOVERED", "out"), ("NODE_RESTARTED", "source"))
    assert ("INPUT_RECOVERED", "out") in events
    assert events[-1] == ("STOP", "ALL_INPUTS_CLOSED")


def run_with_failing_camera(flow: Flow, sink: str) -> list[dict[str, Any]]:
    """Let one of two sources fail, and give what the reader of both has noted as `events`."""
    done = start_noting(
        flow,
        """
        nodes:
          - id: camera
            path: camera.py
            outputs: [left, right]
          - id: steady
            path: steady.py
            outputs: [out]
          - id: sink
            path: sink.py
            inputs: {a: camera/left, b: camera/right, c: steady/out}
        """,
        camera="""
        import sys
        from dora import Node
        node = Node()
        node.send_output("left", b"1")
        for _ in range(5):
            node.send_output("right", b"1")
        sys.exit(3)
        """,
        # Ends when it is told to, at the end of the test.
        steady="""
        from dora import Node
        note("stop", Node().next()["type"])
        """,
        sink=sink,
    )

    assert done.ending("camera") == "failed: exit status 3"
    events: list[dict[str, Any]] = notes(flow, "sink")["events"]
    return events


FAILED = {
    "type": "NODE_FAILED",
    "id": "camera",
    "kind": "dora",
    "value": {
        "source_node_id": "camera",
        "error": "exit status 3",
        "affected_input_ids": ["a", "b"],
    },
}


@pytest.mark.parametrize("receive", ["next(node)", "node.next(timeout=30)", "polled(node)"])
def test_failed_source_is_told_once_to_who_goes_on_with_other_inputs(flow: Flow, receive: str):
    events = run_with_failing_camera(
        flow,
        f"""
        import os, signal, time
        from dora import Node

        def polled(node):
            while (event := node.try_recv()) is None:
                time.sleep(0.001)
            return event

        node = Node()
        events = []
        while not events or events[-1]["type"] != "STOP":
            events.append({receive})
            if events[-1]["type"] == "NODE_FAILED":
                os.kill(os.getppid(), signal.SIGTERM)
        note("events", [{{k: e[k] for k in e if k not in ("value", "metadata")
                         or e["type"] == "NODE_FAILED"}} for e in events])
        """,
    )

    assert [event for event in events if event["type"] == "NODE_FAILED"] == [FAILED]
    kinds = [(event["type"], event["id"]) for event in events]
    assert kinds.count(("INPUT", "b")) == 5
    assert kinds.index(("INPUT_CLOSED", "a")) < kinds.index(("NODE_FAILED", "camera"))
    assert kinds.count(("INPUT_CLOSED", "b")) == 1
    assert kinds[-2:] == [("INPUT_CLOSED", "c"), ("STOP", "ALL_INPUTS_CLOSED")]


def test_what_is_sent_while_a_node_is_busy_is_there_when_it_drains(flow: Flow):
    # It asks for nothing until everything was sent, as dora's example does with a sleep.
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: sender, path: sender.py, outputs: [data]}
          - id: receiver
            path: receiver.py
            inputs: {data: {source: sender/data, queue_size: 100}}
        """,
        sender="""
        from pathlib import Path
        from dora import Node
        node = Node()
        for number in range(100):
            node.send_output("data", bytes([number]))
        Path("sent").touch()
        """,
        receiver="""
        import time
        from pathlib import Path
        from dora import Node
        node = Node()
        deadline = time.monotonic() + 20
        while not Path("sent").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        note("drained", [event["value"].to_pylist() for event in node.drain()
                         if event["type"] == "INPUT"])
        """,
    )

    assert seen["receiver"]["drained"] == [[number] for number in range(100)]
