"""The bytes that two gateways exchange about one stream; all that is read is untrusted.

A sample is a head (the attachment) and its value (the payload). Probes and ends are heads without
a value, put under the same key with the same priority, so that they arrive behind the samples that
were put before. Everything is little-endian, whatever the machines are.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from dora_rt.errors import DoraRtError

WIRE_VERSION = 1
MAX_NDIM = 8
MAX_METADATA_NBYTES = 64 * 1024

Number = tuple[int, int]
"""Of a sample: the generation of its output, and its number there. Later ones are greater."""

_MAGIC = b"drt"
_NONE = (0xFFFF_FFFF, 0)
_HEAD = struct.Struct("<3sBBBBxQQIQIQQQQI8sI")
_LENGTH = struct.Struct("<Q")
_ACK = struct.Struct("<3sBBxxxQQIQIQIQ")
_HAS_ENDED = 1

# Those that mean the same on every machine: `long double` is another type on ARM64.
_KINDS_OF_NUMBERS = {"iu": (2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
DTYPES = frozenset(
    f"<{kind}{size}"
    for kinds, sizes in _KINDS_OF_NUMBERS.items()
    for kind in kinds
    for size in sizes
) | {"|b1", "|i1", "|u1"}
_Code = TypeVar("_Code", bound=IntEnum)


class WireError(DoraRtError):
    """What came from another machine makes no sense."""


class Kind(IntEnum):
    """What a head announces."""

    SAMPLE = 0
    PROBE = 1
    """Asks what the receiver has; a receiver that has nothing begins behind `previous`."""
    END = 2
    """Nothing comes behind `number`, for good."""


class Encoding(IntEnum):
    """How a value crosses."""

    BYTES = 0
    ARRAY = 1
    ARROW = 2
    JPEG = 3
    """A picture of which the receiver makes an array again; dtype and shape are those of it."""
    JPEG_BYTES = 4
    """A picture that the receiver hands on as it is."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a sender says in front of a value."""

    kind: Kind
    run: int
    """Of the sender: numbers are counted in it."""
    life: int
    """Of the sending gateway: another one after its restart."""
    number: Number | None
    """None: no sample has been sent."""
    previous: Number | None
    """The number before it in this stream; None for the first."""
    origin_ns: int = 0
    sent_ns: int = 0
    """By the clock of the sender."""
    nbytes: int = 0
    probe: int = 0
    encoding: Encoding = Encoding.BYTES
    dtype: str = ""
    shape: tuple[int, ...] = ()
    metadata_json: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the attachment."""
        fixed = _HEAD.pack(
            _MAGIC,
            WIRE_VERSION,
            self.kind,
            self.encoding,
            len(self.shape),
            self.run,
            self.life,
            *(self.number or _NONE),
            *(self.previous or _NONE),
            self.origin_ns,
            self.sent_ns,
            self.nbytes,
            self.probe,
            self.dtype.encode(),
            len(self.metadata_json),
        )
        return b"".join((fixed, *map(_LENGTH.pack, self.shape), self.metadata_json))

    @classmethod
    def from_bytes(cls, attachment: bytes) -> Head:
        """Read an attachment.

        Raises:
            WireError: it is none, or says what cannot be.
        """
        fields = _unpack(_HEAD, attachment)
        ndim, metadata_nbytes = fields[4], fields[16]
        begin = _HEAD.size + ndim * _LENGTH.size
        if ndim > MAX_NDIM or metadata_nbytes > MAX_METADATA_NBYTES:
            raise WireError(f"a head claims {ndim} dimensions, {metadata_nbytes} bytes of metadata")
        if len(attachment) != begin + metadata_nbytes:
            raise WireError(
                f"a head of {len(attachment)} bytes claims to have {begin + metadata_nbytes}"
            )
        places = range(_HEAD.size, begin, _LENGTH.size)
        head = cls(
            kind=_code(Kind, fields[2]),
            run=fields[5],
            life=fields[6],
            number=_number(fields[7], fields[8]),
            previous=_number(fields[9], fields[10]),
            origin_ns=fields[11],
            sent_ns=fields[12],
            nbytes=fields[13],
            probe=fields[14],
            encoding=_code(Encoding, fields[3]),
            dtype=fields[15].rstrip(b"\0").decode("ascii", "replace"),
            shape=tuple(_LENGTH.unpack_from(attachment, place)[0] for place in places),
            metadata_json=attachment[begin:],
        )
        head.check()
        return head

    @property
    def value_nbytes(self) -> int:
        """How large the value is at the receiver, where that is another size than on the way."""
        if self.encoding not in (Encoding.ARRAY, Encoding.JPEG):
            return self.nbytes
        return math.prod(self.shape) * int(self.dtype[2:])

    def check(self) -> None:
        """Check that the fields fit together.

        Raises:
            WireError: they do not.
        """
        if self.kind is Kind.SAMPLE and self.number is None:
            raise WireError("a sample has no number")
        if self.encoding not in (Encoding.ARRAY, Encoding.JPEG):
            return
        if self.dtype not in DTYPES:
            raise WireError(f"a sample claims dtype {self.dtype!r}")
        if self.encoding is Encoding.ARRAY and self.value_nbytes != self.nbytes:
            raise WireError(f"a sample claims shape {self.shape} in {self.nbytes} bytes")


@dataclass(frozen=True, slots=True)
class Ack:
    """What the receiver of a stream tells its sender."""

    life: int
    """Of the sending gateway, as its heads have it."""
    receiver_life: int
    """Of the gateway that tells it."""
    last: Number | None
    """All samples up to this one are in the rings there; so it was sent, or a probe said so."""
    taken: Number | None
    """All samples up to this one were taken by their readers."""
    probe: int = 0
    """The probe that was heard last."""
    received: int = 0
    """How many samples this life of the receiver has published."""
    has_ended: bool = False
    """Whether the end was heard, and all that was sent before it."""

    def to_bytes(self) -> bytes:
        """Return the payload."""
        return _ACK.pack(
            _MAGIC,
            WIRE_VERSION,
            _HAS_ENDED * self.has_ended,
            self.life,
            self.receiver_life,
            *(self.last or _NONE),
            *(self.taken or _NONE),
            self.probe,
            self.received,
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Ack:
        """Read a payload.

        Raises:
            WireError: it is no acknowledgement.
        """
        fields = _unpack(_ACK, payload)
        if len(payload) != _ACK.size:
            raise WireError(f"an acknowledgement of {len(payload)} bytes; expected {_ACK.size}")
        return cls(
            has_ended=bool(fields[2] & _HAS_ENDED),
            life=fields[3],
            receiver_life=fields[4],
            last=_number(fields[5], fields[6]),
            taken=_number(fields[7], fields[8]),
            probe=fields[9],
            received=fields[10],
        )


def _unpack(layout: struct.Struct, received: bytes) -> tuple[Any, ...]:
    if len(received) < layout.size:
        raise WireError(f"{len(received)} bytes came; expected {layout.size} at least")
    fields = layout.unpack_from(received)
    if fields[0] != _MAGIC or fields[1] != WIRE_VERSION:
        raise WireError(
            f"what came begins with {received[:4]!r}: it is of no gateway, or of one of another "
            f"version of dora_rt; this one speaks version {WIRE_VERSION}"
        )
    return fields


def _code(kinds: type[_Code], code: int) -> _Code:
    try:
        return kinds(code)
    except ValueError as error:
        raise WireError(f"unknown {kinds.__name__.lower()} {code}") from error


def _number(generation: int, seq: int) -> Number | None:
    return None if generation == _NONE[0] else (generation, seq)
