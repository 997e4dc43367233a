"""`LookAhead`: reads the samples of a `block` edge before they are taken.

What is not taken stays in its ring, whatever happens to this process: one that is started in its
place finds it there. So a reader that hands samples on, and takes each only when it has arrived
where it belongs, loses none.
"""

from __future__ import annotations

from collections.abc import Callable

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.transport.input.observer import Observer
from dora_rt.transport.input.subscriber import Subscriber

_UNREADABLE_NS = 1_000_000_000


class LookAhead:
    """One held input of a node; for the thread that receives."""

    def __init__(self, run: str, subscriber: Subscriber, clock: Callable[[], int]) -> None:
        """Begin with the sample that would be taken next.

        Args:
            run: the name of the run.
            subscriber: of a `block` edge.
            clock: returns the time in nanoseconds.
        """
        self.generation = 0
        """Of the output."""
        self.taken = 0
        """Samples taken from the ring."""
        self._run = run
        self._subscriber = subscriber
        # What comes ahead of those in the ring was never in the ring of this reader.
        subscriber.awaits_latched = False
        self._clock = clock
        self._observer: Observer | None = None
        self._next = 0
        self._first_untaken = 0
        self._failing_ns: int | None = None

    @property
    def is_dry(self) -> bool:
        """Whether all was read, and the writer is not what it was.

        A writer that was killed while it published has counted a sample that can be read and never
        be taken; and one that was killed before it knew this reader has nothing to read.
        """
        return self._subscriber.writer_changed() and not (self._is_open() and self._has_more())

    def read(self) -> Event | None:
        """Copy the next sample that was not read before; None if there is none."""
        while self._is_open() and self._has_more():
            assert self._observer is not None, "just opened"
            event = self._observer.copy(self._next, self._subscriber.input_id)
            if event is not None:
                self._next += 1
                self._failing_ns = None
                return event
            now_ns = self._clock()
            if self._failing_ns is None:
                self._failing_ns = now_ns
            if now_ns - self._failing_ns < _UNREADABLE_NS:
                return None  # it is seen late
            self._next += 1  # it was overwritten: who takes it will say so
            self._failing_ns = None
        return None

    def take(self, seq: int) -> bool:
        """Take all samples up to a number that was read; False if they cannot be taken yet.

        Raises:
            CorruptSampleError: one was overwritten; the next call goes on behind it.
        """
        while self._first_untaken <= seq:
            try:
                event = self._subscriber.take()
            except CorruptSampleError:
                self._first_untaken = self._position()
                raise
            if event is None:
                return False
            self.taken += 1
            self._first_untaken = event.seq + 1
        return True

    def _has_more(self) -> bool:
        return self._subscriber.head > self._next

    def _is_open(self) -> bool:
        if self._observer is None:
            position = self._subscriber.position()
            if position is None:
                return False
            output, self._next = position
            self.generation = output.generation
            self._first_untaken = self._next
            self._observer = Observer(self._run, output)
        return True

    def _position(self) -> int:
        position = self._subscriber.position()
        assert position is not None, "samples were taken"
        return position[1]
