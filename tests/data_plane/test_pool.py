"""Payload memory: grows by generations, is allocated when used, and shrinks back to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dora_rt.errors import SharedMemoryFullError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.primitives.shm import Segment
from tests.harness.ring import Reader, wired


def generations(run: str) -> list[str]:
    return sorted(path.name for path in Path("/dev/shm").glob(f"drt-{run}-o0.0g*"))


def allocated_nbytes(run: str) -> int:
    return sum(path.stat().st_blocks * 512 for path in Path("/dev/shm").glob(f"drt-{run}-o0.0g*"))


def test_samples_of_growing_size_arrive_whole():
    with wired(Reader(3)) as ring:
        for exponent in range(6, 25):
            array = np.full(1 << exponent, exponent, np.uint8)
            ring.send(array)

            received = ring.take().value

            assert received.nbytes == 1 << exponent
            assert (received == exponent).all()
            del received


def test_held_sample_survives_the_growth_of_the_pool():
    with wired(Reader(3)) as ring:
        ring.send(np.full(1000, 1, np.uint8))
        held = ring.take().value

        for nbytes in (1 << 20, 1 << 22, 1 << 24):
            ring.send(np.full(nbytes, 2, np.uint8))
            assert (ring.take().value == 2).all()

        assert (held == 1).all()


def test_sample_that_waits_in_the_queue_survives_the_growth_of_the_pool():
    with wired(Reader(5)) as ring:
        sizes = [100, 1 << 20, 100, 1 << 22, 100]
        for value, nbytes in enumerate(sizes):
            ring.send(np.full(nbytes, value, np.uint8))

        for value, nbytes in enumerate(sizes):
            received = ring.take().value
            assert received.nbytes == nbytes
            assert (received == value).all()


def test_loan_that_began_before_the_growth_arrives_whole():
    from tests.harness.ring import NO_STAMP

    with wired(Reader(5)) as ring:
        with ring.publisher.loan(
            (1000,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False
        ) as array:
            for nbytes in (1 << 20, 1 << 22):
                ring.send(np.full(nbytes, 2, np.uint8))
                ring.take()
            array[:] = 1

        assert (ring.take().value == 1).all()


def test_old_generations_are_removed_when_nobody_needs_them():
    with wired(Reader(3)) as ring:
        ring.send(np.zeros(100, np.uint8))
        held = ring.take().value
        ring.send(np.zeros(1 << 22, np.uint8))
        ring.take()
        assert len(generations(ring.run)) == 2

        del held
        ring.send(np.zeros(100, np.uint8))

        assert generations(ring.run) == [f"drt-{ring.run}-o0.0g1"]


def test_fast_reader_needs_memory_for_few_slots_only():
    with wired(Reader(10), Reader(10)) as ring:
        nbytes = 1 << 20
        for _ in range(50):
            ring.send(np.zeros(nbytes, np.uint8))
            ring.take(0)
            ring.take(1)

        assert allocated_nbytes(ring.run) < 3 * nbytes


def test_slot_bytes_are_allocated_at_launch():
    with wired(Reader(1), slot_nbytes=1 << 20) as ring:
        assert allocated_nbytes(ring.run) >= ring.output.slots << 20

        ring.send(np.zeros((1 << 20) - 8192, np.uint8))

        assert generations(ring.run) == [f"drt-{ring.run}-o0.0g0"]


def removed_pools_in_use(run: str) -> list[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if f"drt-{run}-o0.0g" in line and line.endswith("(deleted)")]


def test_writer_keeps_no_old_pool_mapped_for_arrays_that_it_sent_before():
    with wired(Reader(1)) as ring:
        ring.send(np.zeros(1000, np.uint8))
        for _ in range(ring.output.slots + 1):
            ring.send(bytes(1 << 20))
        assert generations(ring.run) == [f"drt-{ring.run}-o0.0g1"]

        assert removed_pools_in_use(ring.run) == []

        ring.send(np.full(1000, 3, np.uint8))
        assert (ring.take().value == 3).all()


def test_sample_that_finds_no_room_costs_the_pool_nothing(monkeypatch: pytest.MonkeyPatch):
    with wired(Reader(3, QueuePolicy.BLOCK)) as ring:
        small, large = np.zeros(100_000, np.uint8), np.zeros(5_000_000, np.uint8)
        ring.send(small)
        ring.take()
        commit = Segment.commit

        def refuse(segment: Segment, offset: int, nbytes: int) -> None:
            if nbytes > 1_000_000:
                raise SharedMemoryFullError("no room")
            commit(segment, offset, nbytes)

        with monkeypatch.context() as patch:
            patch.setattr(Segment, "commit", refuse)
            for _ in range(100):
                with pytest.raises(SharedMemoryFullError):
                    ring.send(large)
                ring.send(small)
                assert (ring.take().value == small).all()
        assert len(generations(ring.run)) == 1, "of a pool that could not be had nothing is left"

        ring.send(large)

        assert (ring.take().value == large).all()
