"""Values that are no picture, or an absurd one, as senders have sent them."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pyarrow


def png_claiming(width: int, height: int) -> bytes:
    """Make a PNG file of 100 bytes whose head claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


JPEG = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
NO_PICTURES: dict[str, Any] = {
    "nothing": b"",
    "text": b"hello",
    "none": None,
    "text of Python": "hello",
    "strings": pyarrow.array(["a photo", "of a cat"]),
    "structs": pyarrow.array([{"data": b"x", "w": 3}]),
    "lists": pyarrow.array([[1, 2], [3]]),
    "nulls": pyarrow.array([None, 1]),
    "bytes with nulls": pyarrow.array([None, 1], pyarrow.uint8()),
    "floats": np.zeros((20, 30, 3), np.float32),
    "flat floats": np.zeros(1800),
    "bools": np.zeros((20, 30), bool),
    "complex": np.zeros((20, 30), complex),
    "one number": np.array(3, np.uint8),
    "numpy's number": np.uint8(3),
    "no pixels": np.zeros((0, 0, 3), np.uint8),
    "a batch": np.zeros((1, 3, 48, 64), np.uint8),
    "channels first": np.zeros((3, 48, 64), np.uint8),
    "two channels": np.zeros((48, 64, 2), np.uint8),
    "deep colours": np.zeros((48, 64, 3), np.uint16),
    "flat deep numbers": np.zeros(300, np.uint16),
    "half a head": JPEG[:6],
    "a head only": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "other file": b"GIF89a" + bytes(40),
    "PNG of no pixels": png_claiming(0, 10),
    "PNG too large": png_claiming(60_000, 60_000),
    "PNG far too large": png_claiming(2**31 - 1, 2**31 - 1),
    "PNG too long": png_claiming(100_000, 10),
    "PNG without its pixels": png_claiming(4000, 4000)[:60],
    "too long a row": np.zeros((1, 70_000), np.uint8),
}
