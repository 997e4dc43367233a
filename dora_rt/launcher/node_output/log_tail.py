"""The newest lines of a node's log, and what comes after them, piece by piece, while it rotates."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from dora_rt.launcher.node_output.log_files import LOG_FILES

PIECE_NBYTES = 256 * 1024
"""At most so much is read of a log at once."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in a log, which stays the same when the file is put aside."""

    inode: int
    offset: int


def read_tail(path: Path, most_lines: int) -> tuple[list[str], LogPosition | None]:
    """Return the last lines of a log, of one piece at most, and the position behind them.

    Args:
        path: the newest file of the log.
        most_lines: how many lines to return at most.

    Raises:
        OSError: a file cannot be read; one that is not there is an empty log.
    """
    room = PIECE_NBYTES
    pieces: deque[bytes] = deque()
    position = None
    for file in _files_of(path):
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            break
        try:
            end = os.fstat(descriptor)
            piece = os.pread(descriptor, min(room, end.st_size), max(end.st_size - room, 0))
        finally:
            os.close(descriptor)
        if position is None:
            # A line that is being written is for the next piece.
            half = len(piece) - (piece.rfind(b"\n") + 1)
            position = LogPosition(end.st_ino, end.st_size - half)
            piece = piece[: len(piece) - half]
        is_cut = len(piece) < end.st_size and room <= end.st_size
        pieces.appendleft(piece.partition(b"\n")[2] if is_cut else piece)
        room -= len(piece)
        if room <= 0 or b"".join(pieces).count(b"\n") >= most_lines:
            break
    lines = b"".join(pieces).split(b"\n")[:-1]
    return _decoded(lines[max(len(lines) - most_lines, 0) :]), position


def read_on(path: Path, position: LogPosition | None) -> tuple[list[str], LogPosition | None]:
    """Return the lines that came after a position, of one piece at most, and the new position.

    A file that was put aside is read to its end first. If it is gone, what it had is left out.

    Args:
        path: the newest file of the log.
        position: where the last piece ended; None: at the beginning of the log.

    Raises:
        OSError: a file cannot be read; one that is not there is an empty log.
    """
    # The oldest first, so that the file behind a given one is the next younger.
    files = [file for file in reversed(_files_of(path)) if file.exists()]
    inodes = [file.stat().st_ino for file in files]
    index = 0
    offset = 0
    if position is not None and position.inode in inodes:
        index, offset = inodes.index(position.inode), position.offset
    for file in files[index:]:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if offset > status.st_size:
                offset = 0  # another file, which has got the number of one that is gone
            opened.seek(offset)
            piece = opened.read(PIECE_NBYTES)
        inode = status.st_ino
        whole = piece[: piece.rfind(b"\n") + 1]
        position = LogPosition(inode, offset + len(whole))
        if whole:
            return _decoded(whole.split(b"\n")[:-1]), position
        offset = 0
    return [], position


def _files_of(path: Path) -> list[Path]:
    return [path, *(Path(f"{path}.{age}") for age in range(1, LOG_FILES))]


def _decoded(lines: list[bytes]) -> list[str]:
    return [line.decode(errors="replace") for line in lines]
