"""Restarts cost nothing: the launcher and the peers that live stay as large as they were."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dora_rt.node_config import NodeConfig, QueuePolicy
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives.shm import attach_semaphore, create_semaphore, unlink_semaphores
from tests.harness.flow import Flow
from tests.harness.objects import own_objects
from tests.harness.ring import NO_STAMP, Reader, config_of, wired
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(300)

IS_SOAK = os.environ.get("SOAK") == "1"
RESTARTS = 10_000 if IS_SOAK else 100
FLOW_RESTARTS = 500 if IS_SOAK else 12
WARM_UP = 50
POLICIES = list(QueuePolicy)
_TOKEN = re.compile(r"-e[\d.]+t\d+$")
_FLOW_SLOTS = 80  # of all edges of the flow below, with its queues of ten


@dataclass(frozen=True)
class Size:
    """What a process takes up; the memory is that which it alone can give back."""

    mappings: int
    deleted_nbytes: int
    """Of shared memory without a name that it maps, or whose semaphore it has made itself: the C
    library makes those under another name."""
    descriptors: int
    threads: int
    objects: int
    """Without the tokens."""
    tokens: int
    rss_nbytes: int

    @classmethod
    def of(cls, pid: int, run: str) -> Size:
        process = Path(f"/proc/{pid}")
        maps = (process / "maps").read_text()
        deleted = re.findall(r"^(\w+)-(\w+) .* /dev/shm/\S+ \(deleted\)$", maps, re.M)
        objects = [name for name in own_objects() if f"drt-{run}-" in name]
        tokens = sum(_TOKEN.search(name) is not None for name in objects)
        return cls(
            mappings=maps.count("\n"),
            deleted_nbytes=sum(int(end, 16) - int(begin, 16) for begin, end in deleted),
            descriptors=sum(1 for _ in (process / "fd").iterdir()),
            threads=sum(1 for _ in (process / "task").iterdir()),
            objects=len(objects) - tokens,
            tokens=tokens,
            rss_nbytes=int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"),
        )


def assert_no_growth(before: Size, after: Size, what: str, *, passing: int = 0) -> None:
    print(f"{what}:\n  before {before}\n  after  {after}")
    # Tokens are made when they are needed, so a few come after the first lives; and what an
    # allocator maps is its own affair. A leak would be one of each for every restart, at least.
    assert after.mappings <= before.mappings + 30
    assert after.deleted_nbytes <= before.deleted_nbytes + 30 * os.sysconf("SC_PAGESIZE")
    # `passing`: what a process may have open that is just meeting a new peer. In a flow the memory
    # settles after some hundred restarts: the launcher remembers those of the last minute.
    assert after.descriptors <= before.descriptors + passing
    assert after.threads == before.threads
    assert after.objects <= before.objects + 20
    # A reader that is slower for a while has more slots in use, each with its token.
    assert after.tokens <= before.tokens + (_FLOW_SLOTS if passing else 20)
    assert after.rss_nbytes <= before.rss_nbytes + (2**21 if passing else 2**19)


def live(work: Callable[[], object]) -> None:
    """Do something in a process that is then killed: nothing of it is closed in an orderly way."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            # Also after an exception: the test process must not run on in here.
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.value)
def test_restarts_of_a_reader_cost_its_writer_and_the_launcher_nothing(policy: QueuePolicy):
    with wired(Reader(3, policy)) as ring:
        ring.subscribers.clear()
        ring.memory.mark_dead(1, returns=True)
        before = None

        for life in range(RESTARTS):
            config = config_of(ring.memory.renew(1), ring.run)
            for _ in range(2):
                ring.send(b"x" * 2000)

            def read(config: NodeConfig = config) -> None:
                subscriber = Subscriber(config, config.inputs[0], ring.board)
                held = [subscriber.take(), subscriber.take()]
                del held[0]

            live(read)
            ring.memory.note_attached(1)
            ring.memory.mark_dead(1, returns=True)
            ring.memory.remove_outdated()
            if life == WARM_UP:
                gc.collect()
                before = Size.of(os.getpid(), ring.run)
        # Without a look for circles: a node that is at rest makes none, and never looks.
        assert before is not None
        assert_no_growth(before, Size.of(os.getpid(), ring.run), f"{RESTARTS} restarts of a reader")
        counters = ring.counters()

    assert counters.sent == 2 * RESTARTS
    assert counters.delivered > RESTARTS / 2, "the readers did read"


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.value)
def test_restarts_of_a_writer_cost_its_reader_and_the_launcher_nothing(policy: QueuePolicy):
    with wired(Reader(3, policy)) as ring:
        ring.publisher.close(3)
        (reader,) = ring.subscribers
        ring.subscribers.clear()
        before = None
        received = 0

        for life in range(RESTARTS):
            ring.memory.mark_dead(0, returns=True)
            config = config_of(ring.memory.renew(0), ring.run)
            ring.memory.note_attached(0)
            reader.notice_end()
            while reader.take() is not None:
                received += 1
            successor = reader.successor()
            assert successor is not None
            reader = successor

            def write(config: NodeConfig = config) -> None:
                publisher = Publisher(ring.run, "writer", config.outputs[0], ring.board)
                for _ in range(3):
                    publisher.send(b"x" * 2000, NO_STAMP)

            live(write)
            event = reader.take()
            assert event is not None
            received += 1
            ring.memory.remove_outdated()
            if life == WARM_UP:
                gc.collect()
                before = Size.of(os.getpid(), ring.run)
        # Without a look for circles: a node that is at rest makes none, and never looks.
        assert before is not None
        assert_no_growth(before, Size.of(os.getpid(), ring.run), f"{RESTARTS} restarts of a writer")
        counters = ring.counters()

    assert counters.sent == 3 * RESTARTS
    assert counters.delivered == received


def test_restarts_in_a_flow_leave_the_launcher_and_the_healthy_nodes_as_they_were(flow: Flow):
    policy = "restart: always, max_restarts: 0, restart_delay: 0.01, max_restart_delay: 0.01"
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: camera, path: camera.py, inputs: {{tick: dora/timer/millis/5}}, outputs: [a, b]}}
          - id: crasher
            path: crasher.py
            {policy.replace(", ", chr(10) + "            ")}
            inputs: {{a: {{source: camera/a, queue_policy: block}}, b: camera/b}}
            outputs: [c]
          - {{id: viewer, path: viewer.py, inputs: {{c: crasher/c, a: camera/a}}}}
        """,
    )
    flow.write(
        "camera.py",
        """
        from dora_rt import Node
        node = Node()
        print("camera", __import__("os").getpid(), flush=True)
        for event in node:
            node.send_output("a", bytes(2000))
            node.send_output("b", bytes(2000))
        """,
    )
    flow.write(
        "crasher.py",
        """
        import os, signal
        from dora_rt import Node
        node = Node()
        node.next()
        node.send_output("c", bytes(2000))
        node.next()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    flow.write(
        "viewer.py",
        """
        from dora_rt import Node
        print("viewer", __import__("os").getpid(), flush=True)
        for event in Node():
            pass
        """,
    )
    launcher = flow.start()
    assert launcher.stdout is not None
    pids = {"launcher": launcher.pid}
    restarts = 0
    sizes: dict[str, Size] = {}

    def sizes_now() -> dict[str, Size]:
        (run,) = {name.split("-")[1] for name in own_objects() if "-board" in name}
        return {name: Size.of(pid, run) for name, pid in pids.items()}

    for line in launcher.stdout:
        if found := re.search(r"(camera|viewer) (\d+)$", line):
            pids[found[1]] = int(found[2])
        restarts += "node crasher failed: SIGKILL" in line
        if restarts == 6 and not sizes:
            sizes = sizes_now()
        if restarts == 6 + FLOW_RESTARTS:
            break
    # Peers of a busy machine are some lives behind; they catch up while it goes on.
    few = sizes["launcher"].objects + 20
    with contextlib.suppress(AssertionError):
        eventually(lambda: sizes_now()["launcher"].objects <= few)
    after = sizes_now()
    launcher.send_signal(signal.SIGINT)
    out = launcher.stdout.read()
    launcher.wait(30)

    assert launcher.returncode == 130, out[-3000:]
    assert pids.keys() == {"launcher", "camera", "viewer"}
    for name, size in after.items():
        what = f"{FLOW_RESTARTS} restarts in a flow, {name}"
        assert_no_growth(sizes[name], size, what, passing=6)


@contextlib.contextmanager
def no_collector_of_circles() -> Iterator[None]:
    """Let nothing that earlier tests have left go in between."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_size_sees_what_a_leak_would_be():
    with wired() as ring, no_collector_of_circles():
        before = Size.of(os.getpid(), ring.run)
        name = f"/drt-{ring.run}-leak"
        create_semaphore(name).close()
        leaked = attach_semaphore(name)
        named = Size.of(os.getpid(), ring.run)
        unlink_semaphores([name])
        nameless = Size.of(os.getpid(), ring.run)
        leaked.close()

    assert (named.mappings, named.objects) == (before.mappings + 1, before.objects + 1)
    assert nameless.mappings == before.mappings + 1
    assert nameless.deleted_nbytes == before.deleted_nbytes + os.sysconf("SC_PAGESIZE")
