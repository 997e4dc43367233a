"""What a fork of a node inherits stays as it is until the fork is gone; then slots come back."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dora_rt.node_config import QueuePolicy
from dora_rt.transport.primitives import forks
from tests.harness.ring import Reader, Wired, wired


def frame(value: int) -> np.ndarray:
    return np.full((40, 30), value, np.int32)


class Child:
    """A fork that does something when it is told to, and then ends."""

    def __init__(self, work: Callable[[], bool]) -> None:
        forks.watch()
        told, self._tell = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(told)
            return
        os.close(self._tell)
        was_right = False
        try:
            os.read(told, 1)
            was_right = work()
        finally:
            os._exit(0 if was_right else 1)

    def finish(self) -> bool:
        # Not its end: the forks after this one have the pipe as well.
        os.write(self._tell, b"x")
        os.close(self._tell)
        return os.waitpid(self.pid, 0)[1] == 0


def flood(ring: Wired, samples: int = 30) -> list[bool]:
    """Send and take; give which of the samples were copies."""
    copied = []
    for value in range(1000, 1000 + samples):
        ring.send(frame(value))
        copied.append(ring.take().copied)
    return copied


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("policy", QueuePolicy)
def test_array_of_a_fork_is_not_overwritten_when_its_parent_lets_go(policy: QueuePolicy):
    with wired(Reader(2, policy)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        child = Child(lambda: bool((hands[0] == 7).all()))

        hands.clear()
        gc.collect()
        flood(ring)

        assert child.finish()


def test_slot_comes_back_when_the_fork_is_gone():
    with wired(Reader(2, max_held=2)) as ring:
        flood(ring)
        before = descriptors()
        ring.send(frame(7))
        hands = [ring.take().value]
        child = Child(lambda: bool((hands[0] == 7).all()))
        hands.clear()
        ring.send(frame(8))
        kept = ring.take().value
        assert flood(ring) == [True] * 30
        assert (kept == 8).all()

        assert child.finish()

        assert flood(ring) == [False] * 30
        del kept
        assert ring.free_slots == ring.output.slots
        assert descriptors() == before


def test_slot_that_the_parent_holds_longer_than_the_fork_stays_its_own():
    with wired(Reader(2, max_held=1)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        assert Child(lambda: True).finish()

        assert flood(ring) == [True] * 30
        assert (hands[0] == 7).all()
        hands.clear()

        assert flood(ring) == [False] * 30
        assert ring.free_slots == ring.output.slots


def test_fork_of_a_fork_goes_on_with_what_it_inherited():
    with wired(Reader(2, max_held=1)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        result, write = os.pipe()
        told, tell = os.pipe()

        def be_a_grandchild() -> bool:
            if os.fork() == 0:
                os.close(tell)
                os.read(told, 1)
                os.write(write, b"right" if (hands[0] == 7).all() else b"wrong")
                os._exit(0)
            return True

        assert Child(be_a_grandchild).finish()
        hands.clear()
        assert flood(ring) == [True] * 30

        os.close(tell)
        os.close(write)
        assert os.read(result, 10) == b"right"
        os.read(result, 1)  # its end
        os.close(result)
        os.close(told)


@pytest.mark.programs
def test_fork_that_becomes_another_program_keeps_nothing():
    with wired(Reader(2, max_held=1)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        ready, write = os.pipe()
        told, tell = os.pipe()
        os.set_inheritable(told, True)
        os.set_inheritable(write, True)
        script = f"import os; os.write({write}, b'x'); os.read({told}, 1)"
        pid = os.fork()
        if pid == 0:
            try:
                os.close(tell)
                os.execv(sys.executable, [sys.executable, "-S", "-c", script])
            finally:
                os._exit(1)
        assert os.read(ready, 1) == b"x"
        hands.clear()

        assert flood(ring) == [False] * 30

        for descriptor in (tell, told, ready, write):
            os.close(descriptor)
        assert os.waitpid(pid, 0)[1] == 0


def test_fork_that_closes_all_descriptors_keeps_its_array():
    with wired(Reader(2, max_held=1)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        told, tell = os.pipe()
        ready, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            was_right = False
            try:
                # As a daemon does, all but these two.
                low, high = sorted((told, write))
                os.closerange(3, low)
                os.closerange(low + 1, high)
                os.closerange(high + 1, 1000)
                os.write(write, b"x")
                os.read(told, 1)
                was_right = bool((hands[0] == 7).all())
            finally:
                os._exit(0 if was_right else 1)
        assert os.read(ready, 1) == b"x"
        hands.clear()
        flood(ring)

        os.write(tell, b"x")

        assert os.waitpid(pid, 0)[1] == 0
        for descriptor in (tell, told, ready, write):
            os.close(descriptor)


@pytest.fixture
def no_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")


@pytest.mark.usefixtures("no_memory_files")
def test_without_files_in_memory_a_slot_is_kept_for_good():
    with wired(Reader(2, max_held=2)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        child = Child(lambda: bool((hands[0] == 7).all()))
        hands.clear()
        flood(ring)
        assert child.finish()

        assert flood(ring) == [False] * 30, "one may still be held"

        assert ring.free_slots == ring.output.slots - 1


def test_forks_with_nothing_in_hand_cost_nothing():
    with wired(Reader(2, max_held=1)) as ring:
        flood(ring)
        before = descriptors()
        children = [Child(lambda: True) for _ in range(3)]
        open_pipes = 3

        assert flood(ring) == [False] * 30
        assert descriptors() == before + open_pipes, "a pipe to each"

        assert all(child.finish() for child in children)
        assert ring.free_slots == ring.output.slots


def test_many_forks_beside_one_array_that_is_held_leave_no_descriptor():
    with wired(Reader(2)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        before = descriptors()

        for _ in range(50):
            assert Child(lambda: True).finish()

        assert descriptors() <= before + 1
        assert (hands[0] == 7).all()


def test_fork_while_another_thread_forgets_those_that_are_gone_keeps_the_slot():
    with wired(Reader(2)) as ring:
        ring.send(frame(7))
        hands = [ring.take().value]
        (slot,) = ring.reader().held
        known: set[forks.Heirs] = ring.subscribers[0]._inherited.setdefault(slot, set())

        class Forgotten(forks.Heirs):
            """The other thread has its turn while this is asked."""

            def are_gone(self) -> bool:
                known.discard(self)
                self.forget()
                return True

        known.update(Forgotten() for _ in range(3))
        for one in tuple(known):
            one.begin()
        child = Child(lambda: bool((hands[0] == 7).all()))

        assert len(ring.subscribers[0]._inherited[slot]) == 1
        assert child.finish()


def worker(told: Any, results: Any, value: np.ndarray) -> None:
    told.wait(30)
    results.put((int(value.min()), int(value.max())))


def test_worker_of_multiprocessing_sees_the_picture_that_it_was_given():
    forks.watch()
    context = multiprocessing.get_context("fork")
    told, results = context.Event(), context.Queue()
    with wired(Reader(2)) as ring:
        ring.send(frame(7))
        event = ring.take()
        process = context.Process(target=worker, args=(told, results, event.value))
        process.start()
        del event
        gc.collect()
        flood(ring, 100)

        told.set()

        assert results.get(timeout=20) == (7, 7)
        process.join(30)
        assert process.exitcode == 0


@contextmanager
def quick_switches() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)


def test_forks_beside_a_thread_that_receives_keep_what_they_see_and_leak_nothing():
    with wired(Reader(2, max_held=2)) as ring, quick_switches():
        flood(ring)
        before = descriptors()
        ends = threading.Event()
        newest: list[np.ndarray] = []
        errors: list[BaseException] = []

        def receive() -> None:
            value = 0
            try:
                while not ends.is_set():
                    value += 1
                    ring.send(frame(value))
                    newest[:] = [ring.take().value]
            except BaseException as error:
                errors.append(error)

        def look() -> bool:
            # The thread that would change the list is not in the fork.
            arrays = list(newest)
            firsts = [int(array[0, 0]) for array in arrays]
            for _ in range(200):
                if any((array != first).any() for array, first in zip(arrays, firsts, strict=True)):
                    return False
            return True

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            rights = [Child(look).finish() for _ in range(40)]
        finally:
            ends.set()
            thread.join(30)

        assert errors == []
        assert all(rights)
        newest.clear()
        assert flood(ring) == [False] * 30
        gc.collect()
        flood(ring)
        ring.subscribers[0]._has_room_for_view()
        assert ring.free_slots == ring.output.slots
        assert descriptors() == before
