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


def test_sync_goes_by_the_clock_and_answers_keep_its_time_through_operators(flow: Flow):
    flow.write(
        "simulator.py",
        """
        import time
        import numpy as np
        from dora_rt import Node
        node = Node()
        for number in range(10):
            node.send_output("clock", np.int64(number * 1_000_000))
            node.send_output("left", bytes([number]))
            time.sleep(0.003)
            node.send_output("right", bytes([number]))
        """,
    )
    operator = """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("value", dora_input["data"])
                return DoraStatus.CONTINUE
        """
    flow.write("pass_on.py", operator)
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        for event in Node():
            pair = event["left"], event["right"]
            assert pair[1].origin_ns - pair[0].origin_ns >= 3_000_000
            assert pair[0].metadata["clock_ns"] == pair[1].metadata["clock_ns"]
            print(*(one.value[0] for one in pair), pair[0].metadata["clock_ns"] // 1_000_000)
        """,
    )
    flow.write(
        "flow.yml",
        """
        clock: simulator/clock
        nodes:
          - {id: simulator, path: simulator.py, outputs: [clock, left, right]}
          - id: chain
            operators:
              - id: first
                python: pass_on.py
                inputs: {value: {source: simulator/left, queue_policy: block}}
                outputs: [value]
              - id: second
                python: pass_on.py
                inputs: {value: chain/first/value}
                outputs: [value]
          - id: sink
            path: sink.py
            sync: {slop_ms: 0}
            inputs:
              left: {source: chain/second/value, queue_policy: block}
              right: {source: simulator/right, queue_policy: block}
        """,
    )

    run = flow.run()

    assert run.exit_code == 0, run.out
    sets = [line for line in run.lines("sink") if line[0].isdigit()]
    assert sets == [f"{number} {number} {number}" for number in range(10)]


OF_DORA = """
    from dora import Node
    node = Node()
    for event in node:
        if event["type"] == "INPUT":
            print(event["id"], event["metadata"]["clock_ns"], flush=True)
            node.send_output("done", b"")
"""
OPERATOR = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            print(dora_input["id"], dora_input["metadata"]["clock_ns"], flush=True)
            send_output("done", b"")
            return DoraStatus.CONTINUE
"""


@pytest.mark.parametrize(
    ("program", "is_traced"),
    [("path: follower.py", True), ("operator: {python: follower.py, %s}", False)],
)
def test_timers_of_operators_and_of_nodes_of_dora_follow_the_clock(
    flow: Flow, program: str, is_traced: bool
):
    flow.write(
        "simulator.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for clock_ns in (3, 100_000_000, 200_000_000):
            node.send_output("clock", np.int64(clock_ns))
            node.next()
        """,
    )
    flow.write("follower.py", OPERATOR if "operator" in program else OF_DORA)
    ports = "inputs: {tick: dora/timer/millis/100}, outputs: [done]"
    follower = program % ports if "%s" in program else f"{program}, {ports}"
    flow.write(
        "flow.yml",
        f"""
        clock: simulator/clock
        nodes:
          - id: simulator
            path: simulator.py
            inputs: {{done: follower/done}}
            outputs: [clock]
          - {{id: follower, {follower}}}
        """,
    )
    trace = flow.folder / "trace.json"

    run = flow.run(*(["--trace", str(trace)] if is_traced else []))

    assert run.exit_code == 0, run.out
    assert run.lines("follower") == ["tick 3", "tick 100000000", "tick 200000000"]
    assert trace.is_file() == is_traced


def test_an_operator_may_be_the_clock_also_of_operators_beside_it(flow: Flow):
    flow.write(
        "simulator.py",
        """
        import numpy as np
        from dora_rt import DoraStatus
        class Operator:
            clock_ns = 0
            def on_input(self, dora_input, send_output):
                if dora_input["id"] == "done":
                    is_over = dora_input["data"][()] >= 300_000_000
                    return DoraStatus.STOP if is_over else DoraStatus.CONTINUE
                send_output("clock", np.int64(self.clock_ns))
                self.clock_ns += 50_000_000
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "follower.py",
        """
        import numpy as np
        from dora_rt import Node
        with Node() as node:
            for event in node:
                assert node.now() >= event.metadata["clock_ns"]
                print(event.metadata["clock_ns"] // 1_000_000, flush=True)
                node.send_output("done", np.int64(node.now()))
        """,
    )
    flow.write(
        "beside.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                assert dora_input["metadata"]["clock_ns"] == dora_input["data"]
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "flow.yml",
        """
        clock: sim/simulator/clock
        nodes:
          - id: sim
            operators:
              - id: simulator
                python: simulator.py
                inputs: {tick: dora/timer/millis/20, done: follower/done}
                outputs: [clock]
              - {id: beside, python: beside.py, inputs: {clock: sim/simulator/clock}}
          - id: follower
            path: follower.py
            inputs: {tick: dora/timer/millis/100}
            outputs: [done]
        """,
    )

    run = flow.run()

    assert run.exit_code == 0, run.out
    first, *others = map(int, run.lines("follower"))
    assert first % 50 == 0, "it may be late on a busy machine"
    assert {time_ms % 100 for time_ms in others} <= {0}
