"""The board: words of the launcher for its nodes: start, stop, state and generation of peers.

Only the launcher writes it. Afterwards it rings the doorbell of each process that must look.
For each edge it has the state of the process at either end, and which generation of shared
objects is the newest: a restarted process gets new ones, and its peers move over to them. For each
process it counts how often such a word changed that this process should know, that it was asked
to end, or that a parameter of it has changed: one look shows whether anything has.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from dora_rt.errors import SharedMemoryError
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.ring.protocol import MAGIC
from dora_rt.units import counted

_PROCESSES = 1
_EDGES = 2
_START_NS = 8
_STOP = 16  # one word per process; then one per process that counts its news; then one per process
# that counts the changes of its parameters; then one per edge about its reader, and one per edge
# about its writer

_FOR_GOOD, _UNTIL_RESTART = 1, 2  # of a stop word

_FATE_BITS = 2
_GENERATION_BITS = 31


class Fate(Enum):
    """State of the process at one end of an edge; AWAY: it will be started again."""

    ALIVE = 0
    AWAY = 1
    GONE = 2


# By the two bits of a word. The fourth value is unused: a word that has it was overwritten.
_FATES = (Fate.ALIVE, Fate.AWAY, Fate.GONE, Fate.GONE)


class Peer(NamedTuple):
    """The process at the other end of an edge, and the newest shared objects between the two."""

    fate: Fate
    output_generation: int
    edge_generation: int

    def to_word(self) -> int:
        """Return the word of the board that encodes it."""
        generations = self.output_generation << _GENERATION_BITS | self.edge_generation
        return generations << _FATE_BITS | self.fate.value

    @classmethod
    def from_word(cls, word: int) -> Peer:
        """Read a word of the board."""
        generations = word >> _FATE_BITS
        return cls(
            _FATES[word & 3],
            generations >> _GENERATION_BITS,
            generations & ((1 << _GENERATION_BITS) - 1),
        )


def board_nbytes(processes: int, edges: int) -> int:
    """Return the size of the board in bytes."""
    return 8 * (_STOP + 3 * processes + 2 * edges)


def format_board(words: memoryview, processes: int, edges: int) -> None:
    """Write the first line of a new board; runs in the launcher."""
    words[_PROCESSES] = processes
    words[_EDGES] = edges
    words[0] = MAGIC


class Board:
    """The board as the launcher writes it, and as one process reads it."""

    def __init__(self, words: memoryview, processes: int, edges: int, name: str) -> None:
        """Look at an attached board.

        Raises:
            SharedMemoryError: it is not the board that the launcher described.
        """
        expected = (MAGIC, processes, edges)
        if tuple(words[:3]) != expected or words.nbytes < board_nbytes(processes, edges):
            raise SharedMemoryError(
                f"{name} is not the board of a run of {counted(processes, 'process')} and "
                f"{counted(edges, 'edge')}"
            )
        self._words = words
        self._news = _STOP + processes
        self._parameters = self._news + processes
        self._readers = self._parameters + processes
        self._writers = self._readers + edges

    @property
    def start_ns(self) -> int:
        """When the flow started (`time.monotonic_ns()`); 0 while it has not."""
        return self._words[_START_NS]

    def start(self, now_ns: int) -> None:
        """Let the first inputs flow."""
        self._words[_START_NS] = now_ns

    def is_stopped(self, process: int) -> bool:
        """Return whether a process was asked to end."""
        return self._words[_STOP + process] != 0

    def comes_back(self, process: int) -> bool:
        """Return whether a process was asked to end that will be started again."""
        return self._words[_STOP + process] == _UNTIL_RESTART

    def stop(self, process: int, *, comes_back: bool = False) -> None:
        """Ask a process to end; its peers wait for another one if it comes back."""
        self._words[_STOP + process] = _UNTIL_RESTART if comes_back else _FOR_GOOD
        Fence().pass_through()
        self.count_news(process)

    def clear_stop(self, process: int) -> None:
        """Ask no more: a new process takes the place of the one that was asked to end."""
        self._words[_STOP + process] = 0

    def news_view(self, process: int) -> memoryview:
        """Return a view of the word that changes when a process should look at the board.

        It was asked to end, or a peer has changed. A process that sees the word change passes a
        fence before it looks.
        """
        return self._words[self._news + process :][:1]

    def count_news(self, process: int) -> None:
        """Count a change that a process must look at; pass a fence first."""
        self._words[self._news + process] += 1

    def parameters_view(self, process: int) -> memoryview:
        """Return a view of the word that counts the changes of a process's parameters; 0: none.

        Their values are in a file of the run directory (`dora_rt.node_parameters.values_path`). A
        process that sees the word change passes a fence before it reads the file.
        """
        return self._words[self._parameters + process :][:1]

    def set_parameters(self, process: int, version: int) -> None:
        """Tell a process that the file with this number of changes in it is there."""
        self._words[self._parameters + process] = version
        Fence().pass_through()
        self.count_news(process)

    def reader_word(self, edge: int) -> int:
        """Return the word about an edge's reader; `Peer.from_word` reads it."""
        return self._words[self._readers + edge]

    def writer_word(self, edge: int) -> int:
        """Return the word about an edge's writer; `Peer.from_word` reads it."""
        return self._words[self._writers + edge]

    def reader_word_view(self, edge: int) -> memoryview:
        """Return a view of that word: cheap to poll before each sample."""
        return self._words[self._readers + edge :][:1]

    def writer_word_view(self, edge: int) -> memoryview:
        """Return a view of the word about an edge's writer."""
        return self._words[self._writers + edge :][:1]

    def set_reader(self, edge: int, peer: Peer) -> bool:
        """Set the state of an edge's reader; return whether it has changed."""
        return self._set(self._readers + edge, peer.to_word())

    def set_writer(self, edge: int, peer: Peer) -> bool:
        """Set the state of an edge's writer; return whether it has changed."""
        return self._set(self._writers + edge, peer.to_word())

    def _set(self, index: int, word: int) -> bool:
        is_new = self._words[index] != word
        self._words[index] = word
        return is_new
