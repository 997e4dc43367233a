"""What programs do that nobody meant them to do, and what must not come of it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import numpy as np
import pytest

from dora_rt.errors import DoraRtError, UnsupportedValueError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output.origin import Stamp
from tests.harness.finished import Edge
from tests.harness.flow import Flow
from tests.harness.ring import NO_STAMP, Reader, wired
from tests.harness.waiting import eventually


def test_child_that_a_node_forks_cannot_end_or_return_anything_of_the_node(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: sink, path: sink.py, inputs: {out: {source: source/out, queue_policy: block}}}
        """,
    )
    flow.write(
        "source.py",
        """
        import os, sys
        import numpy as np
        from dora_rt import Node
        node = Node()
        for number in range(50):
            if number == 10:
                child = os.fork()
                if child == 0:
                    try:
                        node.send_output("out", b"from the fork")
                    except RuntimeError as error:
                        print(error)
                    sys.exit()
                os.waitpid(child, 0)
            node.send_output("out", np.full(1000, number))
        """,
    )
    flow.write(
        "sink.py",
        """
        import os
        from dora_rt import Node
        node = Node()
        held = []
        for event in node:
            held.append(event.value)
            if len(held) == 3:
                child = os.fork()
                if child == 0:
                    event = None
                    held.clear()
                    os._exit(0)
                os.waitpid(child, 0)
        print([int(array[0]) for array in held] == list(range(50)), all(
            (array == array[0]).all() for array in held))
        """,
    )

    done = flow.run()

    assert done.lines("source") == [
        "node 'source', output 'out': this process is a fork of the node; only the node can send"
    ]
    assert done.lines("sink") == ["True True"]
    assert done.edge("source/out", "sink/out") == Edge(50, 50, 0)


def loan(ring, shape, dtype="uint8", stamp=NO_STAMP):
    return ring.publisher.loan(shape, np.dtype(dtype), lambda: stamp, has_metadata=False)


@pytest.mark.parametrize("shape", [(-1,), (2, -3), (-500,)])
def test_loan_of_a_negative_size_is_refused_and_takes_no_slot(shape):
    with wired() as ring:
        all_slots = ring.free_slots

        with pytest.raises(ValueError, match="is not possible"):
            loan(ring, shape)

        assert ring.free_slots == all_slots


def test_big_endian_loan_arrives_with_its_values():
    with wired() as ring:
        with loan(ring, (3,), ">i4") as array:
            array[:] = [1, 2, 3]

        assert ring.take().value.tolist() == [1, 2, 3]


def test_metadata_that_outgrow_a_loan_are_refused_and_overwrite_nothing():
    with wired(Reader(3)) as ring:
        all_slots = ring.free_slots
        ring.send(np.full(1000, 7, np.uint8))
        held = ring.take().value
        stamp = Stamp(b" " * 60_000, 1, 1)

        with pytest.raises(UnsupportedValueError, match="do not fit behind a loan"):  # noqa: SIM117
            with loan(ring, (200_000,), stamp=stamp) as array:
                array[:] = 1

        assert (held == 7).all()
        del held
        assert ring.free_slots == all_slots


def test_send_inside_a_send_of_the_same_thread_is_an_error_and_no_deadlock():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        said = []

        def handler(number, frame):
            try:
                ring.send(b"from a signal handler")
            except DoraRtError as error:
                said.append(str(error))
            ring.publisher.close()

        previous = signal.signal(signal.SIGUSR1, handler)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            with pytest.raises(DoraRtError, match="closed"):
                ring.send(b"waits")
        finally:
            signal.signal(signal.SIGUSR1, previous)

        assert said == [
            "node 'writer', output 'output': a send began inside another one of the same thread; "
            "a signal handler or a __del__ must not send"
        ]


def test_close_whose_wake_up_was_taken_by_somebody_else_is_seen_all_the_same():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"fills the queue")
        ring.subscribers[0].close()
        for end in ring.publisher._ends:
            ring.writer.collect(end.edge)

        ring.send(b"does not wait")

        assert ring.counters().sent == 2


def test_flood_of_output_holds_up_neither_a_stop_nor_the_other_nodes(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: flood, path: /usr/bin/yes}
          - {id: clock, path: clock.py, inputs: {tick: dora/timer/millis/20}}
        """,
    )
    flow.write("clock.py", "from dora_rt import Node\nfor event in Node(): pass\nprint('end')\n")

    done = flow.run("--stop-after", "500ms")

    assert done.lines("flood").count("y") > 100, "the fault took place"
    assert done.lines("clock") == ["end"]
    assert done.ending("flood") == "stopped (SIGTERM)"


def test_what_a_node_has_started_itself_ends_with_it(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: parent, path: parent.py}]")
    flow.write(
        "parent.py",
        """
        import subprocess
        from pathlib import Path
        child = subprocess.Popen(["sleep", "77"])
        Path("pid").write_text(str(child.pid))
        raise SystemExit(1)
        """,
    )

    flow.run()

    pid = int((flow.folder / "pid").read_text())
    eventually(lambda: not alive(pid))


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_garbage_in_the_status_pipe_is_no_news(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/5}}]")
    flow.write(
        "a.py",
        r"""
        import json, os
        from dora_rt import Node
        descriptor = json.loads(os.environ["DORA_RT_NODE_CONFIG"])["status_fd"]
        os.write(descriptor, b'garbage\n{"process": 99, "kind": "ready"}\n[]\n{"process": 0}\n')
        node = Node()
        for _ in range(5):
            node.next()
        print("fine")
        """,
    )

    done = flow.run()

    assert done.lines("a") == ["fine"]
    assert done.exit_code == 0


def test_crash_after_a_caught_send_error_is_still_a_failure(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/5}, outputs: [out]}]",
    )
    flow.write(
        "a.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            pass
        try:
            node.send_output("out", b"")
        except RuntimeError:
            pass
        open("/no/such/file")
        """,
    )

    done = flow.run("--stop-after", "200ms")

    assert done.ending("a") == "failed: exit status 1"
    assert done.exit_code == 1


def test_busy_timer_does_not_hide_the_end_of_the_inputs(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: busy, path: busy.py, inputs: {tick: dora/timer/millis/5, out: source/out}}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write(
        "busy.py",
        "import time\nfrom dora_rt import Node\nfor event in Node(): time.sleep(0.012)\nprint(1)\n",
    )

    assert flow.run().lines("busy") == ["1"]


def test_polling_loop_sees_the_end(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: poll, path: poll.py, inputs: {out: source/out}}
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write(
        "poll.py",
        """
        from dora_rt import Node
        node = Node()
        got = 0
        while not node.is_stopped():
            got += node.try_next() is not None
        print(got)
        """,
    )

    assert flow.run().lines("poll") == ["1"]


def test_node_that_reads_itself_ends_when_its_other_sources_do(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - id: loop
            path: loop.py
            inputs: {out: source/out, own: loop/again}
            outputs: [again]
        """,
    )
    flow.write("source.py", "from dora_rt import Node\nNode().send_output('out', b'x')\n")
    flow.write(
        "loop.py",
        """
        from dora_rt import Node
        node = Node()
        got = []
        for event in node:
            got.append(event.id)
            if len(got) < 5:
                node.send_output("again", b"")
        print(got)
        """,
    )

    assert flow.run().lines("loop") == ["['out', 'own', 'own', 'own', 'own']"]


def test_thread_that_sends_before_the_start_is_not_forgotten_beside_one_that_waits(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: asker
            path: asker.py
            inputs: {answer: answerer/answer}
            outputs: [question]
          - id: answerer
            path: answerer.py
            inputs: {question: asker/question}
            outputs: [answer]
        """,
    )
    flow.write(
        "asker.py",
        """
        import threading
        from dora_rt import Node
        node = Node()
        threading.Thread(target=lambda: node.send_output("question", b"?")).start()
        print(node.next().value)
        """,
    )
    flow.write(
        "answerer.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        time.sleep(0.3)
        for event in node:
            node.send_output("answer", b"!")
        """,
    )

    assert flow.run(timeout_s=20).lines("asker") == ["b'!'"]


def test_short_timeouts_are_kept_while_another_thread_waits(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/secs/60}}]")
    flow.write(
        "a.py",
        """
        import threading, time
        from dora_rt import Node
        node = Node()
        node.next()
        thread = threading.Thread(target=node.next)
        thread.start()
        time.sleep(0.1)
        began = time.monotonic()
        print(node.try_next())
        try:
            node.next(timeout=0.1)
        except TimeoutError:
            print("in time", time.monotonic() - began < 10)
        node.stop_dataflow()
        thread.join()
        """,
    )

    assert flow.run().lines("a") == ["None", "in time True"]


def test_operator_that_fails_to_clean_up_keeps_no_other_from_it(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: pair
            operators:
              - {id: bad, python: bad.py, inputs: {tick: dora/timer/millis/10}}
              - {id: motors, python: motors.py, inputs: {tick: dora/timer/millis/10}}
        """,
    )
    flow.write(
        "bad.py",
        """
        class Operator:
            def on_input(self, dora_input, send_output):
                return 1 / 0
            def drop_operator(self):
                raise OSError("cannot clean up")
        """,
    )
    flow.write(
        "motors.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                return DoraStatus.CONTINUE
            def drop_operator(self):
                print("motors off")
        """,
    )

    done = flow.run()

    assert "motors off" in done.lines("pair")
    assert done.lines("pair")[-1].endswith("on input 'tick': ZeroDivisionError: division by zero")


def test_operator_that_sends_from_a_thread_wakes_the_one_beside_it(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: pair
            operators:
              - id: sender
                python: sender.py
                inputs: {tick: dora/timer/secs/60}
                outputs: [now]
              - {id: clock, python: clock.py, inputs: {now: pair/sender/now}}
        """,
    )
    flow.write(
        "sender.py",
        """
        import threading, time
        import numpy as np
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                def send():
                    time.sleep(0.2)
                    send_output("now", np.int64(time.monotonic_ns()))
                threading.Thread(target=send).start()
                return DoraStatus.CONTINUE
        """,
    )
    flow.write(
        "clock.py",
        """
        import time
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                print(time.monotonic_ns() - int(dora_input["data"]) < 30_000_000_000)
                return DoraStatus.STOP_ALL
        """,
    )

    assert flow.run().lines("pair") == ["True"]


def test_operator_with_a_timer_that_reads_itself_is_alive(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: self
            operator:
              python: self.py
              inputs: {tick: dora/timer/millis/10, own: self/out}
              outputs: [out]
        """,
    )
    flow.write(
        "self.py",
        """
        from dora_rt import DoraStatus
        class Operator:
            count = 0
            def on_input(self, dora_input, send_output):
                if dora_input["id"] == "tick":
                    send_output("out", b"")
                    return DoraStatus.CONTINUE
                self.count += 1
                return DoraStatus.STOP if self.count == 3 else DoraStatus.CONTINUE
            def drop_operator(self):
                print(self.count)
        """,
    )

    assert flow.run().lines("self") == ["3"]


@pytest.mark.parametrize("opens", [0, 20], ids=["closed", "other files"])
def test_child_that_a_node_starts_is_told_that_it_is_no_node(flow: Flow, opens: int):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: parent, path: parent.py, inputs: {tick: dora/timer/millis/20}}
        """,
    )
    flow.write(
        "parent.py",
        """
        import subprocess, sys
        from dora_rt import Node
        node = Node()
        node.next()
        subprocess.run([sys.executable, "child.py"])
        """,
    )
    flow.write(
        "child.py",
        f"""
        from dora_rt import Node
        from dora_rt.errors import NotInDataflowError
        files = [open("/dev/null") for _ in range({opens})]
        try:
            Node()
        except NotInDataflowError as error:
            print(error)
        """,
    )

    done = flow.run()

    (said,) = done.lines("parent")
    assert said.startswith("this process is not node 'parent', but was started by it")
    assert "(- id: my_node, path: this_script.py)" in said
    assert done.exit_code == 0


def test_wrapper_that_hands_on_what_it_inherits_may_start_the_node(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: parent, path: /bin/sh, args: -c 'python3 node.py; true'}]")
    flow.write(
        "node.py",
        """
        from dora_rt import Node
        print(Node().id())
        """,
    )

    assert flow.run().lines("parent") == ["parent"]
