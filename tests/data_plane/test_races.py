"""The moments between two steps of the ring, each brought about on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.ring import protocol as baton
from tests.harness.ring import NO_STAMP, Reader, Wired, wired


class Interrupting:
    """A token that lets somebody else run at the moment a reader claims it."""

    def __init__(self, token, happens) -> None:
        self._token = token
        self._happens = happens

    def acquire(self, timeout=None) -> None:
        happens, self._happens = self._happens, None
        if happens:
            happens()
        self._token.acquire(timeout)

    def close(self) -> None:
        self._token.close()


def interrupt_claims(ring: Wired, happens, kind=Interrupting) -> None:
    """Let something happen when the reader first claims the slot of the oldest sample."""
    reader = ring.reader()
    find = reader._find_token
    oldest = ring.writer.edges[0].pending[0][1]
    reader._find_token = lambda slot: kind(find(slot), happens if slot == oldest else None)


def test_slot_recycled_between_the_look_and_the_claim_is_kept_for_its_turn():
    with wired(Reader(2)) as ring:
        ring.send(b"0")
        slot = ring.writer.edges[0].pending[0][1]

        def recycle() -> None:
            # Drops 0, and by last-in-first-out its slot soon carries a later sample.
            ring.send(b"1")
            ring.send(b"2")
            ring.send(b"3")
            assert ring.writer._seqs[slot] == 3, "the fault took place"

        interrupt_claims(ring, recycle)

        events = [ring.take(), ring.take()]

        assert [event.value for event in events] == [b"2", b"3"]
        assert [event.dropped for event in events] == [2, 0]
        assert ring.subscribers[0].take() is None
        counters = ring.counters()
        assert counters.delivered + counters.dropped == 4


def test_early_claim_grows_too_old_like_any_other_sample():
    with wired(Reader(2)) as ring:
        all_slots = ring.free_slots
        ring.send(b"0")
        interrupt_claims(ring, lambda: [ring.send(str(value).encode()) for value in range(1, 4)])
        event = ring.take()
        assert event.value == b"2"

        for value in range(4, 100):
            ring.send(str(value).encode())
        taken = [int(event.value) for event in iter(ring.subscribers[0].take, None)]

        assert taken == [98, 99], "3 is not one of the newest two any more"
        counters = ring.counters()
        assert counters.delivered + counters.dropped == counters.sent == 100
        assert ring.free_slots == all_slots


def test_sample_dropped_between_the_look_and_the_claim_is_counted():
    with wired(Reader(1)) as ring:
        ring.send(b"0")
        interrupt_claims(ring, lambda: ring.send(b"1"))

        event = ring.take()

        assert (event.value, event.dropped) == (b"1", 1)


def test_drops_behind_the_newest_sample_count_for_the_next_one():
    with wired(Reader(1, QueuePolicy.LATEST)) as ring:
        ring.send(b"0")
        edge = ring.writer.edges[0]
        stolen = []

        def overtake() -> None:
            # Samples 1 and 2 come and go, and the token of 3 is still on its way.
            for value in (b"1", b"2", b"3"):
                ring.send(value)
            stolen.append(edge.tokens[edge.pending[0][1]])
            stolen[0].acquire(0)

        class Overtaken(Interrupting):
            def acquire(self, timeout=None) -> None:
                happens, self._happens = self._happens, None
                super().acquire(timeout)
                if happens:
                    happens()

        interrupt_claims(ring, overtake, Overtaken)

        first = ring.take()
        stolen[0].release()
        second = ring.take()

        assert (first.value, first.dropped) == (b"0", 0)
        assert (second.value, second.dropped) == (b"3", 2)
        assert ring.counters().dropped == 2


def test_order_seen_before_its_token_is_not_taken_for_a_drop():
    with wired(Reader(3)) as ring:
        ring.send(b"0")
        edge = ring.writer.edges[0]
        token = edge.tokens[edge.pending[0][1]]
        token.acquire(0)

        assert ring.subscribers[0].take() is None

        token.release()
        event = ring.take()
        assert (event.value, event.dropped) == (b"0", 0)


def test_token_that_comes_between_the_two_looks_for_a_gap_is_used_at_once():
    with wired(Reader(3)) as ring:
        ring.send(b"0")
        ring.send(b"1")
        reader = ring.reader()
        find = reader._find_token
        edge = ring.writer.edges[0]
        (_, first), (_, second) = edge.pending
        edge.tokens[first].acquire(0)  # on its way, when the reader looks for it
        reader._find_token = lambda slot: Interrupting(
            find(slot), edge.tokens[first].release if slot == second else None
        )

        event = ring.take()

        assert (event.value, event.dropped) == (b"0", 0)
        assert ring.take().value == b"1"


def test_no_reader_is_woken_before_all_have_the_sample():
    with wired(Reader(), Reader()) as ring:
        woken: list[bytes | None] = []

        class Bell:
            value = 0

            def release(self) -> None:
                event = ring.subscribers[1].take()
                woken.append(None if event is None else event.value)

        ring.writer.edges[0].doorbell = Bell()

        ring.send(b"0")

        assert woken == [b"0"]


def test_slot_number_out_of_range_is_refused():
    with wired() as ring:
        ring.send(b"0")
        writer = ring.writer
        ring.publisher._words[writer._order] = 1 << 16 | 999

        with pytest.raises(CorruptSampleError, match="sample 0 claims to be in slot 999"):
            ring.subscribers[0].take()


@pytest.mark.parametrize(
    ("offset", "damage"),
    [
        (32, (1 << 40).to_bytes(8, "little")),
        (40, (1 << 30).to_bytes(4, "little")),
        (44, bytes([9])),
        (45, bytes([200])),
        (46, bytes([99])),
        (47, bytes([77])),
        (48, (1 << 60).to_bytes(8, "little")),
        (0, (5).to_bytes(8, "little")),
    ],
    ids=["nbytes", "metadata", "encoding", "dtype", "ndim", "version", "shape", "seq"],
)
def test_damaged_header_is_an_error_and_the_sample_is_skipped(offset: int, damage: bytes):
    import numpy as np

    with wired() as ring:
        all_slots = ring.free_slots
        ring.send(np.zeros(10))
        slot = ring.writer.edges[0].pending[0][1]
        buffer, begin, *_ = ring.publisher._pool.allocate(slot, 1)
        buffer[begin + offset : begin + offset + len(damage)] = damage
        ring.send(b"next")

        with pytest.raises(CorruptSampleError, match="node 'reader', input 'input'"):
            ring.subscribers[0].take()

        event = ring.take()
        assert (event.value, event.dropped) == (b"next", 1)
        assert ring.free_slots == all_slots


def test_segment_of_another_making_is_refused():
    with wired() as ring:
        words = ring.publisher._words

        with pytest.raises(SharedMemoryError, match="overwritten, or made by another version"):
            baton.check_output(words, ring.output.slots + 1, 1, "/drt-x-o0")


def test_two_samples_in_the_hands_of_a_reader_cost_its_queue_no_slot():
    with wired(Reader(2, max_held=0)) as ring:
        ring.send(b"0")
        edge = ring.writer.edges[0]
        token = edge.tokens[edge.pending[0][1]]
        token.acquire(0)  # 0 is on its way
        ring.send(b"1")
        reader = ring.reader()
        look, queued = reader._is_gone, []

        def look_late(seq: int, slot: int) -> bool:
            token.release()
            is_gone = look(seq, slot)
            assert set(reader._early) == {0, 1}, "the fault took place"
            with ring.publisher.loan(
                (8,), np.dtype(np.uint8), lambda: NO_STAMP, has_metadata=False
            ):
                for value in range(2, 30):
                    ring.send(str(value).encode())
                queued.extend(seq for seq, *_ in edge.pending)
            return is_gone

        reader._is_gone = look_late

        assert ring.take().value == b"29"
        assert queued == [28, 29]
