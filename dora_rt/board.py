"""The board: the words by which the launcher tells the nodes what they must know.

The launcher is the only one who writes it; it rings the doorbell of whom it concerns afterwards.
"""

from __future__ import annotations

from dora_rt.errors import SharedMemoryError
from dora_rt.ring import MAGIC

_PROCESSES = 1
_START_NS = 8
_STOP = 16  # one word per process


def board_nbytes(processes: int) -> int:
    """Give the size of the board in bytes."""
    return 8 * (_STOP + processes)


def format_board(words: memoryview, processes: int) -> None:
    """Write the first line of a new board; runs in the launcher."""
    words[_PROCESSES] = processes
    words[0] = MAGIC


class Board:
    """The board as the launcher writes it, and as one process reads it."""

    def __init__(self, words: memoryview, processes: int, name: str) -> None:
        """Look at an attached board.

        Raises:
            SharedMemoryError: it is not the board that the launcher described.
        """
        if tuple(words[:2]) != (MAGIC, processes) or words.nbytes < board_nbytes(processes):
            raise SharedMemoryError(f"{name} is not the board of a run of {processes} processes")
        self._words = words

    @property
    def start_ns(self) -> int:
        """Tell when the flow started (`time.monotonic_ns()`); 0 while it has not."""
        return self._words[_START_NS]

    def start(self, now_ns: int) -> None:
        """Let the first inputs flow."""
        self._words[_START_NS] = now_ns

    def is_stopped(self, process: int) -> bool:
        """Tell whether a process was asked to end."""
        return self._words[_STOP + process] != 0

    def stop(self, process: int) -> None:
        """Ask a process to end."""
        self._words[_STOP + process] = 1
