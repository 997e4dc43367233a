"""What is sent: bytes with a number in front and at the end, so that a reader can check them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

NUMBER = struct.Struct("<Q")

END = np.zeros(1, np.uint8)
"""Tells a reader that this was all: nothing else that is sent is a single byte."""

ASK = np.zeros(2, np.uint8)
"""Asks a reader how many messages it has got since the last time it was asked."""


def make_source(nbytes: int) -> Bytes:
    """Make bytes to send, all of them touched."""
    return np.resize(np.arange(251, dtype=np.uint8), nbytes)


def stamp(buffer: Any, number: int) -> None:
    """Write the number into the first 8 bytes, and its lowest byte into the last one."""
    NUMBER.pack_into(buffer, 0, number)
    if len(buffer) > NUMBER.size:
        buffer[-1] = number & 0xFF


def read(buffer: Any) -> int:
    """Give the number that `stamp` wrote.

    Raises:
        TornError: the last byte is not of the same number, so the bytes are not of one message.
    """
    number: int = NUMBER.unpack_from(buffer)[0]
    if len(buffer) > NUMBER.size and buffer[-1] != number & 0xFF:
        raise TornError(f"message {number} of {len(buffer)} bytes ends with {buffer[-1]}")
    return number


class TornError(Exception):
    """A message arrived with bytes of another one in it."""
