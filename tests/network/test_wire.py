"""What two gateways exchange is read as it was written; garbage is refused and nothing else."""

from __future__ import annotations

import random

import pytest

from dora_rt.network.wire import Ack, Encoding, Head, Kind, WireError

_SAMPLE = Head(
    Kind.SAMPLE,
    run=2**63 + 1,
    life=7,
    number=(3, 2**40),
    previous=(2, 9),
    origin_ns=11,
    sent_ns=12,
    nbytes=480 * 640 * 3,
    encoding=Encoding.ARRAY,
    dtype="|u1",
    shape=(480, 640, 3),
    metadata_json=b'{"a":1}',
)


@pytest.mark.parametrize(
    "head",
    [
        _SAMPLE,
        Head(Kind.SAMPLE, 1, 2, (0, 0), None, nbytes=8),
        Head(Kind.PROBE, 1, 2, None, (0, 4), probe=9),
        Head(Kind.END, 1, 2, (0, 4), None),
    ],
    ids=["array", "bytes", "probe", "end"],
)
def test_head_is_read_as_it_was_written(head: Head) -> None:
    assert Head.from_bytes(head.to_bytes()) == head


def test_acknowledgement_is_read_as_it_was_written() -> None:
    ack = Ack(1, 2, (3, 4), None, probe=5, received=6, has_ended=True)

    assert Ack.from_bytes(ack.to_bytes()) == ack


def test_garbage_is_refused() -> None:
    for seed in range(1000):
        chance = random.Random(seed)
        good = bytearray((_SAMPLE if seed % 2 else Ack(1, 2, (3, 4), (0, 1))).to_bytes())
        for _ in range(chance.randrange(1, 6)):
            good[chance.randrange(len(good))] = chance.randrange(256)
        garbage = bytes(good[: chance.randrange(len(good) + 1)] if seed % 3 else good)

        for read in (Head.from_bytes, Ack.from_bytes):
            try:
                found = read(garbage)
            except WireError:
                continue
            # A change of a number is no garbage; what is read can be written again.
            assert read(found.to_bytes()) == found, f"seed {seed}"


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (Head(Kind.SAMPLE, 1, 2, None, None), "no number"),
        (Head(Kind.SAMPLE, 1, 2, (0, 0), None, encoding=Encoding.ARRAY, dtype="|O8"), "dtype"),
        (
            Head(
                Kind.SAMPLE,
                1,
                2,
                (0, 0),
                None,
                nbytes=5,
                encoding=Encoding.ARRAY,
                dtype="<f8",
                shape=(2, 2**62),
            ),
            "shape",
        ),
    ],
)
def test_head_that_claims_what_cannot_be_is_refused(head: Head, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        Head.from_bytes(head.to_bytes())


def test_gateway_of_another_version_is_told_apart() -> None:
    written = bytearray(_SAMPLE.to_bytes())
    written[3] = 99

    with pytest.raises(WireError, match="version"):
        Head.from_bytes(bytes(written))
