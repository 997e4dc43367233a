"""One reader of a publisher: its state on the board, its queue, its restarts."""

from __future__ import annotations

from contextlib import suppress

from dora_rt.errors import SharedMemoryError
from dora_rt.node_config import EdgeConfig, QueuePolicy
from dora_rt.transport.board import Board, Fate, Peer
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.doorbell import Doorbell
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import (
    ClosedError,
    Semaphore,
    attach_semaphore,
    attach_words,
    open_semaphore,
)
from dora_rt.transport.ring import protocol
from dora_rt.transport.ring.writer import RingWriter
from dora_rt.transport.ring.writer_edge import HERE, WriterEdge


class ReaderEnd:
    """One reader: where it is, and in which generation."""

    def __init__(self, run: str, config: EdgeConfig, board: Board, *, spin_ns: int | None) -> None:
        self._run = run
        self._spin = Spin(spin_ns)
        self._config = config
        self._board = board
        self._room: Doorbell | None = None
        self._word = -1  # nothing was noticed yet
        self.edge = WriterEdge(
            position=config.position,
            doorbell=attach_semaphore(object_names.doorbell(run, config.reader)),
            queue_size=config.queue_size,
            blocking=config.queue_policy is QueuePolicy.BLOCK,
        )
        self._connect(config.generation)

    def reader_changed(self) -> bool:
        """Return whether the reader has closed its input, died, or come back."""
        edge = self.edge
        return (
            self._board.reader_word(self._config.number) != self._word
            or edge.reader_words[protocol.READER_CLOSED] != edge.closing
        )

    def notice(self, writer: RingWriter) -> None:
        """Act on a change of the reader's state; if this raises, the next call tries again.

        Raises:
            SharedMemoryError, SharedMemoryFullError: there is no room for the reader's tokens.
        """
        edge = self.edge
        word = self._board.reader_word(self._config.number)
        # It may be newer than the count of news behind which the caller has passed a fence.
        writer.pass_fence()
        if Peer.from_word(word).edge_generation != edge.generation:
            writer.bury(edge)
            word = self._connect_to_newest(word)
        fate = Peer.from_word(word).fate
        closing = edge.reader_words[protocol.READER_CLOSED]
        if fate is not Fate.ALIVE:
            writer.bury(edge)
            if fate is Fate.GONE:
                writer.close_edge(edge)
        elif closing == protocol.CLOSED_FOR_NOW or (
            closing == protocol.CLOSED and self._config.reader_returns
        ):
            writer.keep_queue_for_restart(edge)
        elif closing != protocol.OPEN:
            writer.close_edge(edge)
        elif edge.state is not HERE:
            writer.connect_reader(edge)
        self._word, edge.closing = word, closing

    def wait(self, deadline_ns: int | None) -> bool:
        """Sleep until the reader takes a sample or gives one back; False after the deadline."""
        assert self._room is not None, "connected"
        return self._room.wait(deadline_ns)

    def wake(self) -> None:
        """Let `wait` return, from another thread."""
        # The thread that waits may just be moving on to the next generation.
        with suppress(ClosedError):
            self.edge.returned.release()

    def _connect_to_newest(self, word: int) -> int:
        while True:
            try:
                self._connect(Peer.from_word(word).edge_generation)
                return word
            except SharedMemoryError:
                # The reader may have died once more meanwhile, and its objects gone with it.
                newer = self._board.reader_word(self._config.number)
                if newer == word:
                    raise
                word = newer

    def _connect(self, generation: int) -> None:
        run, number, slots = self._run, self._config.number, self._config.slots
        words = attach_words(
            object_names.edge(run, number, generation),
            lambda words, name: protocol.check_edge(words, slots, name),
            writable=False,
        )
        returned = attach_semaphore(object_names.returned(run, number, generation))
        try:
            room = Doorbell(object_names.returned(run, number, generation), self._spin)
        except SharedMemoryError:
            returned.close()
            raise

        def make_token(slot: int) -> Semaphore:
            return open_semaphore(object_names.token(run, number, generation, slot))

        if self._room is not None:
            self._disconnect(self._room)
        self._room = room
        self.edge.connect(generation, words, returned, make_token, slots)

    def _disconnect(self, room: Doorbell) -> None:
        room.close()
        for semaphore in (self.edge.returned, *self.edge.tokens):
            if semaphore is not None:
                with suppress(ClosedError):
                    semaphore.close()
