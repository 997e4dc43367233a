"""Faults that the package once had, to be planted again: the schedules must find each of them.

The numbers are those of the review that found them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dora_rt.event import Event
from dora_rt.launcher.memory import run_memory
from dora_rt.transport.board import Peer
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.ring.protocol import HEAD
from dora_rt.transport.ring.reader import RingReader
from dora_rt.transport.ring.writer import RingWriter
from dora_rt.transport.ring.writer_edge import WriterEdge
from tests.protocol import kinds
from tests.protocol.schedule import Kind

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """A fault, how to plant it, and the schedules in which it can show."""

    number: str
    what: str
    plant: Plant
    kinds: tuple[Kind, ...]
    is_in_plain_code: bool = False
    """Whether it is planted in what compiled code does by itself."""


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Let the package have the fault until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        yield


def _let_idle_writers_sleep(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "notice_readers", lambda _: None)


def _forget_closed_inputs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run_memory, "keep_closed", lambda *_: None)
    patch.setattr(Subscriber, "_close_newer", lambda *_: None)


def _skip_generations(patch: pytest.MonkeyPatch) -> None:
    def successor(self: Any) -> Subscriber | None:
        newest = Peer.from_word(self._board.writer_word(self._edge.number)).output_generation
        if newest == self._peer.output_generation:
            return None
        found: Subscriber = self._attach_to(newest)
        self._retire()
        return found

    patch.setattr(Subscriber, "successor", successor)


def _free_hands_before_the_log(patch: pytest.MonkeyPatch) -> None:
    bury = RingWriter.bury

    def bury_unread(self: Any, edge: WriterEdge) -> None:
        self.read_log = lambda _: None
        try:
            bury(self, edge)
        finally:
            del self.read_log

    patch.setattr(RingWriter, "bury", bury_unread)


def _claim_before_the_floor(patch: pytest.MonkeyPatch) -> None:
    begin = RingReader.__init__

    def begin_unaware(self: Any, **arguments: Any) -> None:
        begin(self, **arguments)
        self._base = 1 << 64  # no FLOOR is above it

    patch.setattr(RingReader, "__init__", begin_unaware)


def _publish_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    publish = RingWriter.publish

    def publish_unfenced(self: Any, *arguments: int) -> None:
        pass_fence, self.pass_fence = self.pass_fence, lambda: None
        try:
            publish(self, *arguments)
        finally:
            self.pass_fence = pass_fence

    patch.setattr(RingWriter, "publish", publish_unfenced)


def _recover_nothing(patch: pytest.MonkeyPatch) -> None:
    def recover(self: Any) -> None:
        self._publishing = self._dropping = self._connecting = None

    patch.setattr(RingWriter, "recover", recover)


def _keep_what_is_latched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Subscriber, "_take_latched", lambda _: None)


def _deliver_the_newest_before_begin_is_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Subscriber, "_take_latched", lambda self: self._copy_newest(self._output_words[HEAD])
    )


def _deliver_the_sample_before_begin(patch: pytest.MonkeyPatch) -> None:
    def take_latched(self: Any) -> Event | None:
        begin = self._ring.find_next()
        return None if begin is None else self._copy_newest(begin)

    patch.setattr(Subscriber, "_take_latched", take_latched)


FAULTS = (
    Fault(
        "F01",
        "a restarted reader gets nothing from a writer that is idle",
        _let_idle_writers_sleep,
        (kinds.KILLS,),
    ),
    Fault(
        "F02",
        "a restarted writer waits for an input that was closed for good",
        _forget_closed_inputs,
        (kinds.CLOSES,),
    ),
    Fault(
        "F03",
        "a writer's life that its reader skips is lost without a count",
        _skip_generations,
        (kinds.WRITERS,),
    ),
    Fault(
        "F04",
        "what a dead reader held is freed before its log was read",
        _free_hands_before_the_log,
        (kinds.READERS,),
    ),
    Fault(
        "F09",
        "what an exception broke off is not brought to an end",
        _recover_nothing,
        (kinds.INTERRUPTS,),
        is_in_plain_code=True,
    ),
    Fault(
        "F12",
        "a slow reader claims new samples early and gets them when they are old",
        _claim_before_the_floor,
        (kinds.SLOW,),
    ),
    Fault(
        "F13",
        "an observer on ARM sees a sample's number before the sample",
        _publish_without_a_fence,
        (kinds.OBSERVERS,),
        is_in_plain_code=True,
    ),
    Fault(
        "L1",
        "a reader that comes later gets nothing of a latched output",
        _keep_what_is_latched,
        (kinds.LATCHED,),
    ),
    Fault(
        "L2",
        "what waits in the ring comes as latched as well",
        _deliver_the_newest_before_begin_is_known,
        (kinds.LATCHED,),
    ),
    Fault(
        "L3",
        "the sample before those that wait comes, which is not the newest",
        _deliver_the_sample_before_begin,
        (kinds.LATCHED_READERS,),
    ),
)
