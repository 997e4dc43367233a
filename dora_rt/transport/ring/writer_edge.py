"""The writer's side of one edge of the ring: its reader's state, and the queue kept for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from dora_rt import compiled
from dora_rt.transport.primitives.noted_operations import claiming
from dora_rt.transport.primitives.shm import Semaphore
from dora_rt.transport.ring.protocol import MAX_SLOTS


class ReaderState(Enum):
    """State of a reader as its writer knows it; AWAY: it comes back, and its queue waits for it."""

    HERE = "here"
    AWAY = "away"
    CLOSED = "closed"


# An enum's member costs a look into its class each time, and these are looked at for each sample.
HERE, AWAY, CLOSED = ReaderState.HERE, ReaderState.AWAY, ReaderState.CLOSED
if compiled.IS_COMPILED:
    compiled._cores.use_here(HERE)


class WriterEdge(compiled.WriterEdgeCore):
    """The writer's side of one edge: the reader's state, and the queue kept for it."""

    __slots__ = compiled.slots(
        "bit",
        "blocking",
        "claims",
        "closing",
        "doorbell",
        "dropped",
        "generation",
        "limit",
        "log_length",
        "log_read",
        "make_token",
        "pending",
        "position",
        "posted_below",
        "queue_size",
        "reader_words",
        "returned",
        "state",
        "tokens",
        "won",
    )

    def __init__(
        self, *, position: int, doorbell: Semaphore, queue_size: int, blocking: bool
    ) -> None:
        self.position = position
        self.bit = 1 << position
        self.doorbell = doorbell
        self.queue_size = queue_size
        self.blocking = blocking
        # How many samples may wait before the oldest is dropped.
        self.limit = MAX_SLOTS if blocking else queue_size
        self.state = AWAY
        self.dropped = 0
        self.closing = 0
        """What READER_CLOSED said when it was last acted on."""
        # (sample number, slot), oldest first. On an edge that drops it also has samples that the
        # reader took meanwhile: the writer learns of those only when it tries their token, or
        # gets their slot back.
        self.pending: deque[tuple[int, int]] = deque()
        # Of a reader that is AWAY: each pending sample below this number has a token, maybe won.
        self.posted_below = 0
        self.won: list[int] = []
        """The slot whose token is being taken back, as soon as that is certain."""

    def connect(
        self,
        generation: int,
        reader_words: memoryview,
        returned: Semaphore,
        make_token: Callable[[int], Semaphore],
        slots: int,
    ) -> None:
        """Use the shared objects of a new generation of the reader.

        Args:
            generation: of the edge.
            reader_words: the segment that the reader writes.
            returned: the semaphore that the reader posts.
            make_token: makes the token of a slot, which must not exist yet.
            slots: how many there are.
        """
        self.reader_words = reader_words
        self.returned = returned
        self.make_token = make_token
        self.tokens: list[Semaphore | None] = [None] * slots
        self.claims: list[Callable[[], Any] | None] = [None] * slots
        self.log_length = 2 * slots
        self.log_read = 0
        self.generation = generation

    @property
    def is_full(self) -> bool:
        """Whether the writer has to wait for this reader."""
        return self.blocking and len(self.pending) >= self.queue_size and self.state is not CLOSED

    def token(self, slot: int) -> Semaphore:
        """Return the token of a slot, which is made when it is first needed.

        Raises:
            SharedMemoryError, SharedMemoryFullError: it cannot be made.
        """
        token = self.tokens[slot]
        if token is None:
            token = self.make_token(slot)
            self.claims[slot] = claiming(token, self.won, slot)
            self.tokens[slot] = token
        return token
