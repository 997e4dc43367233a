"""Arrays of Arrow: every type arrives equal, in the sender's memory where Arrow allows it."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dora_rt.errors import CorruptSampleError, UnsupportedValueError
from dora_rt.event import Event
from dora_rt.transport.input.subscriber import SMALL_NBYTES
from dora_rt.transport.values.arrow import as_arrow
from tests.harness.ring import NO_STAMP, Reader, Wired, wired

BOXES = pa.array([{"bbox": [1.0, 2.0, 3.0, 4.0], "conf": [0.5], "labels": ["bottle"]}])
UNION = pa.UnionArray.from_sparse(
    pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
)
NOT_NUMBERS = {
    "struct": BOXES,
    "struct with nulls": pa.array([{"a": 1, "b": None}, None]),
    "list": pa.array([[1, 2], [], None, [3]]),
    "large list": pa.array([[1], [2, 3]], pa.large_list(pa.float32())),
    "fixed size list": pa.FixedSizeListArray.from_arrays(pa.array(range(6)), 3),
    "list of structs": pa.array([[{"x": 1}], [{"x": 2}, {"x": 3}]]),
    "dictionary": pa.array(["cat", "dog", "cat", None]).dictionary_encode(),
    "dictionary in a struct": pa.StructArray.from_arrays(
        [pa.array(["x", "y"]).dictionary_encode()], names=["kind"]
    ),
    "string": pa.array(["eins", "zwölf", "", None]),
    "large string": pa.array(["a", "b"], pa.large_string()),
    "string view": pa.array(["short", "one that is too long to be inline"], pa.string_view()),
    "binary": pa.array([b"\0\1", b""]),
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    "numbers with nulls": pa.array([1, None, 3]),
    "timestamp": pa.array([datetime.datetime(2022, 10, 13, 12)]),
    "decimal": pa.array([1, 2], pa.decimal128(10, 2)),
    "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
    "union": UNION,
    "more than a quarter of a MiB": pa.array([list(range(50_000)), [1]]),
    "no strings": pa.array([], pa.string()),
    "slice of strings": pa.array(["a", "bb", "ccc", "dddd"])[1:3],
    "slice of lists": pa.array([[1], [2, 3], [4, 5, 6]])[1:],
    "slice of bools": pa.array([True, False, True, True])[1:],
}
NUMBERS = [
    pa.array([1, 2, 100], kind)
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64()),
    )
] + [pa.array(np.array([1, 2], np.float16))]


@pytest.fixture
def ring():
    with wired() as ring:
        yield ring


def send(ring: Wired, array: object) -> None:
    ring.publisher.send(array, NO_STAMP)


@pytest.mark.parametrize("array", NOT_NUMBERS.values(), ids=NOT_NUMBERS.keys())
def test_array_arrives_as_an_equal_array_of_the_same_type(ring: Wired, array: pa.Array):
    send(ring, array)

    received = ring.take().value

    assert type(received) is type(array)
    assert received.type == array.type
    assert received.equals(array)
    received.validate(full=True)


@pytest.mark.parametrize("array", NUMBERS, ids=lambda array: str(array.type))
def test_numbers_arrive_as_the_ndarray_that_they_are_and_back_as_arrow(
    ring: Wired, array: pa.Array
):
    send(ring, array)

    received = ring.take().value

    assert isinstance(received, np.ndarray)
    np.testing.assert_array_equal(received, array.to_numpy())
    assert as_arrow(received).equals(array)


def test_slice_of_numbers_sends_only_itself(ring: Wired):
    send(ring, pa.array(range(1000))[10:13])

    received = ring.take().value

    assert received.tolist() == [10, 11, 12]


def test_record_batch_arrives_as_an_array_of_structs(ring: Wired):
    send(ring, pa.record_batch({"a": [1, 2], "b": ["x", "y"]}))

    assert ring.take().value.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_whatever_has_arrows_c_interface_can_be_sent(ring: Wired):
    class Foreign:
        def __arrow_c_array__(self, requested_schema: object = None) -> object:
            return BOXES.__arrow_c_array__(requested_schema)

    send(ring, Foreign())

    assert ring.take().value.equals(BOXES)


def test_received_buffers_are_the_shared_memory(ring: Wired):
    send(ring, pa.array([list(range(1000)), [1]]))
    event = ring.take()
    free = ring.free_slots

    values = event.value.values
    del event

    assert not values.to_numpy().flags.writeable
    assert mapped_for(values.buffers()[1].address) == "drt-" + ring.run
    assert ring.free_slots == free, "a part of the array keeps the slot"
    del values
    assert ring.subscribers[0].take() is None
    assert ring.free_slots == free + 1


def mapped_for(address: int) -> str:
    """Give the beginning of the name of the shared object that is mapped at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            return "-".join(line.split("/")[-1].split("-")[:2])
    return "nothing"


def test_what_is_held_beyond_the_quota_is_a_copy():
    with wired(Reader(max_held=1)) as ring:
        texts = ["first" * SMALL_NBYTES, "second" * SMALL_NBYTES]
        for text in texts:
            send(ring, pa.array([text]))

        first, second = ring.take(), ring.take()

        assert (first.copied, second.copied) == (False, True)
        assert [*first.value.to_pylist(), *second.value.to_pylist()] == texts


def test_ndarray_becomes_a_flat_array_in_place():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image.flags.writeable = False

    array = as_arrow(image)

    assert array.type == pa.uint8()
    assert array.to_pylist() == list(range(24))
    assert array.buffers()[1].address == image.ctypes.data
    assert not array.to_numpy().flags.writeable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"ab", pa.array([97, 98], pa.uint8())),
        (b"", pa.array([], pa.uint8())),
        (np.array(3.5), pa.array([3.5])),
        (np.empty((0, 6), np.float32), pa.array([], pa.float32())),
        (np.array([[True, False]]), pa.array([True, False])),
        (
            np.array([1 + 2j], np.complex64),
            pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
        ),
        (None, pa.nulls(0)),
        (BOXES, BOXES),
    ],
    ids=["bytes", "no bytes", "0 dims", "size 0", "bool", "complex", "tick", "arrow"],
)
def test_other_values_become_arrays_too(value: object, expected: pa.Array):
    assert as_arrow(value).equals(expected)


def test_number_that_arrow_does_not_have_is_named():
    with pytest.raises(UnsupportedValueError, match=r"dtype (longdouble|float128) has no form"):
        as_arrow(np.zeros(2, np.longdouble))


def test_damaged_array_is_skipped_and_its_slot_comes_back(ring: Wired):
    send(ring, BOXES)
    pool = next(iter(ring.publisher._pool._segments.values())).mapping
    begin = pool.find(b"\xff\xff\xff\xff")
    pool[begin : begin + 400] = bytes(range(200)) * 2
    free = ring.free_slots

    with pytest.raises(CorruptSampleError, match="no array of Arrow"):
        ring.subscribers[0].take()
    send(ring, BOXES)

    assert ring.free_slots == free
    assert ring.take().value.equals(BOXES)
    assert ring.counters().dropped == 1


def test_event_says_what_array_it_has():
    assert repr(Event("boxes", BOXES)) == ("Event('boxes', StructArray of 1, seq=0, dropped=0)")
