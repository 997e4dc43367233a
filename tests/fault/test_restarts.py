"""Nodes that die and come back: who is restarted, how often, and what their peers lose."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest

from dora_rt.descriptor.tree.model import RestartPolicy, Supervision
from dora_rt.launcher.supervision.restart_policy import Restarts
from tests.harness.finished import Edge
from tests.harness.flow import Flow

SECOND_NS = 1_000_000_000


def delays_s(supervision: Supervision, times_s: list[float]) -> list[float | None]:
    """Let a node fail at these times; give the delays without their jitter."""
    restarts = Restarts(supervision, random.Random(1))
    delays = []
    for time_s in times_s:
        delay_ns = restarts.delay_ns(int(time_s * SECOND_NS), is_failure=True)
        delays.append(None if delay_ns is None else delay_ns / SECOND_NS)
    return delays


def test_delay_doubles_up_to_its_limit_with_jitter_on_top():
    supervision = Supervision(
        RestartPolicy.ALWAYS, max_restarts=0, restart_delay_s=0.5, max_restart_delay_s=3.0
    )

    delays = delays_s(supervision, [0, 1, 2, 3, 4, 5])

    for delay, base in zip(delays, [0.5, 1.0, 2.0, 3.0, 3.0, 3.0], strict=True):
        assert delay is not None
        assert base <= delay <= 1.2 * base
    assert len({round(delay % 0.5, 6) for delay in delays if delay}) > 1


def test_restarts_beyond_the_limit_within_the_window_are_refused():
    supervision = Supervision(RestartPolicy.ON_FAILURE, max_restarts=3, restart_window_s=60)

    delays = delays_s(supervision, [0, 1, 2, 3])

    assert [delay is None for delay in delays] == [False, False, False, True]


@pytest.mark.parametrize("delay_s", [0.0, 0.001])
def test_node_without_a_limit_may_come_back_thousands_of_times(delay_s: float):
    supervision = Supervision(
        RestartPolicy.ALWAYS,
        max_restarts=0,
        restart_delay_s=delay_s,
        max_restart_delay_s=1,
        restart_window_s=86400,
    )

    delays = delays_s(supervision, [float(time_s) for time_s in range(3000)])

    assert len(delays) == 3000
    assert all(delay is not None and delay <= 1.2 for delay in delays)


def test_crashes_spaced_wider_than_the_window_are_each_restarted_after_the_first_delay():
    supervision = Supervision(RestartPolicy.ON_FAILURE, max_restarts=1, restart_window_s=10)

    delays = delays_s(supervision, [0, 11, 22, 33])

    assert all(delay is not None and 0.5 <= delay <= 0.6 for delay in delays)


COUNTING = """
    import sys, time
    from pathlib import Path
    marks = Path("starts")
    with marks.open("a") as file:
        file.write(f"{time.monotonic()}\\n")
    sys.exit(%d)
"""


def starts(flow: Flow) -> list[float]:
    return [float(line) for line in (flow.folder / "starts").read_text().split()]


def test_node_that_always_fails_is_started_four_times_and_then_given_up(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: crash, path: crash.py, restart: on-failure, max_restarts: 3, "
        "restart_delay: 0.1}]",
    )
    flow.write("crash.py", COUNTING % 1)

    done = flow.run()

    times = starts(flow)
    assert len(times) == 4
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.1
    assert gaps[1] >= 0.2
    assert gaps[2] >= 0.4
    assert "node crash failed: exit status 1; given up after 3 restarts" in done.out
    assert done.ending("crash") == "failed: exit status 1"
    assert re.search(r"^crash +failed: exit status 1 +3 ", done.out, re.M)
    assert done.exit_code == 1


SOURCE = """
    import sys, time
    import numpy as np
    from dora_rt import Node
    node = Node()
    for number in range(int(sys.argv[1])):
        node.send_output("number", np.int64(number), {"start": STARTS})
        time.sleep(0.001)
"""

CRASHING_READER = """
    import os, signal, sys
    from pathlib import Path
    from dora_rt import Node
    taken = Path("taken")
    node = Node()
    count = 0
    for event in node:
        with taken.open("a") as file:
            file.write(f"{int(event.value)}\\n")
        count += 1
        if count == 20 and len(taken.read_text().split()) < 60:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def write_crashing_reader(flow: Flow, policy: str) -> None:
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: source, path: source.py, args: "300", outputs: [number]}}
          - id: reader
            path: reader.py
            restart: on-failure
            restart_delay: 0.02
            inputs: {{number: {{source: source/number, {policy}}}}}
          - id: other
            path: other.py
            inputs: {{number: {{source: source/number, queue_size: 1000}}}}
        """,
    )
    flow.write("source.py", SOURCE.replace("STARTS", "0"))
    flow.write("reader.py", CRASHING_READER)
    flow.write(
        "other.py",
        """
        from dora_rt import Node
        print([int(event.value) for event in Node()] == list(range(300)))
        """,
    )


def taken(flow: Flow) -> list[int]:
    return [int(line) for line in (flow.folder / "taken").read_text().split()]


@pytest.mark.parametrize("policy", ["queue_policy: block, queue_size: 3", "queue_size: 1000"])
def test_killed_reader_loses_nothing_but_what_was_in_its_hands(flow: Flow, policy: str):
    write_crashing_reader(flow, policy)

    done = flow.run()

    assert done.exit_code == 0, done.out
    assert done.out.count("node reader failed: SIGKILL (Killed); restart") == 2
    # Each time it had written down the last sample it took: so not even that one is missing.
    assert taken(flow) == list(range(300))
    assert done.edge("source/number", "reader/number") == Edge(300, 300, 0)
    assert done.lines("other") == ["True"], "the other reader noticed nothing"


def test_newest_sample_waits_for_a_reader_that_comes_back(flow: Flow):
    write_crashing_reader(flow, "queue_policy: latest")

    done = flow.run()

    numbers = taken(flow)
    assert done.exit_code == 0, done.out
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 299
    edge = done.edge("source/number", "reader/number")
    assert edge.sent == 300
    assert edge.delivered == len(numbers)
    assert edge.delivered + edge.dropped == 300


def test_writer_killed_inside_a_loan_comes_back_and_nobody_sees_half_a_frame(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: camera
            path: camera.py
            restart: on-failure
            restart_delay: 0.02
            outputs: [frame]
          - id: viewer
            path: viewer.py
            inputs: {frame: {source: camera/frame, queue_policy: block}}
        """,
    )
    flow.write(
        "camera.py",
        """
        import os, signal
        from pathlib import Path
        from dora_rt import Node
        starts = Path("starts")
        start = int(starts.read_text()) if starts.exists() else 0
        starts.write_text(str(start + 1))
        node = Node()
        for number in range(10):
            with node.loan("frame", (100, 100), "uint8", {"start": start}) as frame:
                frame[:50] = 10 * start + number
                if number == 9 and start < 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                frame[50:] = 10 * start + number
        """,
    )
    flow.write(
        "viewer.py",
        """
        import json
        from dora_rt import Node
        from dora_rt.event import Event, InputClosed, SourceRestarted
        node = Node()
        seen = []
        while (event := node.next_event()) is not None:
            if isinstance(event, Event):
                assert (event.value == event.value[0, 0]).all(), "half a frame"
                seen.append(int(event.value[0, 0]))
            else:
                seen.append(repr(event))
        print(json.dumps(seen))
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    seen = json.loads(done.lines("viewer")[0])
    restarted = "SourceRestarted('frame')"
    assert seen == [
        *range(0, 9),
        restarted,
        *range(10, 19),
        restarted,
        *range(20, 29),
        restarted,
        *range(30, 40),
        "InputClosed('frame', is_final=True)",
    ]
    assert done.edge("camera/frame", "viewer/frame") == Edge(37, 37, 0)


def test_exception_in_a_restarted_writer_is_no_end_for_its_readers(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, restart: always, max_restarts: 2, restart_delay: 0.05,
             outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: source/out}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        with Node() as node:
            node.send_output("out", b"x")
            raise ValueError("sensor lost")
        """,
    )
    flow.write("sink.py", "from dora_rt import Node\nprint(len(list(Node())))\n")

    done = flow.run()

    assert done.lines("sink") == ["3"]
    assert done.exit_code == 1


def test_node_without_which_the_flow_makes_no_sense_ends_it(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: brain, path: brain.py, on_exit: stop_all}
          - {id: clock, path: clock.py, inputs: {tick: dora/timer/millis/20}}
        """,
    )
    flow.write(
        "brain.py",
        """
        import time
        from pathlib import Path
        while not Path("ticked").exists():
            time.sleep(0.01)
        """,
    )
    flow.write(
        "clock.py",
        """
        from pathlib import Path
        from dora_rt import Node
        for event in Node():
            Path("ticked").touch()
        """,
    )

    done = flow.run()

    assert "brain has ended, and the dataflow ends with it" in done.out
    assert done.ending("clock") == "stopped"
    assert done.exit_code == 0


def test_node_that_is_never_ready_is_killed_by_its_startup_timeout(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: stuck, path: stuck.py, startup_timeout: 0.5, "
        "inputs: {tick: dora/timer/millis/10}}]",
    )
    flow.write("stuck.py", "import time\ntime.sleep(60)\n")

    done = flow.run()

    assert done.ending("stuck") == "killed: not ready within 0.5 s"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    "fault",
    ["os.kill(os.getpid(), signal.SIGSTOP)", "while True: pass"],
    ids=["SIGSTOP", "endless loop"],
)
def test_node_that_hangs_is_killed_and_restarted(flow: Flow, fault: str):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: hang
            path: hang.py
            restart: on-failure
            restart_delay: 0.05
            heartbeat_timeout: 0.5
            inputs: {tick: dora/timer/millis/10}
        """,
    )
    flow.write(
        "hang.py",
        f"""
        import os, signal
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        node.next()
        mark = Path("hung")
        if not mark.exists():
            mark.touch()
            {fault}
        for _ in range(60):  # for longer than it may be silent
            node.next()
        print("fine")
        """,
    )

    done = flow.run()

    assert "node hang killed: hung: no heartbeat for 0.5 s; restart 1" in done.out
    assert done.lines("hang") == ["fine"]
    assert done.ending("hang") == "finished"
    assert done.exit_code == 0


def test_waiting_for_an_input_is_a_heartbeat(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: waits, path: waits.py, heartbeat_timeout: 0.3, inputs: {out: source/out}}
        """,
    )
    flow.write(
        "source.py",
        "import time\nfrom dora_rt import Node\nnode = Node()\ntime.sleep(0.8)\n"
        "node.send_output('out', b'x')\n",
    )
    flow.write("waits.py", "from dora_rt import Node\nprint(len(list(Node())))\n")

    done = flow.run()

    assert done.lines("waits") == ["1"]
    assert done.ending("waits") == "finished"


def test_silence_of_an_input_is_told_and_so_is_its_end(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: watch, path: watch.py, inputs: {out: {source: source/out, input_timeout: 0.3}}}
        """,
    )
    flow.write(
        "source.py",
        """
        import time
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        time.sleep(0.4)
        node.send_output("out", b"x")
        while not Path("told").exists():
            time.sleep(0.005)
        node.send_output("out", b"y")
        """,
    )
    flow.write(
        "watch.py",
        """
        from pathlib import Path
        from dora_rt import InputClosed, Node
        node = Node()
        while (event := node.next_event()) is not None:
            print(event)
            if isinstance(event, InputClosed):
                Path("told").touch()
        """,
    )

    done = flow.run()

    # Armed by the first sample: a source may need long to begin.
    assert done.lines("watch") == [
        "Event('out', 1 byte, seq=0, dropped=0)",
        "InputClosed('out', is_final=False)",
        "InputRecovered('out')",
        "Event('out', 1 byte, seq=1, dropped=0)",
        "InputClosed('out', is_final=True)",
    ]


def test_server_that_comes_back_gets_the_requests_of_a_client_that_waits_for_it(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: client, path: client.py, inputs: {answer: server/answer}, outputs: [request]}
          - id: server
            path: server.py
            restart: on-failure
            restart_delay: 0.1
            inputs: {request: {source: client/request, queue_policy: block}}
            outputs: [answer]
        """,
    )
    flow.write(
        "client.py",
        """
        from dora_rt import Node
        node = Node()
        for request in (b"1", b"2", b"3"):
            node.send_output("request", request)
        print(*(node.next(timeout=20).value.decode() for _ in range(2)))
        node.stop_dataflow()
        """,
    )
    flow.write(
        "server.py",
        """
        import os
        from dora_rt import Node
        node = Node()
        for event in node:
            if event.value == b"1":
                os._exit(1)
            node.send_output("answer", event.value)
        """,
    )

    done = flow.run()

    assert done.lines("client") == ["2 3"]


def test_writer_that_waits_for_room_lives_as_its_heartbeat_says(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: writer, path: writer.py, heartbeat_timeout: 0.6, outputs: [x]}
          - id: reader
            path: reader.py
            inputs: {x: {source: writer/x, queue_policy: block, queue_size: 1}}
        """,
    )
    flow.write(
        "writer.py",
        """
        from dora_rt import Node
        node = Node()
        for _ in range(4):
            node.send_output("x", b"")
        print("sent")
        """,
    )
    flow.write(
        "reader.py",
        """
        import time
        from dora_rt import Node
        for number, event in enumerate(Node()):
            if not number:
                time.sleep(2)  # busy with the first, longer than a writer may be silent
        """,
    )

    done = flow.run()

    assert done.lines("writer") == ["sent"]
    assert done.exit_code == 0
