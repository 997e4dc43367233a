"""An inbox that takes from some inputs only for a while, on real shared memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from dora_rt.event import Change, Event
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.node_config import InputConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import attach_words
from dora_rt.transport.ring import protocol
from tests.harness.objects import new_run
from tests.harness.ring import Reader, config_of, plan_of


@dataclass
class Wired:
    publisher: Publisher
    inbox: Inbox

    def send(self, value: bytes) -> None:
        self.publisher.send(value, Stamp(b"", 1, 1))

    def wait(self, timeout_s: float = 5) -> Event | Change | None:
        return self.inbox.wait(time.monotonic_ns() + int(timeout_s * 1e9))

    def take_all(self) -> list[tuple[str, bytes]]:
        taken = []
        while True:
            try:
                event = self.wait(0)
            except TimeoutError:
                return taken
            if isinstance(event, Event) and event.id != "tick":
                taken.append((event.id, event.value))


@contextmanager
def wired() -> Iterator[Wired]:
    """A node with a timer, and two inputs that read one output."""
    plan = plan_of(Reader(100), Reader(100))
    edges = tuple(replace(edge, reader=1) for edge in plan.outputs[0].edges)
    output = replace(plan.outputs[0], edges=edges)
    run = new_run()
    inputs = tuple(
        InputConfig(name, output=output, edge=edge)
        for name, edge in zip(("wanted", "other"), edges, strict=True)
    )
    node = replace(
        plan.processes[1].config,
        processes=2,
        inputs=(InputConfig("tick", period_ns=1_000_000), *inputs),
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
        publisher = Publisher(run, "writer", output, Board(words, 2, 2, name))
        inbox = Inbox(config_of(node, run), Board(words, 2, 2, name))
        for number in range(2):
            memory.note_attached(number)
        memory.start()
        try:
            yield Wired(publisher, inbox)
        finally:
            inbox.close()
            publisher.close()


def test_only_the_wanted_input_is_taken_and_the_others_wait_in_their_order():
    with wired() as flow:
        for number in range(3):
            flow.send(b"%d" % number)

        flow.inbox.narrow({"wanted"})
        wanted = flow.take_all()
        flow.inbox.widen()

        assert wanted == [("wanted", b"0"), ("wanted", b"1"), ("wanted", b"2")]
        assert flow.take_all() == [("other", b"0"), ("other", b"1"), ("other", b"2")]


def test_timer_that_is_not_taken_does_not_keep_the_wait_awake():
    with wired() as flow:
        flow.inbox.narrow({"wanted"})

        used_s = time.thread_time()
        with pytest.raises(TimeoutError):
            flow.wait(0.3)

        assert time.thread_time() - used_s < 0.15
        flow.inbox.widen()
        event = flow.wait()
        assert event is not None and event.id == "tick"


def test_end_of_all_inputs_ends_no_narrow_wait_and_is_told_afterwards():
    with wired() as flow:
        flow.send(b"last")
        flow.publisher.close(protocol.CLOSED_FOR_GOOD)
        flow.inbox.narrow(())

        with pytest.raises(TimeoutError):
            flow.wait(0)
        flow.inbox.widen()

        samples = []
        while (event := flow.wait()) is not None:
            if isinstance(event, Event) and event.id != "tick":
                samples.append(event.id)
        assert sorted(samples) == ["other", "wanted"]


class InterruptedHereError(Exception):
    pass


def test_exception_in_the_middle_of_it_is_undone_by_the_next_widen():
    class Names(set[str]):
        def __contains__(self, name: object) -> bool:
            raise InterruptedHereError

    with wired() as flow:
        flow.send(b"1")
        with pytest.raises(InterruptedHereError):
            flow.inbox.narrow(Names({"wanted"}))

        flow.inbox.widen()

        assert sorted(flow.take_all()) == [("other", b"1"), ("wanted", b"1")]
        assert flow.inbox.ends_by_itself


def test_narrow_waits_between_all_others_let_every_input_have_its_turn():
    with wired() as flow:
        for number in range(20):
            flow.send(b"%d" % number)
        narrow, wide = [], []

        for _ in range(6):
            flow.inbox.narrow({"wanted", "other"})
            narrow.append(flow.wait())
            flow.inbox.narrow({"other"})
            narrow.append(flow.wait())
            flow.inbox.widen()
            wide.append(flow.wait())

        assert {"wanted", "other"} <= {event.id for event in wide if event is not None}
        assert {"wanted", "other"} <= {event.id for event in narrow if event is not None}
