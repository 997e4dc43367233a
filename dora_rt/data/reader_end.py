"""What a publisher knows of one of its readers, and how it follows that reader's fate."""

from __future__ import annotations

from dora_rt.contract import EdgeConfig, QueuePolicy
from dora_rt.data import names, ring
from dora_rt.data.board import Board, Fate, Peer
from dora_rt.data.doorbell import Doorbell
from dora_rt.data.ring_writer import RingWriter, WriterEdge
from dora_rt.data.shm import attach_semaphore, attach_words
from dora_rt.data.spin import Spin
from dora_rt.errors import SharedMemoryError


class ReaderEnd:
    """One reader: where it is, and in which generation."""

    def __init__(self, run: str, config: EdgeConfig, board: Board, *, spin_ns: int | None) -> None:
        self._run = run
        self._spin = Spin(spin_ns)
        self._config = config
        self._board = board
        self.place = board.reader_place(config.number)
        """Where the board tells about the reader; news when it is not `word` any more."""
        self.word = Peer(Fate.ALIVE, 0, config.generation).to_word()
        self.closing = ring.OPEN
        """What `reader_words[READER_CLOSED]` of the edge says; news when it changes."""
        self.edge = WriterEdge(
            position=config.position,
            doorbell=attach_semaphore(names.doorbell(run, config.reader)),
            queue_size=config.queue_size,
            blocking=config.queue_policy is QueuePolicy.BLOCK,
        )
        self._connect(config.generation)

    def meet(self, writer: RingWriter) -> None:
        """Begin to write for the reader."""
        writer.welcome(self.edge)

    def notice(self, writer: RingWriter) -> None:
        """Act on what is new: the reader has closed its input, died, or come back."""
        word = self._board.reader_word(self._config.number)
        closing = self.edge.reader_words[ring.READER_CLOSED]
        peer = Peer.from_word(word)
        if peer.edge_generation != self.edge.generation:
            writer.collect(self.edge)
            writer.keep_for_later(self.edge)
            writer.free_hands(self.edge)
            word = self._connect_to_newest(word)
            peer = Peer.from_word(word)
            writer.welcome(self.edge)
            closing = ring.OPEN
        elif closing == ring.CLOSED_FOR_NOW or (
            closing == ring.CLOSED and self._config.reader_returns
        ):
            writer.keep_for_later(self.edge)
        elif closing != ring.OPEN:
            writer.close_edge(self.edge)
        if peer.fate is Fate.GONE:
            writer.close_edge(self.edge)
            writer.free_hands(self.edge)
        elif peer.fate is Fate.AWAY:
            writer.keep_for_later(self.edge)
            writer.free_hands(self.edge)
        self.word, self.closing = word, closing

    def wait(self, deadline_ns: int | None) -> bool:
        """Sleep until the reader takes a sample or gives one back; False after the deadline."""
        return self._room.wait(deadline_ns)

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
        run, number = self._run, self._config.number
        self._room = Doorbell(names.returned(run, number, generation), self._spin)
        self.edge.connect(
            generation,
            attach_words(
                names.edge(run, number, generation),
                lambda words, name: ring.check_edge(words, self._config.slots, name),
                writable=False,
            ),
            [
                attach_semaphore(names.token(run, number, generation, slot))
                for slot in range(self._config.slots)
            ],
            attach_semaphore(names.returned(run, number, generation)),
        )
        self.returned = self.edge.returned
        """What the reader posts: looked at before each sample."""
