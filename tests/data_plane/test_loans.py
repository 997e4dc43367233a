"""A loan takes one slot, and gives it back or publishes it exactly once, whatever happens."""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from dora_rt.compiled import IS_COMPILED
from dora_rt.errors import (
    DoraRtError,
    LoanError,
    NodeClosedError,
    TooManyLoansError,
    UnsupportedValueError,
)
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output import loan as loan_module
from dora_rt.transport.output import publisher as publisher_module
from dora_rt.transport.output.loan import Loan
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.primitives.shm import SHM_DIRECTORY
from tests.harness.interruptions import CAN_RAISE_EVERYWHERE, Interrupted, interrupting
from tests.harness.ring import NO_STAMP, Reader, Wired, wired
from tests.harness.waiting import eventually

WORD = np.dtype(np.uint8)


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Let `gc.collect` pass over all that other tests have left: it takes 50 ms each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def loan(
    ring: Wired, shape: Any = (1000,), dtype: Any = WORD, stamp: Stamp | None = NO_STAMP
) -> Loan:
    def make() -> Stamp:
        if stamp is None:
            raise UnsupportedValueError("metadata that cannot be sent")
        return stamp

    return ring.publisher.loan(shape, np.dtype(dtype), make, has_metadata=False)


def slots_that_loans_find(ring: Wired) -> int:
    """Open as many loans as there can be, and give them all up again."""
    found = []
    try:
        while True:
            one = loan(ring)
            one.__enter__()
            found.append(one)
    except TooManyLoansError:
        for one in found:
            one.cancel()
        return len(found)


@pytest.mark.parametrize(
    "shape",
    [(0, 2**62, 2**62), (2**62, 0, 4), (2**63,), (2**32, 2**32), (np.int64(2**40),) * 2, (-1,)],
    ids=str,
)
def test_shape_that_no_array_has_is_refused_and_takes_no_slot(shape: tuple[int, ...]):
    with wired() as ring:
        for _ in range(ring.output.slots + 1):
            with pytest.raises(ValueError, match=r"^node 'writer', output 'output': a loan of "):
                loan(ring, shape)

        assert ring.free_slots == ring.output.slots


@pytest.mark.parametrize("shape", [(2.0,), ("3",), (None,)], ids=str)
def test_shape_of_no_numbers_is_refused_and_takes_no_slot(shape: tuple[Any, ...]):
    with wired() as ring:
        with pytest.raises(TypeError, match=r"a loan of shape .* is not possible"):
            loan(ring, shape)

        assert ring.free_slots == ring.output.slots


@pytest.mark.parametrize("dtype", ["u1", "f8", "G"])
def test_largest_empty_array_that_numpy_can_make_arrives(dtype: str):
    length = sys.maxsize // np.dtype(dtype).itemsize
    with wired() as ring:
        with loan(ring, (0, length), dtype):
            pass

        assert ring.take().value.shape == (0, length)
        with pytest.raises(ValueError, match="is not possible"):
            loan(ring, (0, length + 1), dtype)


def test_loan_too_large_for_the_machine_is_an_error_with_numbers_and_takes_no_slot():
    with wired() as ring:
        for _ in range(ring.output.slots + 1):
            with pytest.raises(DoraRtError, match=r"[0-9]{3} (more )?bytes"), loan(ring, (2**50,)):
                pass

        assert ring.free_slots == ring.output.slots
        ring.send(b"goes on")
        assert ring.take().value == b"goes on"


def test_loan_that_was_sent_in_its_block_is_sent_once():
    with wired(Reader(2)) as ring:
        one = loan(ring)

        with one as array:
            array[:] = 1
            one.send()

        assert [event.seq for event in iter(ring.subscribers[0].take, None)] == [0]
        assert ring.free_slots == ring.output.slots
        assert ring.counters().sent == 1


def send_again(one: Loan) -> None:
    one.send()


def begin_again(one: Loan) -> None:
    one.__enter__()


@pytest.mark.parametrize("use", [send_again, begin_again])
def test_loan_that_was_sent_cannot_be_used_again(use: Callable[[Loan], None]):
    with wired() as ring:
        one = loan(ring)
        with one as array:
            array[:] = 1

        with pytest.raises(LoanError, match="it was sent already; each loan"):
            use(one)
        with pytest.raises(LoanError, match="it was sent already"):
            one.cancel()

        assert ring.counters().sent == 1
        assert (ring.take().value == 1).all()
        assert ring.free_slots == ring.output.slots


@pytest.mark.parametrize("use", [send_again, begin_again])
def test_loan_that_was_given_up_cannot_be_used_again(use: Callable[[Loan], None]):
    with wired() as ring:
        one = loan(ring)
        with one:
            one.cancel()
            one.cancel()

        with pytest.raises(LoanError, match="it was given up"):
            use(one)

        assert ring.counters().sent == 0
        assert ring.free_slots == ring.output.slots


def test_loan_cannot_be_sent_before_its_block():
    with wired() as ring:
        one = loan(ring)

        with pytest.raises(LoanError, match="its block has not begun"):
            one.send()

        with one as array:
            array[:] = 3
        assert (ring.take().value == 3).all()


def test_loan_that_was_given_up_before_its_block_takes_no_slot():
    with wired() as ring:
        one = loan(ring)
        one.cancel()

        with pytest.raises(LoanError, match="it was given up"):
            one.__enter__()

        assert ring.free_slots == ring.output.slots


def test_second_block_inside_the_first_is_refused_and_the_first_is_sent():
    with wired() as ring:
        one = loan(ring)
        with one as array:
            array[:] = 4
            with pytest.raises(LoanError, match="it is being written"):
                one.__enter__()

        assert (ring.take().value == 4).all()
        assert ring.free_slots == ring.output.slots


def test_loan_whose_metadata_cannot_be_sent_gives_its_slot_back():
    with wired() as ring:
        one = loan(ring, stamp=None)
        with pytest.raises(UnsupportedValueError, match="metadata"), one as array:
            array[:] = 1

        with pytest.raises(LoanError, match="it was given up"):
            one.send()
        assert ring.free_slots == ring.output.slots


def change_strides(array: np.ndarray[Any, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.strides = array.strides[::-1]


def change_form(**changes: Any) -> Callable[[np.ndarray[Any, Any]], None]:
    def change(array: np.ndarray[Any, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name, value in changes.items():
                setattr(array, name, value)

    return change


@pytest.mark.parametrize(
    "change, dtype, shape",
    [
        (change_form(shape=(16,)), np.int32, (16,)),
        (change_form(shape=(2, 2, 4)), np.int32, (2, 2, 4)),
        (change_form(dtype=np.uint8), np.uint8, (4, 16)),
        (change_form(dtype=np.float32), np.float32, (4, 4)),
    ],
    ids=["shape", "dimensions", "narrower", "same width"],
)
@pytest.mark.parametrize("end", ["block", "send"])
def test_array_of_another_form_in_the_same_memory_arrives_as_it_is_at_the_end(
    change: Callable[[np.ndarray[Any, Any]], None], dtype: Any, shape: tuple[int, ...], end: str
):
    with wired() as ring:
        for _ in range(2 * ring.output.slots):  # each slot anew, and known
            with (one := loan(ring, (4, 4), np.int32)) as array:
                array[...] = np.arange(16).reshape(4, 4)
                change(array)
                if end == "send":
                    one.send()

            event = ring.take()
            assert (event.value.dtype, event.value.shape) == (dtype, shape)
            assert event.value.tobytes() == np.arange(16, dtype=np.int32).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        change_strides,
        change_form(dtype=np.dtype(np.int32).newbyteorder()),
        change_form(dtype="V4"),
        change_form(shape=(1,) * 7 + (4, 4)),
    ],
    ids=["strides", "byte order", "dtype", "dimensions"],
)
@pytest.mark.parametrize("end", ["block", "send"])
def test_array_that_cannot_be_sent_as_it_lies_is_refused_and_its_slot_comes_back(
    change: Callable[[np.ndarray[Any, Any]], None], end: str
):
    with wired() as ring:
        before = ring.free_slots

        for _ in range(2 * ring.output.slots):
            with (
                pytest.raises(UnsupportedValueError, match=r"output 'output': a loan of int32 \("),
                (one := loan(ring, (4, 4), np.int32)) as array,
            ):
                change(array)
                if end == "send":
                    one.send()

        assert ring.free_slots == before
        assert ring.subscribers[0].take() is None


@pytest.mark.usefixtures("small_heap")
def test_forgotten_loan_gives_its_slot_back_with_the_last_view_of_it():
    with wired() as ring:
        for _ in range(3 * ring.output.slots):
            array = loan(ring).__enter__()
            view = array[3:7]
            del array
            gc.collect()
            # As long as somebody could write to it, the slot is nobody else's.
            assert ring.free_slots == ring.output.slots - 1
            del view

        assert ring.free_slots == ring.output.slots


def test_sends_find_the_slots_of_forgotten_loans():
    with wired(Reader(2)) as ring:
        for _ in range(ring.output.slots):
            loan(ring).__enter__()
        gc.collect()

        for number in range(ring.output.slots):
            ring.send(bytes([number]))

        newest = ring.output.slots - 1
        taken = [event.value[0] for event in iter(ring.subscribers[0].take, None)]
        assert taken == [newest - 1, newest]


def test_slot_of_a_forgotten_loan_that_another_one_has_is_left_to_it():
    with wired() as ring:
        first = loan(ring)
        array = first.__enter__()
        slot = first._held[0][0]
        first.cancel()
        second = loan(ring)
        kept = second.__enter__()
        assert second._held[0][0] == slot

        del array, first
        gc.collect()

        kept[:] = 5
        ring.send(np.full(1000, 9, np.uint8))
        second.send()
        assert [int(event.value[0]) for event in iter(ring.subscribers[0].take, None)] == [9, 5]


FILES = {loan_module.__file__, publisher_module.__file__}


def block(ring: Wired) -> None:
    with loan(ring) as array:
        array[:] = 7


def block_with_send(ring: Wired) -> None:
    one = loan(ring)
    with one as array:
        array[:] = 7
        one.send()


def block_that_fails(ring: Wired) -> None:
    with pytest.raises(ZeroDivisionError), loan(ring) as array:
        array[:] = 1 // 0


def block_that_gives_up(ring: Wired) -> None:
    one = loan(ring)
    with one:
        one.cancel()


def forgotten(ring: Wired) -> None:
    loan(ring).__enter__()


def block_whose_metadata_fail(ring: Wired) -> None:
    with pytest.raises(UnsupportedValueError), loan(ring, stamp=None):
        pass


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize(
    "use",
    [
        block,
        block_with_send,
        block_that_fails,
        block_that_gives_up,
        forgotten,
        block_whose_metadata_fail,
    ],
)
def test_exception_of_a_signal_handler_at_any_step_neither_leaks_nor_doubles(
    use: Callable[[Wired], None],
):
    with wired(Reader(3)) as ring:
        steps = sent = 0
        was_raised = True
        while was_raised:
            with (
                interrupting([steps + 1], FILES.__contains__, everywhere=True) as count,
                suppress(Interrupted),
            ):
                use(ring)
            was_raised = count[0] > steps
            gc.collect(1)

            events = list(iter(ring.subscribers[0].take, None))

            assert len(events) <= 1, f"step {steps}"
            assert all((event.value == 7).all() for event in events), f"step {steps}"
            sent += len(events)
            del events
            free = ring.writer.free
            # What a send broke off, the next one brings to an end.
            assert ring.publisher._is_midway or len(set(free)) == len(free), f"step {steps}"
            assert ring.free_slots == ring.output.slots, f"step {steps}"
            steps += 1

        least = 250 if CAN_RAISE_EVERYWHERE else 10
        assert steps > (0 if IS_COMPILED else least), "no handler runs within compiled code"
        assert ring.counters().sent == sent == ring.counters().delivered
        assert slots_that_loans_find(ring) == ring.output.slots


def test_threads_that_send_one_loan_at_once_send_it_once():
    with wired(Reader(10)) as ring:
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        refused = []
        try:
            for _ in range(200):
                one = loan(ring)
                one.__enter__()[:] = 1
                gate = threading.Barrier(3)

                def send(one: Loan = one, gate: threading.Barrier = gate) -> None:
                    gate.wait(30)
                    try:
                        one.send()
                    except LoanError as error:
                        refused.append(error)

                threads = [threading.Thread(target=send) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
        finally:
            sys.setswitchinterval(interval_s)

        assert len(refused) == 400
        assert ring.counters().sent == 200
        assert len(list(iter(ring.subscribers[0].take, None))) == 10
        assert ring.free_slots == ring.output.slots


def test_threads_with_loans_of_all_fates_leave_every_slot_free():
    with wired(Reader(2)) as ring:
        uses = [block, block_with_send, block_that_fails, block_that_gives_up, forgotten]
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        errors: list[BaseException] = []

        def work(first: int) -> None:
            try:
                for number in range(300):
                    uses[(first + number) % len(uses)](ring)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(2)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            sys.setswitchinterval(interval_s)

        assert errors == []
        gc.collect()
        assert ring.counters().sent == 2 * 300 * 2 // 5
        events = list(iter(ring.subscribers[0].take, None))
        assert all((event.value == 7).all() for event in events)
        del events
        assert ring.free_slots == ring.output.slots


def test_loan_can_be_given_up_while_another_thread_waits_for_room():
    with wired(Reader(1, QueuePolicy.BLOCK)) as ring:
        one = loan(ring)
        one.__enter__()
        ring.send(b"fills the queue")
        waits = threading.Thread(target=ring.send, args=(b"waits",))
        waits.start()
        try:
            one.cancel()
        finally:
            ring.take()
            waits.join(30)

        assert ring.take().value == b"waits"
        assert ring.free_slots == ring.output.slots


def test_close_beside_threads_with_loans_ends_each_loan_once():
    for _ in range(20):
        with wired(Reader(2)) as ring:
            refused = []
            sent = []
            gate = threading.Barrier(3)

            def work(
                ring: Wired = ring,
                refused: list[int] = refused,
                sent: list[int] = sent,
                gate: threading.Barrier = gate,
            ) -> None:
                gate.wait(30)
                try:
                    while True:
                        block(ring)
                        sent.append(1)
                except NodeClosedError:
                    refused.append(1)

            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            gate.wait(30)
            eventually(lambda sent=sent: len(sent) > 5)
            ring.publisher.close()
            for thread in threads:
                thread.join(30)

            assert len(refused) == 2
            assert ring.counters().sent == len(sent)
            events = list(iter(ring.subscribers[0].take, None))
            assert all((event.value == 7).all() for event in events)
            del events
            assert ring.free_slots == ring.output.slots


def test_loan_that_is_open_when_the_output_closes_is_refused_and_gives_its_slot_back():
    with wired() as ring:
        with pytest.raises(NodeClosedError, match="closed"), loan(ring) as array:
            array[:] = 1
            ring.publisher.close()
            array[:] = 2  # the memory is still there

        assert ring.subscribers[0].take() is None
        assert ring.free_slots == ring.output.slots


def test_exception_in_a_loan_of_a_closed_output_is_the_one_that_is_seen():
    with wired() as ring:
        with pytest.raises(ZeroDivisionError), loan(ring):
            ring.publisher.close()
            _ = 1 // 0

        assert ring.free_slots == ring.output.slots


def test_loan_from_before_the_pool_grew_arrives_and_the_old_pool_goes():
    with wired(Reader(10)) as ring:
        one = loan(ring)
        array = one.__enter__()
        forgotten(ring)
        ring.send(np.zeros(10**6, np.uint8))
        array[:] = 6
        one.send()

        large, small = iter(ring.subscribers[0].take, None)

        assert large.value.nbytes == 10**6
        assert (small.value == 6).all()
        del large, small
        gc.collect()
        assert ring.free_slots == ring.output.slots
        ring.send(b"the next one looks which pools are in use")
        (pool,) = SHM_DIRECTORY.glob(f"drt-{ring.run}-o*g*")
        assert pool.name.endswith("g1")


@pytest.mark.parametrize("end", ["sent", "given up", "forgotten"])
def test_loans_that_have_ended_are_on_no_list_that_grows(end: str):
    with wired() as ring:
        for _ in range(100):
            one = loan(ring)
            one.__enter__()
            if end == "sent":
                one.send()
                ring.take()
            elif end == "given up":
                one.cancel()
            del one

        loans = ring.publisher.loans
        assert len(loans._abandoned) <= ring.output.slots
        assert len(loans._watches) <= ring.output.slots
