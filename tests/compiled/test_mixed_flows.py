"""Real dataflows in which compiled nodes meet nodes in pure Python."""

from __future__ import annotations

import pytest

from dora_rt.compiled import IS_COMPILED
from tests.harness.flow import Flow

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="there is no compiled code here")

PURE, COMPILED = '{DORA_RT_PURE: "1"}', "{}"
SAMPLES = 400

FLOW = """
nodes:
  - id: sender
    path: sender.py
    env: {sender}
    inputs: {{answers: {{source: answerer/answers, queue_size: 4}}}}
    outputs: [all, newest, some]
  - id: answerer
    path: answerer.py
    env: {reader}
    inputs:
      all: {{source: sender/all, queue_size: 5, queue_policy: block}}
      newest: {{source: sender/newest, queue_policy: latest}}
      some: {{source: sender/some, queue_size: 3, queue_policy: drop_oldest}}
      tick: dora/timer/millis/20
    outputs: [answers]
"""

SENDER = f"""
import numpy as np
from dora_rt import Node
from dora_rt.compiled import describe_code

node = Node()
print(describe_code())
for number in range({SAMPLES}):
    size = 6000 if number % 3 else 5
    node.send_output("all", np.full(size, number), {{"n": number}} if number % 2 else None)
    node.send_output("newest", np.full(3, number))
    node.send_output("some", b"%d" % number)
    if number % 50 == 49:
        with node.loan("some", 4, "int64") as array:
            array[:] = -number
        try:
            assert node.next(timeout=10).value[0] <= number
        except TimeoutError:
            print("no answer")
"""

ANSWERER = """
import numpy as np
from dora_rt import Node
from dora_rt.compiled import describe_code

node = Node()
print(describe_code())
last = {}
taken = dropped = 0
for event in node:
    if event.id == "tick":
        continue
    assert event.seq > last.get(event.id, -1), event
    last[event.id] = event.seq
    if event.id == "all":
        assert event.dropped == 0
        assert event.seq == taken and (event.value == event.seq).all(), event
        assert event.metadata.get("n") == (event.seq if event.seq % 2 else None)
        taken += 1
        if event.seq % 50 == 49:
            node.send_output("answers", np.array([event.seq]))
    elif event.id == "newest":
        assert (event.value == event.seq).all()
    else:
        dropped += event.dropped
        value = event.value
        assert int(value) >= 0 if isinstance(value, bytes) else (value < 0).all()
print(taken, last["newest"], last["some"])
"""


@pytest.mark.parametrize(
    "sender, reader", [(PURE, COMPILED), (COMPILED, PURE)], ids=["pure sender", "pure reader"]
)
def test_nodes_of_both_kinds_understand_each_other(flow: Flow, sender: str, reader: str):
    flow.write("flow.yml", FLOW.format(sender=sender, reader=reader))
    flow.write("sender.py", SENDER)
    flow.write("answerer.py", ANSWERER)

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    said = {PURE: "pure Python: DORA_RT_PURE is set", COMPILED: "compiled"}
    assert done.lines("sender") == [said[sender]]
    last_some = SAMPLES + SAMPLES // 50 - 1
    expected = f"{SAMPLES} {SAMPLES - 1} {last_some}"
    assert done.lines("answerer") == [said[reader], expected]
    for output in ("all", "newest", "some"):
        edge = done.edge(f"sender/{output}", f"answerer/{output}")
        assert edge.sent == edge.delivered + edge.dropped, output
