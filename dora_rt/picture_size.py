"""How large a picture is, by the first bytes of its file: decoding it might cost gigabytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAX_PIXELS = 2**27
"""134 megapixels, 400 MB as a sample: more than cameras have, and bearable for a machine."""

EXIF_NBYTES = 1 << 16
"""The first bytes of a JPEG file, within which it says how to turn it."""

_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD_NBYTES = 32
# Markers that begin a frame: SOF0 to SOF15, without tables and arithmetic conditioning.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}


def read_size(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, JPEG, BMP, PNM or WebP file; None of any other.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return read_size_of(file)


def read_size_of(file: BinaryIO) -> tuple[int, int] | None:
    """Return what `read_size` does, of a file that is open at its start.

    Raises:
        OSError: it cannot be read.
    """
    head = file.read(_HEAD_NBYTES)
    try:
        return _read_size(head, file)
    except struct.error:
        return None  # it is shorter than its kind of file can be


def is_turned(head: bytes) -> bool:
    """Whether a JPEG file says that it must be shown turned or mirrored: not all readers do so.

    Args:
        head: its first `EXIF_NBYTES`, or all of a shorter file.
    """
    tiff = head.find(b"Exif\0\0") + 6
    order = {b"II": "<", b"MM": ">"}.get(head[tiff : tiff + 2])
    if tiff < 6 or order is None:
        return False
    try:
        (first,) = struct.unpack_from(f"{order}I", head, tiff + 4)
        (count,) = struct.unpack_from(f"{order}H", head, tiff + first)
        for at in range(tiff + first + 2, tiff + first + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", head, at)
            if tag == _ORIENTATION:
                return bool(value > 1)
    except struct.error:
        pass  # it ends before it says so
    return False


def _read_size(head: bytes, file: BinaryIO) -> tuple[int, int] | None:
    if head.startswith(_PNG):
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    if head.startswith(b"\xff\xd8"):
        return _read_jpeg(file)
    if head.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", head, 18)
        return abs(width), abs(height)
    if head[:2] in (b"P5", b"P6"):
        words = head.split(maxsplit=3)
        is_plain = len(words) == 4 and words[1].isdigit() and words[2].isdigit()
        return (int(words[1]), int(words[2])) if is_plain else None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _read_webp(head)
    return None


def _read_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while (mark := file.read(2)) and mark[0] == 0xFF:
        marker = mark[1]
        if marker == 0xFF:
            file.seek(-1, 1)  # bytes that fill up
        elif marker in _JPEG_FRAMES:
            _, _, height, width = struct.unpack(">HBHH", file.read(7))
            return width, height
        elif marker not in _JPEG_ALONE:
            (nbytes,) = struct.unpack(">H", file.read(2))
            file.seek(max(nbytes, 2) - 2, 1)
    return None


def _read_webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    return None
