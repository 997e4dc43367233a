"""Programs that somebody else starts, and that are the dynamic nodes of a run while they last."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dora_rt import Node
from dora_rt.errors import NodeClosedError, NotInDataflowError, RunNotFoundError
from dora_rt.launcher.requests import MAX_REQUESTERS
from dora_rt.live.attach import find_output
from dora_rt.node.dynamic import config_of, hang_up
from dora_rt.node.session import Session
from dora_rt.node_config import CONFIG_VERSION
from dora_rt.runs import Connection, RefusedError, base_folder, find_runs, open_run, socket_path
from tests.harness.flow import Flow
from tests.harness.verbs import verb
from tests.harness.waiting import PATIENCE_S, eventually

# Counts up until it is told to stop; counts only what its block edge has room for, if it has one.
COUNTER = """
    from dora_rt import Node
    node = Node()
    for count, event in enumerate(node):
        node.send_output("count", str(count).encode())
"""

# Writes what comes to a file, a word each.
WITNESS = """
    from dora_rt import Node
    node = Node()
    with open("seen", "w", buffering=1) as seen:
        while (event := node.next_event()) is not None:
            word = type(event).__name__ if not hasattr(event, "value") else event.value.decode()
            print(event.id, word, file=seen)
        print("the end", file=seen)
"""

COUNTING = """
    nodes:
      - {id: counter, path: counter.py, inputs: {tick: dora/timer/millis/5}, outputs: [count]}
      - {id: visitor, path: dynamic, inputs: {count: counter/count}, outputs: [word], %s}
      - {id: witness, path: witness.py, inputs: {word: visitor/word}}
"""

# A visitor in a process of its own: says how far it is, and does as it is told.
VISITOR = """
    import os, sys, time
    from dora_rt import Node
    node = Node("visitor")
    print("attached", flush=True)
"""


@contextmanager
def running(flow: Flow, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start flow.yml, and stop it at the end if it has not ended by itself."""
    before = set(living_runs())
    launcher = flow.start(*arguments)
    eventually(lambda: bool(set(living_runs()) - before))
    try:
        yield launcher
    finally:
        flow.close()


def living_runs() -> list[str]:
    """Give the runs that answer."""
    base = base_folder(os.environ)
    living = []
    for run in find_runs(base):
        connection = Connection.open(base, run)
        if connection is not None:
            with connection:
                living.append(run)
    return living


def describe(run: str) -> dict[str, Any]:
    connection = Connection.open(base_folder(os.environ), run)
    assert connection is not None
    # It may refuse for a moment when many programs have just left.
    with connection, contextlib.suppress(RefusedError):
        return connection.ask("describe")[0]
    return {}


def write_counting(flow: Flow, options: str = "") -> None:
    flow.write("flow.yml", COUNTING % options)
    flow.write("counter.py", COUNTER)
    flow.write("witness.py", WITNESS)


def seen(flow: Flow) -> list[str]:
    """Give what the witness has written so far."""
    path = flow.folder / "seen"
    return path.read_text().splitlines() if path.exists() else []


def start_visitor(flow: Flow, rest: str) -> subprocess.Popen[str]:
    path = flow.write("visitor.py", VISITOR)
    path.write_text(path.read_text() + rest)
    visitor = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, cwd=flow.folder
    )
    assert visitor.stdout is not None
    assert visitor.stdout.readline() == "attached\n"
    return visitor


def test_visitor_is_a_node_while_it_lasts_and_may_come_back(flow: Flow):
    write_counting(flow)
    with running(flow):
        with Node("visitor") as node:
            first = node.next()
            assert first is not None and first.id == "count"
            node.send_output("word", b"one")
        # The witness has no other source, and ends with this one, as after any node.
        eventually(lambda: seen(flow) == ["word one", "word InputClosed", "the end"])

        with Node("visitor") as node:
            again = node.next(timeout=30)
            assert again is not None and int(again.value) > int(first.value)


def test_visitor_that_comes_again_and_again_leaves_nothing_open_in_its_process(flow: Flow):
    write_counting(flow)
    with running(flow):
        visitor = start_visitor(
            flow,
            """
import gc

def growth():
    names = open("/proc/self/maps").read().count("/dev/shm/")
    return names, len(os.listdir("/proc/self/fd"))

gc.disable()  # nobody knows when it comes next
before = None
node.send_output("word", b"hello")
node.close()
# The witness has ended with its source: from now on nobody reads.
while "the end" not in open("seen").read():
    time.sleep(0.001)
for _ in range(20):
    node.close()
    node = Node("visitor")
    assert node.next(timeout=30) is not None
    node.send_output("word", b"hello")
    before = before or growth()
print(before, growth(), before == growth())
""",
        )
        out, _ = visitor.communicate(timeout=30)

    assert out.rstrip().endswith("True"), out


def test_what_a_visitor_answers_is_matched_again_when_it_has_come_back(flow: Flow):
    write_counting(flow)
    flow.write(
        "flow.yml",
        COUNTING.replace("word: visitor/word}}", "word: visitor/word, count: counter/count}, %s}")
        % ("", "sync: exact"),
    )
    flow.write(
        "witness.py",
        """
        from dora_rt import Node
        node = Node()
        with open("seen", "w", buffering=1) as seen:
            while (event := node.next_event()) is not None:
                if hasattr(event, "value"):
                    print("set", event["word"].value == event["count"].value, file=seen)
                else:
                    print(event.id, type(event).__name__, file=seen)
        """,
    )

    def visit() -> None:
        sets = seen(flow).count("set True")
        deadline = time.monotonic() + 10
        with Node("visitor") as node:
            for event in node:
                node.send_output("word", event.value)
                if seen(flow).count("set True") >= sets + 3:
                    break
                assert time.monotonic() < deadline, "sets come"

    with running(flow):
        visit()
        eventually(lambda: seen(flow)[-1:] == ["word InputClosed"])

        visit()

        eventually(lambda: seen(flow).count("word InputClosed") == 2)
    assert "set False" not in seen(flow)
    between = seen(flow).index("word SourceRestarted")
    assert seen(flow)[between - 1] == "word InputClosed"
    assert seen(flow)[between:].count("set True") >= 3


def test_readers_wait_for_a_visitor_that_always_returns(flow: Flow):
    write_counting(flow, "restart: always")
    with running(flow) as launcher:
        for word in (b"one", b"two"):
            with Node("visitor") as node:
                node.send_output("word", word)
        eventually(lambda: seen(flow) == ["word one", "word SourceRestarted", "word two"])

        launcher.send_signal(signal.SIGINT)
        out, _ = launcher.communicate(timeout=30)

    assert seen(flow)[3:] == ["word InputClosed", "the end"]
    assert "node visitor left\n" in out


def test_flow_begins_and_ends_without_its_dynamic_nodes(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, outputs: [out]}
          - {id: sink, path: dynamic, inputs: {out: {source: source/out, queue_policy: block}}}
        """,
    )
    # More than the queue of a blocking edge holds: nobody may wait for who is not there.
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        for _ in range(100):
            node.send_output("out", b"x")
        """,
    )

    done = flow.run()

    assert (done.exit_code, done.ending("source")) == (0, "finished")
    assert done.edge("source/out", "sink/out").delivered == 0
    assert 'node sink is dynamic: start its program anywhere with Node("sink")' in done.out


def test_visitor_reads_all_that_was_sent_to_it_though_all_others_have_ended(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {go: sink/go}, outputs: [out]}
          - {id: sink, path: dynamic, outputs: [go],
             inputs: {out: {source: source/out, queue_size: 100}}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        node.next()
        for number in range(100):
            node.send_output("out", str(number).encode())
        """,
    )

    with running(flow) as launcher:
        with Node("sink") as node:
            node.send_output("go", b"")
            received = [int(event.value) for event in node]
        out, _ = launcher.communicate(timeout=30)

    assert received == list(range(100))
    assert launcher.returncode == 0
    assert "sink    left" in out


def test_arrays_of_a_visitor_are_copies_that_stay_as_they_are(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: source, path: source.py, inputs: {tick: dora/timer/millis/1}, outputs: [out]}
          - {id: visitor, path: dynamic, inputs: {out: source/out}}
        """,
    )
    flow.write(
        "source.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for count, event in enumerate(node):
            node.send_output("out", np.full(1000, count))
        """,
    )
    with running(flow):
        with Node("visitor") as node:
            events = [node.next() for _ in range(30)]
        with Node("visitor") as node:
            events += [node.next() for _ in range(30)]

    for event in events:
        assert event is not None and event.copied
        assert (event.value == event.value[0]).all()


def test_killed_visitor_is_gone_for_its_peers_at_once(flow: Flow):
    write_counting(flow)
    with running(flow) as launcher:
        visitor = start_visitor(flow, "node.send_output('word', b'last')\ntime.sleep(60)\n")
        eventually(lambda: seen(flow) == ["word last"])

        with visitor:
            visitor.kill()
            eventually(lambda: seen(flow)[1:] == ["word InputClosed", "the end"])

        # Nothing else has stopped, and somebody else may be the node now.
        with Node("visitor") as node:
            assert node.next(timeout=30) is not None
        launcher.send_signal(signal.SIGINT)
        out, _ = launcher.communicate(timeout=30)

    assert "node visitor left without a goodbye\n" in out
    assert launcher.returncode == 130


def test_who_comes_right_after_another_one_gets_its_place(flow: Flow):
    write_counting(flow, "restart: always")
    with running(flow):
        for _ in range(10):
            with Node("visitor") as node:
                assert node.id() == "visitor"
        for _ in range(3):
            visitor = start_visitor(flow, "time.sleep(60)\n")
            with visitor:
                visitor.kill()
                visitor.wait()
                hang_up(config_of("visitor"))


def test_child_of_a_visitor_does_not_stand_in_for_it(flow: Flow):
    write_counting(flow)
    with running(flow):
        visitor = start_visitor(
            flow,
            "node.send_output('word', b'last')\n"
            "pid = os.fork() or time.sleep(60)\n"
            "print(pid, flush=True)\n"
            "time.sleep(60)\n",
        )
        assert visitor.stdout is not None
        child = int(visitor.stdout.readline())
        with visitor:
            visitor.kill()
            eventually(lambda: seen(flow)[1:] == ["word InputClosed", "the end"])
            assert Path(f"/proc/{child}").exists()
            os.kill(child, signal.SIGKILL)


def test_stop_ends_the_loop_of_a_visitor(flow: Flow):
    write_counting(flow)
    with running(flow) as launcher, Node("visitor") as node:
        assert node.next(timeout=30) is not None

        launcher.send_signal(signal.SIGINT)

        for event in node:
            assert event.id == "count"
        # As of any node: a last result may be sent when the inputs have ended.
        node.send_output("word", b"sum")
        eventually(lambda: "word sum" in seen(flow))


def test_visitor_that_does_not_listen_is_left_alone_and_holds_up_no_stop(flow: Flow):
    write_counting(flow, "stop_grace: 100ms")
    with running(flow) as launcher, Node("visitor") as node:
        assert node.next(timeout=30) is not None
        stopped_s = time.monotonic()

        launcher.send_signal(signal.SIGINT)
        out, _ = launcher.communicate(timeout=30)

        assert time.monotonic() - stopped_s < PATIENCE_S
        assert "visitor  was still attached" in out
        # Its own process: it goes on, outside of any dataflow.
        eventually(node.is_stopped)
        assert node.next() is None
        with pytest.raises(NodeClosedError):
            node.send_output("word", b"too late")


def test_when_the_launcher_is_killed_a_visitor_ends_and_nothing_is_left(flow: Flow):
    write_counting(flow)
    with running(flow) as launcher, Node("visitor") as node:
        run = Session.of(node).config.run
        assert node.next(timeout=30) is not None

        launcher.kill()
        launcher.communicate()

        for event in node:
            assert event.id == "count"
        eventually(lambda: run not in find_runs(base_folder(os.environ)))
        with pytest.raises(NodeClosedError):
            node.send_output("word", b"too late")


def test_node_that_dora_launch_starts_may_name_itself_as_it_likes(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "from dora_rt import Node\nprint(Node('opencv-plot').id())")

    assert flow.run().lines("a") == ["a"]


def test_refusals_say_what_there_is(flow: Flow, tmp_path: Path):
    with pytest.raises(NotInDataflowError, match="no dataflow of this user is running") as alone:
        Node("visitor")
    assert "`path: dynamic`" in str(alone.value)

    write_counting(flow)
    other = Flow(tmp_path / "other")
    other.folder.mkdir()
    write_counting(other)
    with running(flow):
        (run,) = living_runs()
        where = f"run {run} \\({flow.folder}/flow.yml\\)"
        for call, message in (
            (lambda: Node("vistor"), f"no run has a dynamic node 'vistor'; {where} has visitor"),
            (lambda: Node("witness"), f"'witness' of {where} is started by dora-launch; give it"),
            (lambda: Node("visitor", run="robot"), f"no run is called 'robot'; there are: {run}"),
        ):
            with pytest.raises(NotInDataflowError, match=message):
                call()

        with Node("visitor"):
            with pytest.raises(NotInDataflowError, match="in use in this process already"):
                Node("visitor")
            by_whom = f"already, by process {os.getpid()}"
            with pytest.raises(NotInDataflowError, match=by_whom) as refused:
                config_of("visitor")
            assert refused.value.__cause__ is None, "one traceback says it"

        with running(other):
            with pytest.raises(NotInDataflowError, match="2 runs have a dynamic node 'visitor'"):
                Node("visitor")
            for name in (run, run[:6], str(flow.folder / "flow.yml")):
                with Node("visitor", run=name) as node:
                    assert Session.of(node).config.run == run


def test_run_has_the_same_names_for_a_node_for_attach_and_for_a_verb(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
):
    write_counting(flow)
    monkeypatch.chdir(flow.folder)
    with running(flow):
        (run,) = living_runs()
        for name in (run, run[:6], "flow.yml", "flow", "./flow.yml", str(flow.folder / "flow.yml")):
            with Node("visitor", run=name) as node:
                assert Session.of(node).config.run == run
            assert find_output(f"{name}/counter/count").run == run
            with open_run(base_folder(os.environ), name) as connection:
                assert connection.run == run

        with pytest.raises(NotInDataflowError, match=r"no run is called 'flo'"):
            Node("visitor", run="flo")
        with pytest.raises(RunNotFoundError, match=r"no run has an output 'flo/counter/count'"):
            find_output("flo/counter/count")
        with pytest.raises(RunNotFoundError, match=r"no run is called 'flo'"):
            open_run(base_folder(os.environ), "flo")


def test_run_may_be_named_by_the_environment(flow: Flow, monkeypatch: pytest.MonkeyPatch):
    write_counting(flow)
    with running(flow):
        monkeypatch.setenv("DORA_RT_RUN", "flow.yml")
        with Node("visitor") as node:
            assert node.id() == "visitor"

        monkeypatch.setenv("DORA_RT_RUN", "plant.yml")
        with pytest.raises(NotInDataflowError, match=r"no run is called 'plant.yml'"):
            Node("visitor")


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode,
    reason="nobody here can mount a small /dev/shm",
)
def test_visitor_for_whom_there_is_no_room_is_refused_and_all_others_go_on(flow: Flow):
    # New memory for each program, and that of the one before goes only when it was read.
    write_counting(flow, "restart: always")
    text = (flow.folder / "flow.yml").read_text()
    wired = "{word: {source: visitor/word, queue_policy: block, slot_bytes: 400 kB}}"
    (flow.folder / "flow.yml").write_text(text.replace("{word: visitor/word}", wired))
    driver = flow.write(
        "driver.py",
        f"""
        import subprocess, sys
        from tests.harness.flow import Flow
        from tests.flows.test_dynamic_nodes import *
        flow = Flow(Path({str(flow.folder)!r}))
        with running(flow) as launcher:
            hang_up(config_of("visitor"))
            try:
                hang_up(config_of("visitor"))
            except NotInDataflowError as error:
                print(error)
            def states():
                return [node["state"] for node in describe(living_runs()[0])["nodes"]]
            eventually(lambda: "starting" not in states())
            print(states())
        """,
    )

    script = 'mount -t tmpfs -o size=10m tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, str(driver)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    refusal, states = done.stdout.splitlines()
    assert "more bytes of shared memory, and /dev/shm has" in refusal, done.stderr
    assert states == "['running', 'not attached', 'running']"


def test_program_of_another_version_is_refused_before_it_gets_anything(flow: Flow):
    write_counting(flow)
    with running(flow):
        base = base_folder(os.environ)
        connection = Connection.open(base, living_runs()[0])
        assert connection is not None
        with connection:
            message = f"speaks version {CONFIG_VERSION} of the node configuration"
            with pytest.raises(RefusedError, match=message):
                connection.ask("attach", node="visitor", version=99)

        # The node is still to be had.
        hang_up(config_of("visitor"))


def test_strange_requests_are_answered_and_hold_up_nobody(flow: Flow):
    write_counting(flow)
    with running(flow) as launcher:
        base, run = base_folder(os.environ), living_runs()[0]
        folder = os.open(base / run, os.O_RDONLY)
        try:
            for line, answer in (
                (b"\n", b"expected a line of JSON"),
                (b"[]\n", b"expected a line of JSON"),
                (b'{"request": []}\n', b"expected a line of JSON"),
                (b'{"request": "dance"}\n', b"there is no request 'dance'; there are: describe"),
                (b'{"request": "leave", "node": "counter"}\n{"request": "x"}\n', b""),
                (b'{"request": "attach"}\n', b"there is no such node; there are: counter, visitor"),
                (b"x" * 70_000, b""),
            ):
                with socket.socket(socket.AF_UNIX) as link:
                    link.settimeout(5)
                    link.connect(socket_path(folder))
                    link.sendall(line)
                    assert answer in link.recv(4096)
            flood_of_requests(folder)
            crowd(folder)
        finally:
            os.close(folder)

        eventually(lambda: "nodes" in describe(run))
        with Node("visitor") as node:
            assert node.next(timeout=30) is not None
        assert launcher.poll() is None


def flood_of_requests(folder: int) -> None:
    """Ask without end and never read an answer: the launcher hangs up."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(socket_path(folder))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                link.sendall(b'{"request": "describe"}\n' * 1000)


def crowd(folder: int) -> None:
    """Connect more often than allowed: who only connects leaves first, then who comes too late."""

    def connect() -> socket.socket:
        link = stack.enter_context(socket.socket(socket.AF_UNIX))
        link.settimeout(5)
        link.connect(socket_path(folder))
        return link

    refusal = b"are connected to this run already"
    with contextlib.ExitStack() as stack:
        silent = [connect() for _ in range(MAX_REQUESTERS)]
        for link in silent:
            asking = connect()
            asking.sendall(b'{"request": "describe"}\n')
            assert b'"nodes"' in asking.recv(65536)
            assert refusal in link.recv(4096)
        assert refusal in connect().recv(4096)
        # And `ps` says nothing that is not so.
        done = verb("ps")
        assert "are connected to this run already" in done.err
        assert (done.exit_code, done.out) == (1, "")
