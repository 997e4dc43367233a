"""The receiver's end of one stream: which samples are new, and what to acknowledge. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from dora_rt.network.wire import Ack, Head, Kind, Number


class Verdict(Enum):
    """What to do with what came."""

    NEW = auto()
    """Publish it, then call `note_published`."""
    ANSWER = auto()
    """Acknowledge, and no more."""
    IGNORE = auto()


class ReceiveOrder:
    """What has come of one stream.

    Of a lossless stream a sample is new if it follows the last one; of another if it is later.
    """

    def __init__(self, life: int, *, is_lossless: bool) -> None:
        """Begin.

        Args:
            life: of this gateway.
            is_lossless: whether each sample comes, in turn.
        """
        self.run = 0
        """Of the sender."""
        self.last: Number | None = None
        """The last sample that was published; or where the sender has begun."""
        self.received = 0
        """Samples that were published, each once."""
        self.doubled = 0
        self.passed_over = 0
        """Samples that came out of order."""
        self.has_ended = False
        self._life = life
        self._is_lossless = is_lossless
        self._sender = 0
        self._probe = 0
        self._taken: Number | None = None
        self._untaken: deque[Number] = deque()

    def go_on(self, run: int, last: Number) -> None:
        """Go on behind what a forerunner of this gateway has published.

        Its samples count as taken: they are in the rings, as long as this machine lives.
        """
        self.run, self.last, self._taken = run, last, last

    def connect(self, sender_life: int) -> None:
        """Note which gateway sends: what comes of an earlier one is ignored."""
        if sender_life != self._sender:
            self._sender = sender_life
            self._probe = 0

    def judge(self, head: Head) -> Verdict:
        """Say what to do with what came."""
        if head.life != self._sender:
            return Verdict.IGNORE
        if head.kind is Kind.PROBE:
            self._begin(head)
            return Verdict.ANSWER
        if head.run != self.run or not self._probe:
            return Verdict.IGNORE
        if head.kind is Kind.END:
            self.has_ended |= not self._is_lossless or head.number in (None, self.last)
            return Verdict.ANSWER
        assert head.number is not None, "checked when it was read"
        if self.last is not None and head.number <= self.last:
            self.doubled += 1
            return Verdict.ANSWER
        if self._is_lossless and head.previous != self.last:
            self.passed_over += 1
            return Verdict.IGNORE
        return Verdict.NEW

    def note_published(self, number: Number) -> None:
        """Note that a new sample is in the rings of its readers."""
        self.last = number
        self.received += 1
        if self._is_lossless:
            self._untaken.append(number)

    def pass_over(self, number: Number) -> None:
        """Note that a new sample makes no sense, and is not published."""
        self.last = number
        if not self._untaken:
            self._taken = number

    def note_untaken(self, count: int) -> bool:
        """Note how many of the newest samples wait for a reader; return whether that is news."""
        before = self._taken
        while len(self._untaken) > count:
            self._taken = self._untaken.popleft()
        return self._taken != before

    @property
    def untaken(self) -> int:
        """How many samples wait for a reader, as far as it is known here."""
        return len(self._untaken)

    def ack(self) -> Ack:
        """Return what to tell the sender."""
        return Ack(
            life=self._sender,
            receiver_life=self._life,
            last=self.last,
            taken=self._taken,
            probe=self._probe,
            received=self.received,
            has_ended=self.has_ended,
        )

    def _begin(self, head: Head) -> None:
        if head.run != self.run:
            # The launcher of the sender was started again, and counts from the beginning.
            self.run = head.run
            self.last = self._taken = None
            self._untaken.clear()
            self.has_ended = False
        if self.last is None:
            self.last = self._taken = head.previous
        elif head.previous is not None and head.previous > self.last:
            self.last = head.previous  # nobody waited for this machine meanwhile
        self._probe = head.probe
