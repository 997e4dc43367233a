"""Processes that stand still, do not listen, or leave at a bad moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.primitives import doorbell as doorbell_module
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.doorbell import Doorbell
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import create_semaphore, unlink_run
from tests.harness.finished import Edge
from tests.harness.flow import Flow
from tests.harness.objects import new_run
from tests.harness.processes import is_suspended
from tests.harness.ring import Reader, wired
from tests.harness.waiting import PATIENCE_S, eventually


def test_reader_that_stands_still_slows_nobody_and_gets_the_newest_when_it_goes_on(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [number]}
          - id: stopped
            path: stopped.py
            inputs: {number: {source: source/number, queue_policy: latest}}
          - id: other
            path: other.py
            inputs: {number: {source: source/number, queue_size: 1000}}
        """,
    )
    flow.write(
        "source.py",
        """
        import time
        from pathlib import Path
        import numpy as np
        from dora_rt import Node
        node = Node()
        number = 0
        with open("sent", "w") as file:
            while not Path("goes on").exists():
                node.send_output("number", np.int64(number))
                number += 1
                print("x", end="", file=file, flush=True)
                time.sleep(0.001)
        node.send_output("number", np.int64(number))
        print(number)
        """,
    )
    flow.write(
        "stopped.py",
        """
        import os
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        first = node.next()
        Path("pid").write_text(str(os.getpid()))
        last = first
        biggest_gap = 0
        for event in node:
            biggest_gap = max(biggest_gap, event.dropped)
            last = event
        print(biggest_gap >= 200, int(last.value))
        """,
    )
    flow.write(
        "other.py",
        """
        from dora_rt import Node
        received = 0
        with open("received", "w") as file:
            for event in Node():
                received += 1
                print("x", end="", file=file, flush=True)
        print(received)
        """,
    )
    pid_file, sent, received = (flow.folder / name for name in ("pid", "sent", "received"))

    def stop_for_a_while() -> None:
        eventually(lambda: pid_file.exists() and bool(pid_file.read_text()))
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            before = sent.stat().st_size
            eventually(lambda: received.stat().st_size >= before + 250)
            assert is_suspended(pid)
        finally:
            os.kill(pid, signal.SIGCONT)
        (flow.folder / "goes on").touch()

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(stop_for_a_while)
        done = flow.run()
        stopped.result()

    (last,) = map(int, done.lines("source"))
    assert done.lines("stopped") == [f"True {last}"]
    assert done.lines("other") == [str(last + 1)]
    assert done.edge("source/number", "other/number") == Edge(last + 1, last + 1, 0)


def test_blocked_send_gives_up_at_its_time_out_and_loses_nothing():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        ring.send(b"first")
        began_ns = time.monotonic_ns()

        with pytest.raises(TimeoutError, match="a reader had no room in time, so nothing was sent"):
            ring.send(b"second", Stamp(b"", 1, 1, began_ns + 300_000_000))

        assert 0.3 <= (time.monotonic_ns() - began_ns) / 1e9 < PATIENCE_S
        assert ring.take().value == b"first"
        ring.send(b"third", Stamp(b"", 1, 1, time.monotonic_ns() + 300_000_000))
        event = ring.take()
        assert (event.value, event.seq, event.dropped) == (b"third", 1, 0)


def test_blocked_send_goes_on_within_a_moment_of_the_take(monkeypatch: pytest.MonkeyPatch):
    # It is woken, and does not see by itself at the next look that there is room.
    monkeypatch.setattr(doorbell_module, "SLICE_S", 20.0)
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        delays_s = []
        for _ in range(20):
            ring.send(b"fills the queue")
            sender = threading.Thread(target=lambda: ring.send(b"waits"))
            sender.start()
            eventually(lambda: ring.publisher._is_midway)
            began = time.monotonic()
            ring.take()
            sender.join()
            delays_s.append(time.monotonic() - began)
            ring.take()

        assert sorted(delays_s)[10] < 5


def test_flow_with_a_blocked_writer_can_be_stopped(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, stop_grace: 0.2, outputs: [out]}
          - id: sink
            path: sink.py
            stop_grace: 0.2
            inputs: {out: {source: source/out, queue_policy: block, queue_size: 1}}
        """,
    )
    flow.write(
        "source.py",
        "from dora_rt import Node\nnode = Node()\n"
        "while not node.is_stopped():\n    node.send_output('out', b'x')\n",
    )
    flow.write(
        "sink.py",
        "import time\nfrom dora_rt import Node\nnode = Node()\nnode.next()\ntime.sleep(600)\n",
    )

    done = flow.run("--stop-after", "300ms")

    assert done.ending("source") == "stopped (SIGINT)"
    assert done.exit_code == 0


def test_node_deaf_to_the_stop_and_to_sigterm_is_killed_and_named(flow: Flow):
    flow.write(
        "flow.yml",
        "nodes: [{id: deaf, path: deaf.py, stop_grace: 0.2, inputs: {tick: dora/timer/secs/1}}]",
    )
    flow.write(
        "deaf.py",
        """
        import signal, time
        from dora_rt import Node
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        node = Node()
        node.next()
        while True:
            time.sleep(1)
        """,
    )

    done = flow.run("--stop-after", "300ms")

    assert done.ending("deaf") == "killed: it did not stop when told to, nor at SIGTERM"
    assert done.exit_code == 1


def test_node_may_end_with_arrays_in_its_hands(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: holder, path: holder.py, inputs: {out: source/out}}
        """,
    )
    flow.write(
        "source.py",
        "import numpy as np\nfrom dora_rt import Node\nnode = Node()\n"
        "for number in range(3): node.send_output('out', np.full(1000, number))\n",
    )
    flow.write(
        "holder.py",
        """
        from dora_rt import Node
        node = Node()
        held = [event.value for event in node]
        node.close()
        print([int(array.sum()) for array in held])
        """,
    )

    done = flow.run()

    assert done.lines("holder") == ["[0, 1000, 2000]"]
    assert done.ending("holder") == "finished"


@pytest.mark.parametrize("wait", ["node.next()", "node.next(timeout=30)"])
def test_exception_of_a_signal_handler_arrives_in_the_middle_of_a_wait(flow: Flow, wait: str):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: silent, path: silent.py, outputs: [out]}
          - {id: waits, path: waits.py, inputs: {out: silent/out}}
        """,
    )
    flow.write(
        "silent.py",
        """
        import time
        from pathlib import Path
        from dora_rt import Node
        node = Node()
        while not Path("arrived").exists():
            time.sleep(0.005)
        """,
    )
    flow.write(
        "waits.py",
        f"""
        import os, signal, threading
        from pathlib import Path
        from dora_rt import Node

        class MyError(Exception):
            pass

        def handler(number, frame):
            raise MyError

        signal.signal(signal.SIGTERM, handler)
        node = Node()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            {wait}
        except MyError:
            print("it arrived")
            Path("arrived").touch()
        """,
    )

    assert flow.run().lines("waits") == ["it arrived"]


def test_deadline_of_a_wait_is_on_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch):
    run = new_run()
    create_semaphore(object_names.doorbell(run, 0))
    try:
        doorbell = Doorbell(object_names.doorbell(run, 0), Spin(0))
        # Without sem_clockwait a step of the wall clock can lengthen one slice, and no more.
        for waits in (doorbell._waits, None):
            monkeypatch.setattr(doorbell, "_waits", waits)
            began_ns = time.monotonic_ns()

            assert not doorbell.wait(began_ns + 150_000_000)

            assert 0.15 <= (time.monotonic_ns() - began_ns) / 1e9 < PATIENCE_S
    finally:
        unlink_run(run)
