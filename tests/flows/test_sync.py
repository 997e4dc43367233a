"""Time-matched inputs, in a dataflow."""

from __future__ import annotations

import json

import pytest

from tests.harness.flow import Flow

CAMERA = """
    import time
    import numpy as np
    from dora_rt import Node
    node = Node()
    for number in range(60):
        node.send_output("image", np.full((40, 30), number, np.uint8))
        time.sleep(0.002)
"""
DETECTOR = """
    from dora_rt import Node
    node = Node()
    for event in node:
        if event.value[0, 0] % 3 == 0:
            node.send_output("boxes", bytes([event.value[0, 0]]))
"""


def test_boxes_arrive_with_their_own_picture_and_the_rest_is_counted(flow: Flow):
    flow.write("camera.py", CAMERA)
    flow.write("detector.py", DETECTOR)
    flow.write(
        "plot.py",
        """
        import json
        from dora_rt import Node
        with Node() as node:
            sets = [
                (event.id, int(event["image"].value[0, 0]), event["boxes"].value[0], event.dropped)
                for event in node
            ]
        print(json.dumps(sets))
        """,
    )
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: camera, path: camera.py, outputs: [image]}
          - id: detector
            path: detector.py
            inputs: {image: {source: camera/image, queue_policy: block}}
            outputs: [boxes]
          - id: plot
            path: plot.py
            sync: exact
            inputs:
              image: {source: camera/image, queue_policy: block}
              boxes: detector/boxes
        """,
    )

    run = flow.run()

    found = json.loads(next(line for line in run.lines("plot") if line.startswith("[")))
    assert [tuple(one[:3]) for one in found] == [("sync", n, n) for n in range(0, 60, 3)]
    assert sum(one[3] for one in found) == 38, "two of three pictures, but for the last two"
    assert "dora_rt: sync: 20 sets; unmatched: image 40, boxes 0" in run.lines("plot")


def test_other_inputs_come_as_they_are(flow: Flow):
    flow.write(
        "source.py",
        "import time\nfrom dora_rt import Node\nnode = Node()\n"
        "for number in range(30):\n"
        "    now = time.monotonic_ns()\n"
        "    for name in ('a', 'b', 'c'):\n"
        "        node.send_output(name, bytes([number]), captured_ns=now)\n"
        "    time.sleep(0.005)\n",
    )
    flow.write(
        "sink.py",
        "from dora_rt import Node\nfrom collections import Counter\n"
        "print(sorted(Counter(event.id for event in Node()).items()))\n",
    )
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [a, b, c]}
          - id: sink
            path: sink.py
            sync: {inputs: [a, b], slop_ms: 1}
            inputs: {a: source/a, b: source/b, c: source/c}
        """,
    )

    assert flow.run().lines("sink") == ["[('c', 30), ('sync', 30)]"]


@pytest.mark.parametrize(
    ("sync", "message"),
    [
        ("5", "'sync' of node 'b': expected exact, or a mapping such as {slop_ms: 20}, got '5'"),
        (
            "{inputs: [x]}",
            "'sync' of node 'b' needs two inputs or more to match, and has x; timers cannot be "
            "matched; remove 'sync' from a node with one input",
        ),
        (
            "{inputs: [x, tick]}",
            "'inputs' of 'sync' of node 'b': there is no input 'tick' to match; inputs that other "
            "nodes write: x, y",
        ),
        (
            "{slop: 5}",
            "unknown key 'slop' in 'sync' of node 'b'; did you mean 'slop_ms'?",
        ),
        (
            "{slop_ms: -1}",
            "'slop_ms' of 'sync' of node 'b': expected a whole number from 0 to 60000, got -1",
        ),
    ],
)
def test_malformed_sync_is_refused(flow: Flow, sync: str, message: str):
    flow.write("node.py", "")
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: a, path: node.py, outputs: [x, y]}}
          - id: b
            path: node.py
            sync: {sync}
            inputs: {{x: a/x, y: a/y, tick: dora/timer/millis/10}}
        """,
    )

    run = flow.run("--check")

    assert run.exit_code == 2
    assert message in run.err
