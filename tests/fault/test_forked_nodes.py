"""A fork of a node can do nothing that is the node's to do, and says so in one way."""

from __future__ import annotations

import json

from tests.harness.finished import Edge
from tests.harness.flow import Flow

ATTEMPTS = """
import json, os, sys, time
from dora_rt import Node
from dora_rt.errors import NodeClosedError
from dora_rt.node.session import Session
node = Node()
first = node.next()
loan = node.loan("out", 2000)
unopened = node.loan("out", 2000)
try:
    with loan as array:
        array[:] = 1
        if os.fork() == 0:
            said = []
            for attempt in (
                lambda: node.send_output("out", b"x"),
                lambda: node.loan("out", 3),
                unopened.__enter__,
                loan.send,
                node.next,
                node.next_event,
                node.try_next,
                lambda: next(iter(node)),
                lambda: Session.of(node).close_output("out"),
                lambda: Session.of(node).close_input("tick"),
                node.stop_dataflow,
            ):
                try:
                    attempt()
                except NodeClosedError as error:
                    said.append(str(error))
            loan.cancel()
            said.append(node.is_stopped())
            Session.of(node).inbox.wake()
            node.close()
            print(json.dumps(said), flush=True)
        else:
            os.wait()
except NodeClosedError as error:
    print("the end of the block:", error, flush=True)
    sys.exit(0)
for number, event in zip(range(20), node):
    with node.loan("out", 2000) as array:
        array[:] = number
"""


def test_whatever_a_fork_tries_is_refused_or_does_nothing(flow: Flow):
    flow.write("source.py", ATTEMPTS)
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        values = [int(event.value[0]) for event in Node() if (event.value == event.value[0]).all()]
        print(values == [1, *range(20)])
        """,
    )
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/2}, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: {source: source/out, queue_policy: block}}}
        """,
    )

    done = flow.run()

    said, end = done.lines("source")
    node = "node 'source': this process is a fork of the node; only the node can "
    output = "node 'source', output 'out': this process is a fork of the node; only the node can "
    assert json.loads(said) == [
        *[f"{output}send"] * 4,
        *[f"{node}receive"] * 4,
        f"{node}close an output",
        f"{node}close an input",
        f"{node}stop the dataflow",
        False,
    ]
    assert end == f"the end of the block: {output}send"
    assert done.lines("sink") == ["True"]
    assert done.edge("source/out", "sink/out") == Edge(21, 21, 0)
    assert done.exit_code == 0


def test_fork_that_looks_whether_it_is_stopped_does_not_stand_in_for_the_node(flow: Flow):
    flow.write(
        "stuck.py",
        """
        import os, time
        from dora_rt import Node
        node = Node()
        node.is_stopped()
        if os.fork() == 0:
            while not node.is_stopped():
                time.sleep(0.01)
            os._exit(0)
        time.sleep(60)
        """,
    )
    flow.write(
        "flow.yml",
        "nodes:\n  - {id: stuck, path: stuck.py, outputs: [out], heartbeat_timeout: 0.5}\n",
    )

    done = flow.run("--stop-after", "10s")

    assert done.ending("stuck").startswith("killed")
    assert "0.5" in done.ending("stuck"), "for its silence, and not at the stop"
    assert done.exit_code == 1


def test_worker_of_a_node_sees_that_the_dataflow_is_stopped(flow: Flow):
    flow.write(
        "node.py",
        """
        import os, time
        from dora_rt import Node
        node = Node()
        child = os.fork()
        if child == 0:
            while not node.is_stopped():
                time.sleep(0.001)
            print("seen in the fork", flush=True)
            os._exit(0)
        while not node.is_stopped():
            time.sleep(0.001)
        os.waitpid(child, 0)
        """,
    )
    flow.write("flow.yml", "nodes:\n  - {id: node, path: node.py, outputs: [out]}\n")

    done = flow.run("--stop-after", "0.5s")

    assert done.lines("node") == ["seen in the fork"]
    assert done.exit_code == 0
