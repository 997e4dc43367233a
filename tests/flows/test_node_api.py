"""The Python API, as programs in real dataflows see it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.finished import Edge
from tests.harness.flow import Flow

PAIR = """
    nodes:
      - id: sender
        path: sender.py
        outputs: [text, array]
      - id: receiver
        path: receiver.py
        inputs: {text: sender/text, array: sender/array}
"""


def test_lines_of_the_2022_page_run_as_they_stand(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: sender, custom: {source: sender.py, outputs: [text]}}
          - {id: receiver, custom: {source: receiver.py, inputs: {text: sender/text}}}
        """,
    )
    flow.write(
        "sender.py",
        """
        from dora import Node

        node = Node()
        node.send_output("text", b"string", {"open_telemetry_context": "7632e76"})
        """,
    )
    flow.write(
        "receiver.py",
        """
        from dora import Node

        node = Node()

        input_id, value, metadata = node.next()
        print(input_id, value, metadata["open_telemetry_context"])
        print(node.next())
        for input_id, value, metadata in node:
            print("never")
        """,
    )

    done = flow.run()

    assert done.lines("receiver") == ["text b'string' 7632e76", "None"]
    assert done.exit_code == 0, done.out + done.err


def test_event_tells_its_number_and_times(flow: Flow):
    flow.write("flow.yml", PAIR)
    flow.write(
        "sender.py",
        """
        import numpy as np, time
        from dora_rt import Node

        with Node() as node:
            before = time.monotonic_ns()
            node.send_output("text", b"0")
            node.send_output("text", b"1", {"n": np.int64(3)}, captured_ns=12345)
            print(before)
        """,
    )
    flow.write(
        "receiver.py",
        """
        from dora_rt import Node

        node = Node()
        first, second = node
        print(first.id, first.value, first.metadata, first.seq, first.dropped, len(first))
        print(first.sent_ns, first.origin_ns)
        print(second.seq, second.origin_ns, second.metadata["n"], second[1])
        """,
    )

    done = flow.run()

    what, times, second = done.lines("receiver")
    sent_ns, origin_ns = map(int, times.split())
    assert what == "text b'0' {'open_telemetry_context': ''} 0 0 3"
    assert int(done.lines("sender")[0]) < origin_ns <= sent_ns
    assert second == "1 12345 3 b'1'"


def test_answer_inherits_origin_and_telemetry_context(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [image]}
          - {id: middle, path: middle.py, inputs: {image: source/image}, outputs: [box]}
          - {id: sink, path: sink.py, inputs: {box: middle/box}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        context = {"open_telemetry_context": "trace-1"}
        node.send_output("image", b"image", context, captured_ns=777)
        """,
    )
    flow.write(
        "middle.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("box", b"box", {"own": 1})
            node.send_output("box", b"box")
        """,
    )
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        for event in Node():
            print(event.origin_ns, event.metadata)
        """,
    )

    assert flow.run().lines("sink") == [
        "777 {'own': 1, 'open_telemetry_context': 'trace-1'}",
        "777 {'open_telemetry_context': 'trace-1'}",
    ]


def test_mistakes_are_named_with_what_is_allowed(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: camera, path: camera.py, inputs: {tick: dora/timer/secs/1}, outputs: [image]}
        """,
    )
    flow.write(
        "camera.py",
        """
        from dora_rt import Node

        node = Node()

        def attempt(action):
            try:
                action()
            except Exception as error:
                kinds = [kind.__name__ for kind in (KeyError, TypeError, ValueError)
                         if isinstance(error, kind)]
                print(kinds, error)

        attempt(lambda: node.send_output("imge", b""))
        attempt(lambda: node.send_output("image", [1, 2]))
        attempt(lambda: node.loan("imge", (2, 2)))
        attempt(lambda: node.loan("image", (2, 2), "datetime64[s]"))
        attempt(lambda: node.next(timeout=-1))
        attempt(Node)
        node.close()
        attempt(lambda: node.send_output("image", b""))
        attempt(node.next)
        """,
    )

    done = flow.run()

    assert done.lines("camera") == [
        "['KeyError'] node 'camera' has no output 'imge'; its outputs in the dataflow file: image",
        "['TypeError'] node 'camera', output 'image': a value of type list cannot be sent; "
        "send bytes, bytearray, memoryview, a pyarrow array or a numpy array "
        "(np.asarray(...) makes one of a list)",
        "['KeyError'] node 'camera' has no output 'imge'; its outputs in the dataflow file: image",
        "['TypeError'] node 'camera', output 'image': an array of 2 dimensions and dtype "
        "datetime64[s] cannot be loaned; a bool, integer, float or complex one of at most 8 can",
        "['ValueError'] timeout must be 0 or more seconds, or None, got -1",
        "[] node 'camera' is in use in this process already: a process is one node; pass the "
        "Node object on instead of making a second one",
        "[] node 'camera', output 'image': closed, nothing can be sent any more",
        "[] node 'camera': closed, no more inputs",
    ]


def test_sending_after_the_stop_was_seen_is_an_error_that_says_so(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: camera, path: camera.py, inputs: {tick: dora/timer/millis/10}, "
        "outputs: [image]}]",
    )
    flow.write(
        "camera.py",
        """
        from dora_rt import Node

        node = Node()
        for event in node:
            node.send_output("image", b"x")
        try:
            node.send_output("image", b"x")
        except RuntimeError as error:
            print(error)
        """,
    )

    done = flow.run("--stop-after", "200ms")

    assert done.lines("camera") == [
        "node 'camera', output 'image': sent after next() returned None because the dataflow is "
        "being stopped; send before the loop ends"
    ]
    assert done.ending("camera") == "stopped"
    assert done.exit_code == 0


def test_last_result_may_be_sent_after_all_inputs_have_ended(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [number]}
          - {id: adder, path: adder.py, inputs: {number: source/number}, outputs: [total]}
          - {id: sink, path: sink.py, inputs: {total: adder/total}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        import numpy as np
        node = Node()
        for number in range(5):
            node.send_output("number", np.int32(number))
        """,
    )
    flow.write(
        "adder.py",
        """
        from dora_rt import Node
        import numpy as np
        node = Node()
        node.send_output("total", np.int32(sum(event.value for event in node)))
        """,
    )
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        for event in Node():
            print(repr(event.value), event.value.dtype)
        """,
    )

    done = flow.run()

    assert done.lines("sink") == ["array(10, dtype=int32) int32"]


@pytest.mark.programs
def test_node_outside_a_dataflow_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "-c", "from dora_rt import Node; Node()"], capture_output=True, text=True
    )

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "dora_rt.errors.NotInDataflowError: Node() works only in a program that dora-launch "
        "started: put this script into a dataflow file (- id: my_node, path: this_script.py) and "
        "run `dora-launch dataflow.yml`; to start it yourself, write `path: dynamic` there and "
        'Node("my_node") here; to test its logic alone, use dora_rt.testing.FakeNode'
    )


def test_timeout_try_next_and_the_end_can_be_told_apart(flow: Flow):
    flow.write("flow.yml", PAIR)
    flow.write(
        "sender.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        node.send_output("text", b"one")
        time.sleep(0.3)
        """,
    )
    flow.write(
        "receiver.py",
        """
        from dora_rt import Node
        node = Node()
        print(node.next(timeout=30).value)
        print(node.try_next())
        try:
            node.next(timeout=0.05)
        except TimeoutError as error:
            print(error)
        print(node.next(timeout=30), node.next(), node.try_next())
        """,
    )

    assert flow.run().lines("receiver") == [
        "b'one'",
        "None",
        "node 'receiver': no input came in time",
        "None None None",
    ]


def test_threads_send_and_receive_at_the_same_time(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: echo
            path: echo.py
            inputs: {back: {source: mirror/back, queue_policy: block}}
            outputs: [out]
          - id: mirror
            path: mirror.py
            inputs: {out: {source: echo/out, queue_policy: block}}
            outputs: [back]
        """,
    )
    flow.write(
        "echo.py",
        """
        import threading
        import numpy as np
        from dora_rt import Node

        node = Node()
        def send(thread):
            for number in range(500):
                node.send_output("out", np.array([thread, number]))
        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        received = [tuple(node.next().value) for _ in range(2000)]
        for thread in threads:
            thread.join()
        for thread in range(4):
            own = [number for sender, number in received if sender == thread]
            print(own == list(range(500)))
        """,
    )
    flow.write(
        "mirror.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("back", event.value)
        """,
    )

    # A circle of block edges only could stand still for ever, so one edge has to be another.
    done = flow.run()
    assert done.exit_code == 2
    assert "deadlock" in done.err

    text = (flow.folder / "flow.yml").read_text()
    flow.write(
        "flow.yml",
        text.replace(
            "{back: {source: mirror/back, queue_policy: block}}",
            "{back: {source: mirror/back, queue_size: 1000}}",
        ),
    )
    done = flow.run()

    assert done.lines("echo") == ["True"] * 4
    assert done.edge("echo/out", "mirror/out") == Edge(2000, 2000, 0)


def test_loan_writes_in_place_and_an_exception_sends_nothing(flow: Flow):
    flow.write("flow.yml", PAIR)
    flow.write(
        "sender.py",
        """
        from dora_rt import Node
        node = Node()
        try:
            with node.loan("array", (2, 2)) as array:
                raise OSError("camera unplugged")
        except OSError:
            pass
        metadata = {}
        with node.loan("array", (480, 640, 3), "uint8", metadata) as array:
            array[:] = 5
            metadata["frame"] = 1
        """,
    )
    flow.write(
        "receiver.py",
        """
        from dora_rt import Node
        for event in Node():
            print(event.value.shape, event.value.dtype, set(event.value.ravel()), event.seq,
                  event.metadata["frame"], event.value.flags.owndata)
        """,
    )

    lines = flow.run().lines("receiver")

    assert lines == ["(480, 640, 3) uint8 {np.uint8(5)} 0 1 False"] or lines == [
        "(480, 640, 3) uint8 {5} 0 1 False"
    ]


def test_spin_us_of_the_file_reaches_the_node(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: plain, path: node.py, outputs: [out]}
          - {id: never, path: node.py, spin_us: 0, inputs: {out: plain/out}}
          - {id: fixed, path: node.py, spin_us: 30, inputs: {out: plain/out}}
        """,
    )
    flow.write(
        "node.py",
        """
        from dora_rt import Node
        from dora_rt.node.session import Session
        print(Session.of(Node()).config.spin_ns)
        """,
    )

    run = flow.run()

    assert [run.lines(name) for name in ("plain", "never", "fixed")] == [["None"], ["0"], ["30000"]]
