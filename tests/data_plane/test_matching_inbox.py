"""The inbox of a node with `sync`, on real shared memory: threads, and inputs that end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dora_rt.event import Change, Event, MatchedEvents
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.node_config import InputConfig, SyncConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.sync import Matcher, MatchingInbox
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import attach_words
from tests.harness.objects import new_run
from tests.harness.ring import Reader, config_of, plan_of

SYNC = SyncConfig(("left", "right"), slop_ns=0, depth=8)


@dataclass
class Synced:
    publisher: Publisher
    inbox: MatchingInbox

    def send(self, origin_ns: int) -> None:
        self.publisher.send(b"x", Stamp(b"", origin_ns, origin_ns))

    def wait(self, timeout_s: float = 5) -> Event | Change | None:
        return self.inbox.wait(time.monotonic_ns() + int(timeout_s * 1e9))


@contextmanager
def synced() -> Iterator[Synced]:
    """One output that both inputs of a node read."""
    plan = plan_of(Reader(100), Reader(100))
    edges = tuple(replace(edge, reader=1) for edge in plan.outputs[0].edges)
    output = replace(plan.outputs[0], edges=edges)
    run = new_run()
    node = replace(
        plan.processes[1].config,
        processes=2,
        inputs=tuple(
            InputConfig(name, output=output, edge=edge)
            for name, edge in zip(SYNC.input_ids, edges, strict=True)
        ),
        sync=SYNC,
    )
    plan = replace(
        plan,
        processes=(plan.processes[0], replace(plan.processes[1], config=node)),
        outputs=(output,),
        edges=tuple(
            replace(planned, output=output, edge=edge)
            for planned, edge in zip(plan.edges, edges, strict=True)
        ),
    )
    with RunMemory.create(plan, run) as memory:
        name = object_names.board(run)
        words = attach_words(name, lambda *_: None, writable=False)
        board = Board(words, 2, 2, name)
        publisher = Publisher(run, "writer", output, board)
        inbox = MatchingInbox(config_of(node, run), SYNC, board)
        for number in range(2):
            memory.note_attached(number)
        memory.start()
        try:
            yield Synced(publisher, inbox)
        finally:
            inbox.close()
            publisher.close()


class GuardedMatcher(Matcher):
    """Remembers whether it was used without the lock of the inbox."""

    def __init__(self, inbox: MatchingInbox) -> None:
        super().__init__(SYNC.input_ids, slop_ns=SYNC.slop_ns, depth=SYNC.depth)
        self._lock = inbox._receiving
        self.uses = self.unguarded = 0

    def _note(self) -> None:
        self.uses += 1
        self.unguarded += not self._lock.locked()

    def add(self, event: Event) -> MatchedEvents | None:
        self._note()
        return super().add(event)

    def take(self) -> MatchedEvents | None:
        self._note()
        return super().take()

    def close(self, input_id: str) -> None:
        self._note()
        super().close(input_id)


def test_matcher_is_used_by_one_thread_at_a_time():
    with synced() as live:
        live.inbox._matcher = matcher = GuardedMatcher(live.inbox)
        live.send(1)

        assert isinstance(live.wait(), MatchedEvents)
        with pytest.raises(TimeoutError):
            live.wait(0)
        live.inbox.close_input("left")
        live.send(2)
        with pytest.raises(TimeoutError):
            live.wait(0)

        assert matcher.uses > 4
        assert matcher.unguarded == 0


def test_threads_that_receive_at_once_get_each_set_once():
    sets = 2000
    with synced() as live:
        found: list[Any] = []
        errors: list[BaseException] = []

        def receive() -> None:
            try:
                while len(found) < sets:
                    found.append(live.wait(0.05))
            except TimeoutError:
                return
            except BaseException as error:
                errors.append(error)

        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for first in range(0, sets, 50):
                threads = [threading.Thread(target=receive) for _ in range(2)]
                for origin_ns in range(first, first + 50):
                    live.send(origin_ns)
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
        finally:
            sys.setswitchinterval(interval_s)

        assert errors == []
        assert sorted(one.origin_ns for one in found) == list(range(sets))
        assert all(one["left"].origin_ns == one["right"].origin_ns for one in found)


def test_partners_of_an_input_that_the_node_closed_are_counted(capfd: pytest.CaptureFixture[str]):
    with synced() as live:
        live.inbox.close_input("left")
        for origin_ns in range(3):
            live.send(origin_ns)
        with pytest.raises(TimeoutError):
            live.wait(0)

    assert capfd.readouterr().err == "dora_rt: sync: 0 sets; unmatched: left 0, right 3\n"


def test_samples_that_still_wait_at_the_end_are_counted(capfd: pytest.CaptureFixture[str]):
    with synced() as live:
        for origin_ns in range(3):
            live.inbox._matcher.add(Event("right", b"", origin_ns=origin_ns))

    assert capfd.readouterr().err == "dora_rt: sync: 0 sets; unmatched: left 0, right 3\n"
