"""What goes in comes out: bytes as bytes, arrays with their shape and dtype."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dora_rt.errors import UnsupportedValueError
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.values.header import DTYPES
from dora_rt.transport.values.sendable import encode_metadata, sendable
from tests.harness.ring import Wired, wired


@pytest.fixture
def ring():
    with wired() as ring:
        yield ring


@pytest.mark.parametrize("value", [b"", b"x", b"hello\0world", bytes(range(256)) * 5000])
def test_bytes_arrive_as_the_same_bytes(ring: Wired, value: bytes):
    ring.send(value)

    received = ring.take().value

    assert type(received) is bytes
    assert received == value


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bool_and_numeric_dtype_arrives_unchanged(ring: Wired, dtype: np.dtype):
    array = np.array([[0, 1, 100], [1, 0, 7]]).astype(dtype)
    ring.send(array)

    received = ring.take().value

    assert received.dtype == dtype
    np.testing.assert_array_equal(received, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(1, 2, 1, 3, 1, 2, 1, 2),
        np.array(3.5),
        np.empty((0,), np.float32),
        np.empty((4, 0, 6), np.float64),
        np.arange(100).reshape(10, 10)[::2, ::-3],
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(5, dtype=">i4"),
        np.broadcast_to(np.float32(7), (3, 4)),
    ],
    ids=[
        "8 dims",
        "0 dims",
        "size 0",
        "size 0 in 3 dims",
        "strided",
        "fortran",
        "big",
        "broadcast",
    ],
)
def test_arrays_of_any_layout_keep_shape_and_values(ring: Wired, array: NDArray):
    ring.send(array)

    received = ring.take().value

    assert received.shape == array.shape
    assert received.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(received, array)


def test_received_array_is_the_shared_memory_and_cannot_be_written(ring: Wired):
    array = np.arange(1000)
    ring.send(array)

    received = ring.take().value

    assert not received.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        received[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        received.flags.writeable = True


def test_size_zero_array_is_read_only_like_any_other(ring: Wired):
    ring.send(np.empty((0, 6), np.float32))

    assert not ring.take().value.flags.writeable


def test_stamp_travels_with_the_sample(ring: Wired):
    metadata = {"labels": ["ball"], "score": np.float32(0.5), "box": np.arange(2), "n": None}
    ring.send(b"x", Stamp(encode_metadata(metadata), source_ns=5, origin_ns=3))

    event = ring.take()

    assert event.origin_ns == 3
    assert event.sent_ns > 5
    assert event.metadata == {
        "labels": ["ball"],
        "score": 0.5,
        "box": [0, 1],
        "n": None,
        "open_telemetry_context": "",
    }


def test_metadata_arrive_as_a_dict_of_ones_own(ring: Wired):
    ring.send(b"x", Stamp(encode_metadata({"a": 1}), 1, 1))
    event = ring.take()

    event.metadata["b"] = 2

    assert event.metadata == {"a": 1, "b": 2, "open_telemetry_context": ""}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "a value of type NoneType cannot be sent"),
        ([1, 2], "a value of type list cannot be sent"),
        ("text", "a value of type str cannot be sent"),
        (np.array([object()]), "dtype object"),
        (np.array(["2026-11-22"], "datetime64[D]"), r"dtype datetime64\[D\]"),
        (np.zeros(2, [("a", "i4")]), "dtype"),
        (np.zeros((1,) * 9), "9 dimensions"),
    ],
)
def test_what_cannot_be_sent_is_named_with_what_can(value: object, said: str):
    with pytest.raises(UnsupportedValueError, match=said) as raised:
        sendable(value, "node 'camera', output 'image'")

    assert str(raised.value).startswith("node 'camera', output 'image': ")
    assert isinstance(raised.value, TypeError)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({1: "a"}, "metadata key 1 is of type int: keys must be strings"),
        ({"a": object()}, "a value of type object has no JSON form"),
        ({"a": b"x"}, "a value of type bytes has no JSON form"),
        ({"a": "x" * 70_000}, "is too large"),
    ],
)
def test_metadata_that_cannot_travel_are_refused(metadata: dict, said: str):
    with pytest.raises(UnsupportedValueError, match=said):
        encode_metadata(metadata)
