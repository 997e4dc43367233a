"""The ring under load: real processes, readers of different speed, queue and holding habit.

`make soak` does it for longer.
"""

from __future__ import annotations

import os

import pytest

from tests.harness.finished import Edge
from tests.harness.flow import Flow

SECONDS = 20 if os.environ.get("SOAK") == "1" else 5

FLOW = """
    nodes:
      - id: writer
        path: writer.py
        outputs: [sample]
      - id: newest
        path: reader.py
        args: newest 0.0005 1
        inputs: {sample: {source: writer/sample, queue_policy: latest, max_held: 1}}
      - id: few
        path: reader.py
        args: few 0 5
        inputs: {sample: {source: writer/sample, queue_size: 4, max_held: 3}}
      - id: many
        path: reader.py
        args: many 0.003 2
        inputs: {sample: {source: writer/sample, queue_size: 10}}
"""

WRITER = f"""
    import random, time
    import numpy as np
    from dora_rt import Node

    rng = random.Random(1)
    node = Node()
    ring = node._publishers["sample"]._ring
    slots = len(ring.free)
    node.send_output("sample", b"")
    end = time.monotonic() + {SECONDS}
    number = 1
    while time.monotonic() < end:
        nbytes = int(64 * 2 ** rng.uniform(0, 14))
        with node.loan("sample", nbytes) as sample:
            sample[:] = number % 251
        number += 1
        if number % 64 == 0:
            time.sleep(0.0002)
    node.send_output("sample", b"last")
    deadline = time.monotonic() + 10
    while len(ring.free) < slots and time.monotonic() < deadline:
        for edge in ring.edges:
            ring.collect(edge)
        time.sleep(0.001)
    print("free", len(ring.free), "of", slots, "sent", number + 1)
"""

READER = """
    import random, sys, time
    from collections import deque
    from dora_rt import Node

    name, pause_s, hold = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(name)
    held = deque()
    torn = delivered = dropped = copied = 0
    last_seq = -1
    is_last = False
    for event in Node():
        delivered += 1
        dropped += event.dropped
        copied += event.copied
        assert event.seq == last_seq + 1 + event.dropped, (event.seq, last_seq, event.dropped)
        last_seq = event.seq
        is_last = event.value == b"last" if isinstance(event.value, bytes) else False
        if not isinstance(event.value, bytes):
            held.append((event.seq, event.value))
            torn += bool((event.value != event.seq % 251).any())
        # Looked at again when it is let go: nobody may have written to it meanwhile.
        while held and (is_last or len(held) > hold or rng.random() < 0.4):
            seq, value = held.popleft()
            torn += bool((value != seq % 251).any())
            del value
        if pause_s and rng.random() < 0.2:
            time.sleep(pause_s)
        event = None
    print("torn", torn, "delivered", delivered, "dropped", dropped, "copied", copied)
"""


@pytest.mark.slow
def test_no_sample_is_torn_and_every_one_is_accounted_for(flow: Flow):
    flow.write("flow.yml", FLOW)
    flow.write("writer.py", WRITER)
    flow.write("reader.py", READER)

    done = flow.run(timeout_s=SECONDS + 40)

    assert done.exit_code == 0, done.out
    _, free, _, slots, _, sent = done.lines("writer")[0].split()
    assert free == slots
    assert int(sent) > 1000 * SECONDS / 4
    for reader in ("newest", "few", "many"):
        words = done.lines(reader)[0].split()
        counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        assert counts["torn"] == 0
        assert counts["delivered"] + counts["dropped"] == int(sent)
        assert done.edge("writer/sample", f"{reader}/sample") == Edge(
            int(sent), counts["delivered"], counts["dropped"]
        )
    # The faults that the test is about took place.
    assert done.edge("writer/sample", "newest/sample").dropped > 0
    assert " copied 0" not in done.lines("few")[0]
