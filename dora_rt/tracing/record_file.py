"""The trace of one process: a file of fixed-size records that survives a SIGKILL of its writer.

The writer maps the file piece by piece, so a record costs a few stores and no system call. It is
in the hands of the kernel at once: nothing is ever flushed.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import NamedTuple

LIMIT_NBYTES = 32 * 1024 * 1024
"""How large the file of one process may become: about 800,000 records."""

_MAGIC = 0x6563_6172_7472_7264
_VERSION = 1
_RECORD = Struct("<BBHIQQQQ")
_HEADER = Struct("<QQQQ8x")  # magic, version, records that were left out, begin
_LEFT_OUT = Struct("<Q")
_LEFT_OUT_AT = 16
_END_NS_AT = 24
# A multiple of the page size and of the size of a record.
_PIECE_NBYTES = 5 * 64 * 1024
_READ_RECORDS = 4096


class Kind(IntEnum):
    """Kinds of records; 0 marks unwritten space."""

    INPUT = 1
    """An input is worked on; `number` counts the inputs of the process."""
    SENT = 2
    """A send; `number` counts the outputs of the process."""
    WAITED = 3
    """A send waits for the readers of `block` edges; `number` counts the outputs."""
    PASSED = 4
    """What an operator got from another one of its process; `number` is the link's number."""
    MATCHED = 5
    """A set of `sync` is worked on."""
    MEMBER = 6
    """One sample of such a set; `number` counts the inputs."""


class Record(NamedTuple):
    """One thing that happened; times of `time.monotonic_ns()`, `end_ns` 0 if it never ended."""

    kind: int
    thread: int
    """Threads count from 0 as they come; the first is that which attached."""
    number: int
    dropped: int
    seq: int
    begin_ns: int
    end_ns: int
    sent_ns: int


class TraceWriter:
    """Writes the records of this process; threads may write at the same time."""

    def __init__(self, path: Path, limit_nbytes: int = LIMIT_NBYTES) -> None:
        """Begin the file.

        Raises:
            OSError: it exists already, or there is no room for its first records.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._limit_nbytes = limit_nbytes
        self._nbytes = 0
        self._left_out = 0
        self._lock = threading.Lock()
        piece = self._grow()
        if piece is None:
            os.close(self._fd)
            raise OSError(f"{path}: no room for a trace")
        self._first = self._piece = piece
        _HEADER.pack_into(piece, 0, _MAGIC, _VERSION, 0, time.monotonic_ns())
        self._offset = _RECORD.size

    def write(self, record: Record) -> tuple[mmap.mmap, int] | None:
        """Write a record; return its position for `end`, or None if it was left out."""
        with self._lock:
            if self._offset == _PIECE_NBYTES:
                piece = self._grow()
                if piece is None:
                    self._left_out += 1
                    _LEFT_OUT.pack_into(self._first, _LEFT_OUT_AT, self._left_out)
                    return None
                self._piece, self._offset = piece, 0
            position = self._piece, self._offset
            _RECORD.pack_into(*position, *record)
            self._offset += _RECORD.size
        return position

    def end(self, position: tuple[mmap.mmap, int], end_ns: int) -> None:
        """Set the end time of the record at a position that `write` returned."""
        _LEFT_OUT.pack_into(position[0], position[1] + _END_NS_AT, end_ns)

    def _grow(self) -> mmap.mmap | None:
        if self._nbytes + _PIECE_NBYTES > max(self._limit_nbytes, _PIECE_NBYTES):
            return None
        try:
            # Room that is not there must be an error now, and not a SIGBUS later.
            os.posix_fallocate(self._fd, self._nbytes, _PIECE_NBYTES)
            piece = mmap.mmap(self._fd, _PIECE_NBYTES, offset=self._nbytes)
        except OSError:
            return None
        self._nbytes += _PIECE_NBYTES
        return piece


class Trace(NamedTuple):
    """The contents of a file of records."""

    records: Iterator[Record]
    left_out: int
    began_ns: int


def read_trace(path: Path) -> Trace:
    """Read the file of a `TraceWriter`, also of a killed one; a few records at a time.

    Raises:
        ValueError: it is no such file.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise ValueError(f"{path} is no trace")
    magic, version, left_out, began_ns = _HEADER.unpack(header)
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError(f"{path} is no trace of this version")
    return Trace(_records(path), left_out, began_ns)


def _records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        file.seek(_RECORD.size)
        while some := file.read(_READ_RECORDS * _RECORD.size):
            whole = len(some) // _RECORD.size * _RECORD.size
            for fields in _RECORD.iter_unpack(some[:whole]):
                if not fields[0]:
                    return
                yield Record._make(fields)


assert _PIECE_NBYTES % _RECORD.size == 0
assert _HEADER.size == _RECORD.size
