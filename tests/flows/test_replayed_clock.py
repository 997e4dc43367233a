"""`dora-rt replay` of a dataflow with a clock, and with `--clock`: the time of the recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.replay.recording import Recording

from tests.harness.flow import Flow
from tests.harness.verbs import verb, verb_apart

PERIOD_NS = 50_000_000
SOURCE = """
    import time
    import numpy as np
    from dora_rt import Node
    node = Node()
    for number in range(8):
        if "clock" in node.output_ids():
            node.send_output("clock", np.int64(number * 25_000_000))
        node.send_output("image", bytes([number]))
        time.sleep(0.025)
"""
PROBE = """
    import json
    from dora_rt import Node
    seen = []
    with Node() as node:
        for event in node:
            clock_ns = event.metadata.get("clock_ns")
            seen.append([event.id, event.seq, event.dropped, clock_ns, node.now()])
    with open("probe.json", "w") as file:
        json.dump(seen, file)
"""
FLOW = """
    {clock}
    nodes:
      - {{id: source, path: source.py, outputs: [{outputs}]}}
      - id: probe
        path: probe.py
        inputs:
          image: {{source: source/image, queue_policy: block}}
          tick: {{source: dora/timer/millis/50}}
"""


def record(flow: Flow, clock: str = "", outputs: str = "image") -> Path:
    file = flow.write("flow.yml", FLOW.format(clock=clock, outputs=outputs))
    flow.write("source.py", SOURCE)
    flow.write("probe.py", PROBE)
    path = flow.folder / "out" / "drive.mcap"
    recorded = verb_apart("record", str(file), "-o", str(path))
    assert recorded.exit_code == 0, recorded.out + recorded.err
    return path


def seen(flow: Flow, event_id: str) -> list[Any]:
    found = json.loads((flow.folder / "probe.json").read_text())
    return [rest for found_id, *rest in found if found_id == event_id]


@pytest.mark.parametrize("rate", ["1", "4"])
def test_with_clock_now_and_timers_follow_the_time_of_the_recording(flow: Flow, rate: str):
    path = record(flow)
    recording = Recording.open(path)
    begin_ns, end_ns = recording.begin_ns, recording.end_ns

    replayed = verb_apart("replay", str(path), "--clock", "--rate", rate)

    assert replayed.exit_code == 0, replayed.out + replayed.err
    assert "node.now() and timers follow the time of the recording" in replayed.out
    images, ticks = seen(flow, "image"), seen(flow, "tick")
    assert len(images) == 8
    # The very moments, whatever the pace.
    captured = [clock_ns for _, _, clock_ns, _ in images]
    assert captured == sorted(captured) and captured[-1] - captured[0] >= 7 * 24_000_000
    assert begin_ns - 10**9 < captured[0] <= begin_ns and captured[-1] <= end_ns
    assert all(begin_ns <= now_ns <= end_ns for *_, now_ns in images + ticks)
    first = begin_ns // PERIOD_NS + 1
    multiples = [number * PERIOD_NS for number in range(first, end_ns // PERIOD_NS + 1)]
    # A busy machine may be late, and make one tick of several.
    assert ticks[0][:2] == [0, 0] and begin_ns <= ticks[0][2] <= end_ns
    assert {clock_ns for _, _, clock_ns, _ in ticks[1:]} <= set(multiples)
    assert ticks[-1][0] <= len(multiples)


def test_the_clock_of_the_dataflow_is_replayed_like_any_output(flow: Flow):
    path = record(flow, "clock: source/clock", "clock, image")
    live = seen(flow, "image")
    (flow.folder / "probe.json").unlink()

    replayed = verb_apart("replay", str(path))

    assert replayed.exit_code == 0, replayed.out + replayed.err
    images, ticks = seen(flow, "image"), seen(flow, "tick")
    assert [one[2] for one in images] == [one[2] for one in live]
    assert [one[2] for one in images] == [number * 25_000_000 for number in range(8)]
    assert {one[2] for one in ticks} <= {number * PERIOD_NS for number in range(4)}


def test_a_clock_that_was_not_recorded_and_a_clock_without_a_pace_are_refused(flow: Flow):
    path = record(flow)
    flow.write("flow.yml", FLOW.format(clock="clock: source/clock", outputs="image, clock"))

    refused = verb("replay", str(path), str(flow.folder / "flow.yml"))
    unpaced = verb("replay", str(path), "--clock", "--rate", "0")

    assert refused.exit_code == 2
    assert (
        "'clock' is 'source/clock', which was not recorded; --clock takes the time of the "
        "recording instead" in refused.err
    )
    assert unpaced.exit_code == 2
    assert "a clock needs a pace: --rate above 0" in unpaced.err


def test_a_client_with_timers_ends_with_the_clock_and_its_answers_are_recorded(flow: Flow):
    flow.write(
        "simulator.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for number in range(5):
            node.send_output("clock", np.int64(number * 50_000_000))
            node.next()
        """,
    )
    flow.write(
        "client.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("done", node.call("ask", b"?").value)
        """,
    )
    flow.write(
        "server.py",
        """
        from dora_rt import Node
        node = Node()
        node.serve("plan", lambda request: b"!")
        for event in node:
            pass
        """,
    )
    file = flow.write(
        "flow.yml",
        """
        clock: simulator/clock
        nodes:
          - {id: simulator, path: simulator.py, inputs: {done: client/done}, outputs: [clock]}
          - id: client
            path: client.py
            inputs: {tick: dora/timer/millis/50}
            calls: {ask: server/plan}
            outputs: [done]
          - {id: server, path: server.py, serves: [plan]}
        """,
    )
    path = flow.folder / "drive.mcap"

    recorded = verb_apart("record", str(file), "-o", str(path))

    assert recorded.exit_code == 0, recorded.out + recorded.err
    assert "simulator, which was the clock, has ended: client" in recorded.out
    samples = Recording.open(path).samples
    assert samples["server/plan.response/client"] == samples["client/ask.request"] == 5
