"""Values on their way between machines; pictures become smaller, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import cv2
import numpy as np
import pytest

from dora_rt.event import Event
from dora_rt.network.gateway_plan import OverNetwork
from dora_rt.network.picture_coding import Coded, can_cross, code, decode
from dora_rt.network.wire import Encoding, Head, Kind, WireError
from dora_rt.picture import picture_of

_JPEG = OverNetwork(compress="jpeg", quality=90)


def picture(*channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture with a gradient, whose first channel is the brightest."""
    row = np.linspace(0, 200, 64, dtype=np.uint8)
    plane = np.tile(row, (48, 1))
    if not channels:
        return plane
    return np.stack([plane // (1 + channel) for channel in range(channels[0])], axis=2)


def event(value: Any, **metadata: Any) -> Event:
    return Event("in", value, json.dumps(metadata).encode() if metadata else b"", 0, 0, 0, 0)


def head_of(coded: Coded) -> Head:
    head = Head(
        Kind.SAMPLE,
        1,
        1,
        (0, 0),
        None,
        nbytes=len(coded.payload),
        encoding=coded.encoding,
        dtype=coded.dtype,
        shape=coded.shape,
        metadata_json=coded.metadata_json,
    )
    return Head.from_bytes(head.to_bytes())


def crossed(sample: Event, over_network: OverNetwork = OverNetwork()) -> Any:  # noqa: B008
    coded = code(sample, over_network)
    return decode(head_of(coded), coded.payload)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(7, np.int64),
        np.zeros((0, 3), np.uint16),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.arange(10)[::-2],
    ],
)
def test_arrays_cross_as_they_are(value: Any) -> None:
    arrived = crossed(event(value))

    assert arrived.dtype == value.dtype
    assert arrived.shape == value.shape
    assert np.array_equal(arrived, value)


def test_arrays_of_arrow_cross_as_they_are() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    value = pyarrow.array(["a", None, "c"])

    assert crossed(event(value)).equals(value)


def test_long_double_is_another_type_elsewhere() -> None:
    assert not can_cross(np.zeros(3, np.longdouble))
    assert can_cross(b"bytes")
    assert can_cross(np.zeros(3))


@pytest.mark.parametrize("value", [picture(3), picture(), picture(1)], ids=["bgr", "grey", "1"])
def test_picture_crosses_as_a_jpeg_and_is_an_array_again(value: Any) -> None:
    coded = code(event(value), _JPEG)
    arrived = decode(head_of(coded), coded.payload)

    assert coded.encoding is Encoding.JPEG
    assert len(coded.payload) < value.nbytes / 2
    assert arrived.shape == value.shape
    assert np.abs(arrived.astype(int) - value).mean() < 3


def test_flat_picture_of_dora_stays_flat() -> None:
    value = picture(3)
    flat = event(value.reshape(-1), width=64, height=48, encoding="rgb8")

    arrived = crossed(flat, _JPEG)

    assert arrived.shape == (64 * 48 * 3,)
    assert np.abs(arrived.astype(int) - value.reshape(-1)).mean() < 3


def test_flat_picture_that_is_narrowed_says_its_new_size() -> None:
    flat = event(picture(3).reshape(-1), width=64, height=48, encoding="bgr8")

    coded = code(flat, dataclasses.replace(_JPEG, max_width=32))
    arrived = decode(head_of(coded), coded.payload)

    metadata = json.loads(coded.metadata_json)
    assert (metadata["width"], metadata["height"]) == (32, 24)
    assert picture_of(arrived, metadata).shape == (24, 32, 3)


def test_picture_is_narrowed_without_a_jpeg_too() -> None:
    arrived = crossed(event(picture(3)), OverNetwork(max_width=16))

    assert arrived.shape == (12, 16, 3)


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8"])
def test_reader_that_wants_the_bytes_gets_a_jpeg_in_the_right_colours(encoding: str) -> None:
    sample = event(picture(3), encoding=encoding)

    coded = code(sample, dataclasses.replace(_JPEG, decode=False))
    arrived = decode(head_of(coded), coded.payload)

    assert coded.encoding is Encoding.JPEG_BYTES
    metadata = json.loads(coded.metadata_json)
    expected = picture_of(sample.value, sample.metadata)
    assert np.abs(picture_of(arrived, metadata).astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((2, 2), np.uint8),
        np.zeros(50, np.uint8),
    ],
    ids=["floats", "transparent", "matrix", "flat"],
)
def test_what_is_no_picture_crosses_as_it_is(value: Any) -> None:
    assert code(event(value), _JPEG).encoding is Encoding.ARRAY


def test_picture_whose_metadata_make_no_sense_crosses_as_it_is() -> None:
    broken = Event("in", picture(3), b"{no json", 0, 0, 0, 0)

    coded = code(broken, _JPEG)

    assert coded.encoding is Encoding.ARRAY
    assert coded.metadata_json == b"{no json"


def test_bytes_of_a_file_cross_as_they_are() -> None:
    done, content = cv2.imencode(".jpg", picture(3))
    assert done

    assert crossed(event(content.tobytes()), _JPEG) == content.tobytes()


def jpeg_head(content: bytes, shape: tuple[int, ...]) -> Head:
    coded = Coded(content, Encoding.JPEG, "|u1", shape)
    return head_of(coded)


@pytest.mark.parametrize("shape", [(47, 64, 3), (48, 64, 2), (60_000, 60_000, 3), ()])
def test_jpeg_of_another_shape_than_it_claims_is_refused(shape: tuple[int, ...]) -> None:
    content = cv2.imencode(".jpg", picture(3))[1].tobytes()

    with pytest.raises(WireError, match="no JPEG of shape"):
        decode(jpeg_head(content, shape), content)


def test_jpeg_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    content = bytearray(cv2.imencode(".jpg", picture(3))[1].tobytes())
    begin = content.index(b"\xff\xc0") + 5
    content[begin : begin + 4] = b"\xf0\x00\xf0\x00"
    side = 0xF000

    with pytest.raises(WireError, match="at most"):
        decode(jpeg_head(bytes(content), (side, side, 3)), bytes(content))


def test_garbage_in_place_of_a_jpeg_is_refused() -> None:
    with pytest.raises(WireError):
        decode(jpeg_head(b"garbage" * 9, (48, 64, 3)), b"garbage" * 9)


def test_payload_of_another_size_than_it_claims_is_refused() -> None:
    coded = code(event(b"12345678"), OverNetwork())

    with pytest.raises(WireError, match="claims to have 8"):
        decode(head_of(coded), b"1234567")
