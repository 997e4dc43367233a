"""The summary of an edge adds up, also where its reader left early, died, or never came."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.harness.flow import Flow

SOURCE = """
    import os
    from dora_rt import Node
    node = Node()
    for number in range(COUNT):
        node.send_output("out", bytes(2000))
"""


@dataclass(frozen=True)
class Counts:
    sent: int
    delivered: int
    dropped: int
    unread: int


def run(flow: Flow, exit_code: int = 0) -> dict[str, Counts]:
    """Run a flow and give what its report says of each target, once it has proved to add up."""
    done = flow.run("--report", str(flow.folder / "report.json"))
    assert done.exit_code == exit_code, done.out + done.err
    report = json.loads((flow.folder / "report.json").read_text())
    counts = {
        edge["target"]: Counts(*(edge[name] for name in Counts.__dataclass_fields__))
        for edge in report["edges"]
    }
    for one in counts.values():
        assert one.sent == one.delivered + one.dropped + one.unread, counts
        assert min(one.delivered, one.dropped, one.unread) >= 0, counts
    has_column = "  unread  " in done.out
    assert has_column == any(one.unread for one in counts.values())
    return counts


@pytest.mark.parametrize("policy", ["latest", "drop_oldest", "block"])
def test_what_is_sent_after_a_reader_has_left_is_unread(flow: Flow, policy: str):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: source, path: source.py, outputs: [out]}}
          - id: left
            path: left.py
            inputs: {{x: {{source: source/out, queue_policy: {policy}}}}}
          - id: stays
            path: stays.py
            inputs: {{x: {{source: source/out, queue_policy: block}}}}
        """,
    )
    flow.write("source.py", SOURCE.replace("COUNT", "500"))
    flow.write("left.py", "from dora_rt import Node\nnode = Node()\nnode.next(); node.close()\n")
    flow.write("stays.py", "from dora_rt import Node\nfor event in Node(): pass\n")

    counts = run(flow)

    assert counts["stays/x"] == Counts(500, 500, 0, 0)
    left = counts["left/x"]
    assert (left.sent, left.delivered) == (500, 1)
    assert left.unread > 0
    assert left.dropped == 0 or policy != "block"


def test_what_is_sent_to_a_node_that_never_attaches_is_unread_over_restarts_of_the_writer(
    flow: Flow,
):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out], restart: on-failure, max_restarts: 2,
             restart_delay: 0.01}
          - {id: nobody, path: dynamic, inputs: {x: source/out, y: {source: source/out,
             queue_policy: block}}}
        """,
    )
    flow.write("source.py", SOURCE.replace("COUNT", "50") + "    os._exit(1)\n")

    counts = run(flow, exit_code=1)

    assert counts == {"nobody/x": Counts(150, 0, 0, 150), "nobody/y": Counts(150, 0, 0, 150)}


def test_what_waited_for_a_reader_that_was_killed_is_unread(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {x: {source: source/out, queue_policy: block}}}
        """,
    )
    flow.write("source.py", SOURCE.replace("COUNT", "5"))
    flow.write(
        "sink.py",
        """
        import os, signal
        from dora_rt import Node
        node = Node()
        node.next()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )

    assert run(flow, exit_code=1) == {"sink/x": Counts(5, 1, 0, 4)}
