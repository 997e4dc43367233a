"""`clock:` in a dataflow: `node.now()`, timers and `sync` follow one output in all nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.flow import Flow

# Sets the clock to each time, and waits until the follower has seen it: no time passes in between.
SIMULATOR = """
    import sys
    import numpy as np
    from dora_rt import Node
    with Node() as node:
        node.send_output("image", b"before")
        for text in sys.argv[1:]:
            assert node.next() is not None
            node.send_output("clock", np.int64(int(text) * 1_000_000))
            assert node.now() == int(text) * 1_000_000
            node.send_output("image", text.encode())
        node.next()
"""
FOLLOWER = """
    import json
    from dora_rt import Node
    def take(tick):
        ticks.append([tick.seq, tick.dropped, tick.metadata["clock_ns"] // 1_000_000])
    seen, ticks = [], []
    with Node() as node:
        for event in node:
            if event.id == "tick":
                take(event)
                continue
            # What is due by now is there already.
            while (tick := node.try_next()) is not None:
                take(tick)
            seen.append([event.value.decode(), node.now() // 1_000_000, ticks])
            ticks = []
            node.send_output("done", b"")
    print(json.dumps(seen))
"""
FLOW = """
    clock: simulator/clock
    nodes:
      - id: simulator
        path: simulator.py
        args: {times}
        inputs: {{done: follower/done}}
        outputs: [clock, image]
      - id: follower
        path: follower.py
        inputs:
          image: {{source: simulator/image, queue_policy: block}}
          tick: dora/timer/millis/100
        outputs: [done]
"""


def seen_at(flow: Flow, times: str, pure: str = "0") -> list[Any]:
    """Set the clock to each time in milliseconds; return what the follower saw at each."""
    flow.write("simulator.py", SIMULATOR)
    flow.write("follower.py", FOLLOWER)
    flow.write("flow.yml", FLOW.format(times=times))

    run = flow.run(env={"DORA_RT_PURE": pure})

    assert run.exit_code == 0, run.err
    found: list[Any] = json.loads(run.lines("follower")[0])
    return found


@pytest.mark.parametrize("pure", ["0", "1"])
def test_now_and_timers_follow_the_clock(flow: Flow, pure: str):
    seen = seen_at(flow, "5 99 100 150 250 251", pure)

    assert seen == [
        ["before", 0, []],
        ["5", 5, [[0, 0, 5]]],
        ["99", 99, []],
        ["100", 100, [[1, 0, 100]]],
        ["150", 150, []],
        ["250", 250, [[2, 0, 200]]],
        ["251", 251, []],
    ]


def test_a_clock_that_jumps_ahead_makes_one_tick_and_counts_the_others(flow: Flow):
    seen = seen_at(flow, "0 3600000 3600100")

    assert seen[1:] == [
        ["0", 0, [[0, 0, 0]]],
        ["3600000", 3_600_000, [[36_000, 35_999, 3_600_000]]],
        ["3600100", 3_600_100, [[36_001, 0, 3_600_100]]],
    ]


def test_a_clock_that_jumps_back_makes_one_tick_and_timers_go_on_from_there(flow: Flow):
    seen = seen_at(flow, "3600000 7 99 100 3600000 3599950 3599940")

    assert seen[1:] == [
        ["3600000", 3_600_000, [[0, 0, 3_600_000]]],
        ["7", 7, [[1, 0, 7]]],
        ["99", 99, []],
        ["100", 100, [[2, 0, 100]]],
        ["3600000", 3_600_000, [[36_001, 35_998, 3_600_000]]],
        ["3599950", 3_599_950, [[36_002, 0, 3_599_950]]],
        ["3599940", 3_599_940, []],
    ]
