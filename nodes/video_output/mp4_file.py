"""MP4 files of one video track, which can be read at any moment while they are written.

A file grows by fragments (ISO 14496-12: `moof`, `mdat`), each a segment of a second or so, with the
true time of each picture. When it is closed, one table of all pictures is appended, and the first
box is rewritten so that it covers all before the table: players then see a plain MP4.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

TICKS_PER_S = 90_000

_FTYP = b"isom\0\0\2\0isomiso5iso6mp41"
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_KEY_FLAGS = 0x0200_0000
_OTHER_FLAGS = 0x0101_0000
_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
# Of a sample entry: what comes before its boxes, header included.
_VISUAL_ENTRY_NBYTES = 86


class SegmentError(Exception):
    """A segment is no MP4 that can be taken apart."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Coded pictures in the order in which they are decoded.

    Attributes:
        entry: the box `stsd`, which describes how they are coded.
        samples: the bytes of each.
        keys: whether it can be decoded without the others.
        ranks: which picture it is, in the order in which they are shown.
    """

    entry: bytes
    samples: tuple[bytes, ...]
    keys: tuple[bool, ...]
    ranks: tuple[int, ...]

    @property
    def settings(self) -> bytes:
        """What must be the same in all segments of a file."""
        return _decoder_settings(self.entry)


def read_segment(content: bytes) -> Segment:
    """Take apart a whole MP4 file of one video track, as FFmpeg writes it.

    Raises:
        SegmentError: it is none.
    """
    try:
        tables = dict(_leaves(content, 0, len(content)))
        sizes = _read_sizes(tables[b"stsz"])
        keys = _read_keys(tables.get(b"stss"), len(sizes))
        times = _read_times(tables[b"stts"], tables.get(b"ctts"), len(sizes))
        offsets = _read_offsets(tables, sizes)
        entry = tables[b"stsd"]
    except (KeyError, struct.error, IndexError, ValueError) as error:
        raise SegmentError("it is no MP4 of one video track") from error
    samples = tuple(
        content[offset : offset + nbytes] for offset, nbytes in zip(offsets, sizes, strict=True)
    )
    if any(len(sample) != nbytes for sample, nbytes in zip(samples, sizes, strict=True)):
        raise SegmentError("it is cut off")
    shown = sorted(range(len(times)), key=lambda index: times[index])
    ranks = [0] * len(times)
    for rank, index in enumerate(shown):
        ranks[index] = rank
    return Segment(_box(b"stsd", entry), samples, keys, tuple(ranks))


class Mp4File:
    """An MP4 file that is being written.

    Args:
        file: opened to write, and empty.
        size: width and height in pixels.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int]) -> None:
        self._file = file
        self._size = size
        self._entry = b""
        self._cover_offset = 0
        self._end = 0
        self._end_ticks = 0
        self._fragments = 0
        # Compact, since a day at 30 fps has 2.6 million pictures.
        self._sizes = array("I")
        self._durations = array("I")
        self._shifts = array("i")
        self._keys = array("I")
        self._offsets = array("Q")
        self._counts = array("I")

    @property
    def pictures(self) -> int:
        """How many pictures are in the file, and can be read."""
        return len(self._sizes)

    @property
    def nbytes(self) -> int:
        """The size of the file so far."""
        return self._end

    def add(self, segment: Segment, ticks: Sequence[int], end_ticks: int) -> None:
        """Append a segment.

        Args:
            segment: its pictures.
            ticks: when each of them is shown, in their order, since the start of the video.
            end_ticks: when the last one ends.

        Raises:
            OSError: it cannot be written; the file is what it was before.
        """
        try:
            if not self._entry:
                self._begin(segment.entry)
            self._write_fragment(segment, ticks, end_ticks)
            self._file.flush()
        except OSError:
            self._cut()
            raise
        self._end = self._file.tell()

    def close(self) -> None:
        """Append the table of all pictures, and close the file.

        Raises:
            OSError: it cannot be written; the file is closed, and can be read all the same.
        """
        with self._file:
            if not self._entry:
                return
            try:
                self._file.write(self._make_movie(is_whole=True))
                self._file.flush()
            except OSError:
                self._cut()
                raise
            # All up to the table becomes one box of media, which players pass over. These 16 bytes
            # go last: before, the table is ignored; after, the fragments are.
            self._file.seek(self._cover_offset)
            nbytes = self._end - self._cover_offset
            self._file.write(struct.pack(">I4sQ", 1, b"mdat", nbytes))

    def _begin(self, entry: bytes) -> None:
        self._file.write(_box(b"ftyp", _FTYP))
        self._cover_offset = self._file.tell()
        self._file.write(_box(b"free", bytes(8)))
        self._entry = entry
        self._file.write(self._make_movie(is_whole=False))

    def _write_fragment(self, segment: Segment, ticks: Sequence[int], end_ticks: int) -> None:
        durations = [after - now for now, after in zip(ticks, [*ticks[1:], end_ticks], strict=True)]
        shifts = [ticks[rank] - ticks[index] for index, rank in enumerate(segment.ranks)]
        sizes = [len(sample) for sample in segment.samples]
        self._fragments += 1
        head = self._make_fragment(segment, ticks[0], (durations, sizes, shifts))
        offset = self._file.tell() + len(head) + 8
        self._file.write(head)
        self._file.write(struct.pack(">I4s", 8 + sum(sizes), b"mdat"))
        self._file.writelines(segment.samples)
        self._file.flush()
        first = len(self._sizes) + 1
        self._keys.extend(first + index for index, is_key in enumerate(segment.keys) if is_key)
        self._sizes.extend(sizes)
        self._durations.extend(durations)
        self._shifts.extend(shifts)
        self._offsets.append(offset)
        self._counts.append(len(sizes))
        self._end_ticks = end_ticks

    def _make_fragment(
        self, segment: Segment, begin: int, rows: tuple[list[int], list[int], list[int]]
    ) -> bytes:
        entries = b"".join(
            struct.pack(">IIIi", duration, nbytes, _KEY_FLAGS if is_key else _OTHER_FLAGS, shift)
            for duration, nbytes, shift, is_key in zip(*rows, segment.keys, strict=True)
        )
        headers = _box(b"mfhd", struct.pack(">II", 0, self._fragments))
        # Offsets count from the beginning of this fragment.
        track = _box(b"tfhd", struct.pack(">II", 0x02_0000, 1))
        track += _box(b"tfdt", struct.pack(">IQ", 0x0100_0000, begin))
        count = len(segment.samples)
        data_offset = 8 + len(headers) + 8 + len(track) + 20 + len(entries) + 8
        run = struct.pack(">III", 0x0100_0F01, count, data_offset)
        track += _box(b"trun", run + entries)
        return _box(b"moof", headers + _box(b"traf", track))

    def _make_movie(self, *, is_whole: bool) -> bytes:
        duration = self._end_ticks if is_whole else 0
        width, height = self._size
        movie_header = struct.pack(
            ">IQQIQIHHQ", 0x0100_0000, 0, 0, TICKS_PER_S, duration, 0x10000, 0x100, 0, 0
        )
        movie_header += _MATRIX + bytes(24) + struct.pack(">I", 2)
        track_header = struct.pack(">IQQIIQQHHHH", 0x0100_0003, 0, 0, 1, 0, duration, 0, 0, 0, 0, 0)
        track_header += _MATRIX + struct.pack(">II", width << 16, height << 16)
        media_header = struct.pack(">IQQIQHH", 0x0100_0000, 0, 0, TICKS_PER_S, duration, 0x55C4, 0)
        handler = struct.pack(">II4s12x", 0, 0, b"vide") + b"VideoHandler\0"
        reference = _box(b"dref", struct.pack(">II", 0, 1) + _box(b"url ", struct.pack(">I", 1)))
        information = (
            _box(b"vmhd", struct.pack(">IQ", 1, 0))
            + _box(b"dinf", reference)
            + _box(b"stbl", self._make_tables(is_whole=is_whole))
        )
        media = _box(b"mdhd", media_header) + _box(b"hdlr", handler) + _box(b"minf", information)
        track = _box(b"trak", _box(b"tkhd", track_header) + _box(b"mdia", media))
        extends = b""
        if not is_whole:
            extends = _box(b"mvex", _box(b"trex", struct.pack(">IIIIII", 0, 1, 1, 0, 0, 0)))
        return _box(b"moov", _box(b"mvhd", movie_header) + track + extends)

    def _make_tables(self, *, is_whole: bool) -> bytes:
        if not is_whole:
            empty = _box(b"stts", bytes(8)) + _box(b"stsc", bytes(8))
            return self._entry + empty + _box(b"stsz", bytes(12)) + _box(b"stco", bytes(8))
        tables = [self._entry, _box(b"stts", _counted_runs(self._durations))]
        if len(self._keys) < len(self._sizes):
            tables.append(_box(b"stss", struct.pack(">II", 0, len(self._keys)) + _big(self._keys)))
        if any(self._shifts):
            runs = _counted_runs(self._shifts)
            tables.append(_box(b"ctts", b"\1" + runs[1:]))
        chunks = list(_changes(self._counts))
        entries = b"".join(struct.pack(">III", number, count, 1) for number, count in chunks)
        tables.append(_box(b"stsc", struct.pack(">II", 0, len(chunks)) + entries))
        sizes = struct.pack(">III", 0, 0, len(self._sizes)) + _big(self._sizes)
        tables.append(_box(b"stsz", sizes))
        offsets = struct.pack(">II", 0, len(self._offsets)) + _big(self._offsets)
        tables.append(_box(b"co64", offsets))
        return b"".join(tables)

    def _cut(self) -> None:
        """Take back what was written in part."""
        if self._end == 0:
            self._entry = b""
        self._file.seek(self._end)
        self._file.truncate()


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _big(numbers: array[int]) -> bytes:
    """Return the numbers as an MP4 has them, the high byte first."""
    swapped = array(numbers.typecode, numbers)
    if struct.pack("=I", 1) != struct.pack(">I", 1):
        swapped.byteswap()
    return swapped.tobytes()


def _counted_runs(numbers: Iterable[int]) -> bytes:
    runs = [(len(list(group)), number) for number, group in groupby(numbers)]
    entries = b"".join(struct.pack(">Ii", count, number) for count, number in runs)
    return struct.pack(">II", 0, len(runs)) + entries


def _changes(counts: Iterable[int]) -> Iterator[tuple[int, int]]:
    before = None
    for number, count in enumerate(counts, 1):
        if count != before:
            yield number, count
        before = count


def _leaves(content: bytes, begin: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    while begin + 8 <= end:
        nbytes, kind = struct.unpack_from(">I4s", content, begin)
        head = 8
        if nbytes == 1:
            (nbytes,) = struct.unpack_from(">Q", content, begin + 8)
            head = 16
        if nbytes < head or begin + nbytes > end:
            raise ValueError(f"box {kind!r} of {nbytes} bytes")
        if kind in _CONTAINERS:
            yield from _leaves(content, begin + head, begin + nbytes)
        elif kind != b"mdat":
            yield kind, content[begin + head : begin + nbytes]
        begin += nbytes


def _read_sizes(table: bytes) -> list[int]:
    _, same, count = struct.unpack_from(">III", table)
    return [same] * count if same else list(struct.unpack_from(f">{count}I", table, 12))


def _read_keys(table: bytes | None, count: int) -> tuple[bool, ...]:
    if table is None:
        return (True,) * count
    (entries,) = struct.unpack_from(">I", table, 4)
    numbers = set(struct.unpack_from(f">{entries}I", table, 8))
    return tuple(index + 1 in numbers for index in range(count))


def _read_times(steps: bytes, shifts: bytes | None, count: int) -> list[int]:
    decoded, times = 0, []
    for number, step in _read_runs(steps):
        for _ in range(number):
            times.append(decoded)
            decoded += step
    moved = [shift for number, shift in _read_runs(shifts or bytes(8)) for _ in range(number)]
    if len(times) != count or (shifts is not None and len(moved) != count):
        raise ValueError("tables of different lengths")
    return [time + shift for time, shift in zip(times, moved or [0] * count, strict=True)]


def _read_runs(table: bytes) -> Iterator[tuple[int, int]]:
    (entries,) = struct.unpack_from(">I", table, 4)
    for index in range(entries):
        count, number = struct.unpack_from(">Ii", table, 8 + 8 * index)
        yield count, number


def _read_offsets(tables: dict[bytes, bytes], sizes: Sequence[int]) -> list[int]:
    table = tables.get(b"stco") or tables[b"co64"]
    (chunks,) = struct.unpack_from(">I", table, 4)
    letter = "I" if b"stco" in tables else "Q"
    begins = struct.unpack_from(f">{chunks}{letter}", table, 8)
    (entries,) = struct.unpack_from(">I", tables[b"stsc"], 4)
    rows = [struct.unpack_from(">II", tables[b"stsc"], 8 + 12 * index) for index in range(entries)]
    counts: list[int] = []
    for (first, count), (following, _) in zip(rows, [*rows[1:], (chunks + 1, 0)], strict=True):
        counts += [count] * (following - first)
    offsets = []
    for begin, count in zip(begins, counts, strict=True):
        for _ in range(count):
            offsets.append(begin)
            begin += sizes[len(offsets) - 1]
    return offsets


def _decoder_settings(entry: bytes) -> bytes:
    """Return the part of `stsd` that a decoder needs, without bit rates, which are measured."""
    kind = entry[20:24]
    position, settings = 16 + _VISUAL_ENTRY_NBYTES, kind + entry[48:52]
    while position + 8 <= len(entry):
        nbytes = struct.unpack_from(">I", entry, position)[0]
        name = entry[position + 4 : position + 8]
        content = entry[position + 8 : position + nbytes]
        if name == b"esds":
            settings += content[_find_settings(content) :]
        elif name not in (b"btrt", b"pasp", b"colr", b"fiel"):
            settings += content
        position += max(nbytes, 8)
    return settings


def _find_settings(esds: bytes) -> int:
    """Return where the decoder's own settings are (ISO 14496-1), behind its measured rates."""
    position = _skip_length(esds, 5) + 3  # ES_Descriptor: its id and flags
    position = _skip_length(esds, position + 1) + 13  # DecoderConfigDescriptor
    return position


def _skip_length(descriptor: bytes, position: int) -> int:
    while position < len(descriptor) and descriptor[position] & 0x80:
        position += 1
    return position + 1
