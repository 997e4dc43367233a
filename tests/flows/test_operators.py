"""Operators: any number in one process, passing values by reference."""

from __future__ import annotations

from tests.harness.finished import Edge
from tests.harness.flow import Flow

SOURCE = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    for number in range(5):
        node.send_output("number", np.int64(number))
"""

CHAIN = """
    nodes:
      - {id: source, path: source.py, outputs: [number]}
      - id: chain
        operators:
          - {id: double, python: double.py, inputs: {x: source/number}, outputs: [twice]}
          - {id: show, python: show.py, inputs: {y: chain/double/twice}}
"""

DOUBLE = """
    from dora_rt import DoraStatus

    class Operator:
        def on_input(self, dora_input, send_output):
            send_output("twice", 2 * dora_input["data"], {"was": int(dora_input["data"])})
            return DoraStatus.CONTINUE
"""

SHOW = """
    from dora_rt import DoraStatus

    class Operator:
        def on_input(self, dora_input, send_output):
            print(sorted(dora_input), dora_input["id"], dora_input["data"],
                  dora_input["metadata"]["was"])
            return DoraStatus.CONTINUE

        def drop_operator(self):
            print("dropped")

        def __del__(self):
            print("deleted")
"""


def write_chain(flow: Flow, **files: str) -> None:
    flow.write("flow.yml", CHAIN)
    texts = {"source": SOURCE, "double": DOUBLE, "show": SHOW, **files}
    for name, text in texts.items():
        flow.write(f"{name}.py", text)


def test_operators_of_one_list_pass_values_on_and_are_dropped_at_the_end(flow: Flow):
    write_chain(flow)

    done = flow.run()

    assert done.lines("chain") == [
        *(f"['data', 'id', 'metadata'] y {2 * number} {number}" for number in range(5)),
        "dropped",
        "deleted",
    ]
    assert done.edge("source/number", "chain/double/x") == Edge(5, 5, 0)
    assert done.edge("chain/double/twice", "chain/show/y") == Edge(5, 5, 0)
    assert done.exit_code == 0


def test_array_reaches_the_next_operator_as_the_same_memory_in_less_than_ten_microseconds(
    flow: Flow,
):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: camera
            operator:
              python: camera.py
              inputs: {tick: dora/timer/secs/100, again: viewer/again}
              outputs: [image]
            runtime: vision
          - id: viewer
            operator: {python: viewer.py, inputs: {image: camera/image}, outputs: [again]}
            runtime: vision
        """,
    )
    flow.write(
        "camera.py",
        """
        import time
        import numpy as np
        from dora_rt import DoraStatus

        class Operator:
            def __init__(self):
                self.frame = np.zeros((1080, 1920, 3), np.uint8)
                self.address = self.frame.__array_interface__["data"][0]

            def on_input(self, dora_input, send_output):
                metadata = {"address": self.address, "sent_ns": time.perf_counter_ns()}
                send_output("image", self.frame, metadata)
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "viewer.py",
        """
        import statistics, time
        from dora_rt import DoraStatus

        class Operator:
            def __init__(self):
                self.passed_ns = []

            def on_input(self, dora_input, send_output):
                now_ns = time.perf_counter_ns()
                image, metadata = dora_input["data"], dora_input["metadata"]
                self.passed_ns.append(now_ns - metadata["sent_ns"])
                assert image.__array_interface__["data"][0] == metadata["address"]
                assert image.shape == (1080, 1920, 3) and not image.flags.writeable
                if len(self.passed_ns) < 2000:
                    send_output("again", b"")
                    return DoraStatus.CONTINUE
                # The quietest of twenty stretches: others may use this machine meanwhile.
                stretches = [self.passed_ns[at:at + 100] for at in range(0, 2000, 100)]
                print(min(map(statistics.median, stretches)))
                return DoraStatus.STOP_ALL
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    assert float(done.lines("vision")[0]) < 10_000


def test_nodes_of_one_runtime_share_a_process_and_no_shared_memory(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: a
            operator: {python: a.py, inputs: {tick: dora/timer/millis/10}, outputs: [pid]}
            runtime: shared
          - id: b
            operator: {python: b.py, inputs: {pid: a/pid}}
            runtime: shared
        """,
    )
    flow.write(
        "a.py",
        """
        import os
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("pid", str(os.getpid()).encode())
                return DoraStatus.STOP
        """,
    )
    flow.write(
        "b.py",
        """
        import os
        from pathlib import Path
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                print(int(dora_input["data"]) == os.getpid())
                mapped = Path("/proc/self/maps").read_text()
                print(sorted({line.split("-")[-1] for line in mapped.splitlines()
                              if "/dev/shm/drt-" in line or "/dev/shm/sem.drt-" in line}))
                return DoraStatus.CONTINUE
        """,
    )

    done = flow.run()

    # The board and the doorbell are all that the process shares with anybody.
    assert done.lines("shared") == ["True", "['board', 'n0']"]
    assert done.ending("shared") == "finished"


def test_stop_ends_one_operator_and_then_those_that_it_fed(flow: Flow):
    write_chain(
        flow,
        double="""
        from dora_rt import DoraStatus

        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("twice", b"x", {"was": int(dora_input["data"])})
                return DoraStatus.STOP if dora_input["data"] == 2 else DoraStatus.CONTINUE

            def drop_operator(self):
                print("double dropped")
        """,
    )

    lines = flow.run().lines("chain")

    assert lines[:3] == [f"['data', 'id', 'metadata'] y b'x' {number}" for number in range(2)] + [
        "double dropped"
    ]
    assert lines[3:] == ["['data', 'id', 'metadata'] y b'x' 2", "dropped", "deleted"]


def test_statuses_of_user_code_count_by_their_value(flow: Flow):
    write_chain(
        flow,
        show="""
        from enum import Enum

        class DoraStatus(Enum):
            CONTINUE = 0
            STOP = 1

        class Operator:
            def on_input(self, dora_input, send_output):
                print(dora_input["data"])
                return DoraStatus.STOP
        """,
    )

    done = flow.run()

    assert done.lines("chain") == ["0"]
    assert done.exit_code == 0


def test_exception_in_an_operator_ends_the_runtime_with_its_traceback_in_the_summary(flow: Flow):
    write_chain(
        flow,
        double="""
        class Operator:
            def on_input(self, dora_input, send_output):
                return 1 / 0
        """,
    )

    done = flow.run()

    summary = done.out[done.out.rindex("node chain failed") :]
    assert "double.py" in summary
    assert "ZeroDivisionError: division by zero" in summary
    assert (
        "operator 'chain/double': on_input raised on input 'x': "
        "ZeroDivisionError: division by zero" in summary
    )
    assert "dropped" in done.lines("chain"), "the other operator was dropped in order"
    assert done.ending("chain") == "failed: exit status 1"
    assert done.exit_code == 1


def test_runtime_that_is_restarted_keeps_its_readers_and_what_waits_in_its_queues(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [number]}
          - id: relay
            restart: on-failure
            restart_delay: 0.02
            max_restarts: 5
            operators:
              - id: pass
                python: pass.py
                inputs: {x: {source: source/number, queue_policy: block, queue_size: 20}}
                outputs: [same]
          - id: sink
            path: sink.py
            inputs: {x: {source: relay/pass/same, queue_policy: block, queue_size: 20}}
        """,
    )
    flow.write(
        "source.py",
        """
        import time
        import numpy as np
        from dora_rt import Node
        node = Node()
        for number in range(40):
            node.send_output("number", np.int64(number))
        while not node.is_stopped():
            time.sleep(0.01)
        """,
    )
    flow.write(
        "pass.py",
        """
        from dora_rt import DoraStatus

        class Operator:
            def on_input(self, dora_input, send_output):
                number = int(dora_input["data"])
                send_output("same", dora_input["data"])
                if number in (7, 21, 33):
                    raise ValueError(f"number {number}")
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "sink.py",
        """
        from dora_rt import Node
        node = Node()
        while (event := node.next_event()) is not None:
            print(getattr(event, "value", type(event).__name__))
            if getattr(event, "value", None) == 39:
                node.stop_dataflow()
        """,
    )

    done = flow.run()

    lines = done.lines("sink")
    numbers = [line for line in lines if line.isdigit()]
    assert numbers == [str(number) for number in range(40)], "nothing is lost on `block` edges"
    assert lines.count("SourceRestarted") == 3
    assert "InputClosed" not in lines[: lines.index("39")], "its source comes back"
    assert done.edge("relay/pass/same", "sink/x") == Edge(sent=40, delivered=40, dropped=0)


def test_answer_that_is_no_status_is_an_error_that_names_the_operator(flow: Flow):
    write_chain(
        flow, show="class Operator:\n    def on_input(self, dora_input, send_output): pass\n"
    )

    done = flow.run()

    assert (
        "operator 'chain/show': on_input returned None on input 'y'; expected "
        "DoraStatus.CONTINUE, STOP or STOP_ALL (from dora_rt import DoraStatus)" in done.out
    )
    assert done.exit_code == 1


def test_undeclared_output_of_an_operator_is_named_with_the_declared_ones(flow: Flow):
    write_chain(flow, double=DOUBLE.replace('"twice"', '"twize"'))

    assert (
        "operator 'chain/double' has no output 'twize'; "
        "its outputs in the dataflow file: twice" in flow.run().out
    )


def test_module_without_operator_class_is_refused(flow: Flow):
    write_chain(flow, show="x = 1\n")

    done = flow.run()

    assert "show.py) has no class `Operator`" in done.out
    assert done.exit_code == 1


def test_operator_imports_what_lies_beside_it_and_two_files_may_have_one_name(flow: Flow):
    for folder in ("left", "right"):
        (flow.folder / folder).mkdir()
        flow.write(
            f"{folder}/work.py",
            f"""
            from {folder}_helper import NAME
            from dora import DoraStatus

            class Operator:
                def on_input(self, dora_input, send_output):
                    print(NAME)
                    return DoraStatus.STOP
            """,
        )
        flow.write(f"{folder}/{folder}_helper.py", f"NAME = {folder!r}\n")
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: both
            operators:
              - {id: left, python: left/work.py, inputs: {tick: dora/timer/millis/10}}
              - {id: right, python: right/work.py, inputs: {tick: dora/timer/millis/10}}
        """,
    )

    done = flow.run()

    assert sorted(done.lines("both")) == ["left", "right"], done.out


def test_bytes_like_values_reach_the_next_operator_as_bytes(flow: Flow):
    write_chain(
        flow,
        double="""
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                send_output("twice", bytearray(b"abc"), {"was": 0})
                return DoraStatus.STOP
        """,
    )

    assert flow.run().lines("chain")[0] == "['data', 'id', 'metadata'] y b'abc' 0"


def test_queue_between_operators_drops_its_oldest(flow: Flow):
    write_chain(
        flow,
        double="""
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                for number in range(30):
                    send_output("twice", bytes([number]), {"was": number})
                return DoraStatus.STOP
        """,
    )

    done = flow.run()

    assert [int(line.split()[-1]) for line in done.lines("chain")[:-2]] == list(range(20, 30))
    assert done.edge("chain/double/twice", "chain/show/y") == Edge(30, 10, 20)
