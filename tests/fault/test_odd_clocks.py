"""Faults of a clock: it stands still, dies, is started again, is no time, or does not exist."""

from __future__ import annotations

import signal

import pytest

from tests.descriptor.bad_inputs import refusal_lines
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

STILL = """
    clock: simulator/clock
    nodes:
      - {id: simulator, path: simulator.py, inputs: {tick: dora/timer/millis/20}, outputs: [clock]}
      - {id: follower, path: follower.py, inputs: {tick: dora/timer/millis/10}}
"""


def test_timers_of_a_clock_that_stands_still_do_not_tick_and_waits_and_ctrl_c_end(flow: Flow):
    # It sends its one time again and again, by its own timer, which is real.
    flow.write(
        "simulator.py",
        "import numpy as np\nfrom dora_rt import Node\nnode = Node()\n"
        "for event in node:\n    node.send_output('clock', np.int64(5))\n",
    )
    flow.write(
        "follower.py",
        """
        from dora_rt import Node
        node = Node()
        print("first", node.next().id, node.now(), flush=True)
        for _ in range(3):
            try:
                print("next", node.next(timeout=0.1), flush=True)
            except TimeoutError:
                print("timed out", node.now(), flush=True)
        print("end", node.next())
        """,
    )
    file = flow.write("flow.yml", STILL)
    log = flow.folder / "out" / "log"
    launcher = flow.start("--log-dir", str(log), file=file)

    def has_waited() -> bool:
        path = log / "follower.log"
        return path.is_file() and path.read_text().count("timed out 5") == 3

    eventually(has_waited)
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=30)

    assert launcher.returncode == 130, err
    lines = [line for line in out.splitlines() if "follower" in line]
    assert any("first tick 5" in line for line in lines), out
    assert any("end None" in line for line in lines), out
    assert not any("next" in line for line in lines), out


def test_timers_go_on_when_the_source_of_the_clock_was_started_again_and_end_with_it(flow: Flow):
    flow.write(
        "simulator.py",
        """
        import os, pathlib
        import numpy as np
        from dora_rt import Node
        life = pathlib.Path("life")
        is_second = life.exists()
        life.touch()
        node = Node()
        def set_clock(millis):
            node.send_output("clock", np.int64(millis * 1_000_000))
        if is_second:
            assert node.now() == 1_200_000_000, "the clock stood still meanwhile"
        for millis in (0, 100, 200) if is_second else (1000, 1100, 1200):
            set_clock(millis)
            node.next()
        if not is_second:
            os._exit(1)
        """,
    )
    flow.write(
        "follower.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            print(event.id, event.seq, event.dropped, node.now() // 1_000_000, flush=True)
            node.send_output("done", b"")
        """,
    )
    flow.write(
        "flow.yml",
        """
        clock: simulator/clock
        nodes:
          - id: simulator
            path: simulator.py
            inputs: {done: follower/done}
            outputs: [clock]
            restart: on-failure
            restart_delay: 0.01
          - id: follower
            path: follower.py
            inputs: {tick: dora/timer/millis/100}
            outputs: [done]
        """,
    )

    run = flow.run()

    assert run.exit_code == 0, run.err
    assert run.lines("follower") == [
        *("tick 0 0 1000", "tick 1 0 1100", "tick 2 0 1200"),
        *("tick 3 0 0", "tick 4 0 100", "tick 5 0 200"),
    ]
    assert "simulator, which was the clock, has ended: follower, which only has timers" in run.out


NO_TIMES = """
    import numpy as np
    from dora_rt import Node
    from dora_rt.errors import UnsupportedValueError
    values = [np.float64(1.5), np.array([1, 2]), np.uint64(5), b"12345678", np.int64(-1)]
    with Node() as node:
        for value in values:
            try:
                node.send_output("clock", value)
            except UnsupportedValueError as error:
                print(error)
        for value in values:
            if not isinstance(value, bytes):
                try:
                    with node.loan("clock", value.shape, value.dtype) as array:
                        array[...] = value
                except UnsupportedValueError as error:
                    print("loan:", error)
        print(node.now())
        with node.loan("clock", (), "int64") as time:
            time[...] = 7
        print(node.now())
"""


def test_a_sample_that_is_no_time_is_refused_by_what_it_is(flow: Flow):
    flow.write("simulator.py", NO_TIMES)
    flow.write(
        "flow.yml",
        "clock: simulator/clock\nnodes: [{id: simulator, path: simulator.py, outputs: [clock]}]",
    )

    run = flow.run()

    assert run.exit_code == 0, run.out
    error = (
        "node 'simulator', output 'clock': 'clock' of the dataflow names this output, so a sample "
        "is one int64, nanoseconds from 0 to 9223372036854775807, such as np.int64(1_500_000_000); "
        "got"
    )
    assert run.lines("simulator") == [
        *(f"{error} {got}" for got in ("float64 ()", "int64 (2,)", "uint64 ()", "8 bytes", "-1")),
        *(f"loan: {error} {got}" for got in ("float64 ()", "int64 (2,)", "uint64 ()", "-1")),
        *("0", "7"),
    ]


NODES = """nodes:
  - {id: simulator, path: a.py, outputs: [clock], send_stdout_as: lines}
  - {id: many, operators: [{id: op, python: b.py, outputs: [clock]}]}
"""


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (
            "simulator/clok",
            "'clock' is 'simulator/clok', but output 'clok' of node 'simulator' does not exist; "
            "it has: clock, lines",
        ),
        (
            "simulater/clock",
            "'clock' is 'simulater/clock', but no node 'simulater' exists; did you mean "
            "'simulator'?",
        ),
        (
            "many/clock",
            "'clock' is 'many/clock', but node 'many' has a list of operators; write "
            "many/<operator>/clock with one of: op",
        ),
        (
            "simulator/lines",
            "'clock' is 'simulator/lines', but that output has the lines that the node prints; "
            "name one whose samples are int64, in nanoseconds",
        ),
        (
            "simulator",
            "'clock' of the dataflow: expected <node>/<output>, got 'simulator'; such as "
            "camera/image, or dora/timer/millis/100 for a timer",
        ),
        (
            "dora/timer/millis/100",
            "'clock' of the dataflow: expected <node>/<output>, got 'dora/timer/millis/100'; such "
            "as simulator/clock; without 'clock' timers are real time",
        ),
        ("5", "'clock' of the dataflow: expected a string, got integer '5': quote it (\"5\")"),
    ],
)
def test_a_clock_that_does_not_exist_is_refused_at_its_place(clock: str, message: str):
    assert refusal_lines(f"clock: {clock}\n{NODES}") == [f"1:8: {message}"]
