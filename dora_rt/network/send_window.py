"""The sender's end of one stream: what is under way, what may follow, and what is sent again.

Pure: it is told what happens, and says what to put. The link may lose, double and reorder; a probe
that is put behind the samples finds out what has arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from dora_rt.network.wire import Ack, Number

SMALL_NBYTES = 4 * 1024
"""Samples up to this size overtake larger ones."""
_SMALL_WINDOW_NBYTES = 64 * 1024
_MOST_IN_FLIGHT = 256
_FIRST_PATIENCE_NS = 1_000_000_000
_LONGEST_PATIENCE_NS = 8_000_000_000
# What the far readers have taken may be told in vain.
_QUIET_NS = 5_000_000_000
# A probe is lost where the receiver is not known to all routers yet.
_FIRST_ASK_GAP_NS = 100_000_000

Item = TypeVar("Item")


class _State(Enum):
    AWAY = auto()
    ASKING = auto()
    OPEN = auto()


@dataclass(slots=True)
class Flight(Generic[Item]):
    """One sample on its way."""

    number: Number
    previous: Number | None
    nbytes: int
    item: Item
    sent_ns: int
    has_arrived: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Put a probe."""

    id: int
    base: Number | None


@dataclass(frozen=True, slots=True)
class End:
    """Say that nothing comes any more."""

    last: Number | None


Put = Flight[Item] | Probe | End


class SendWindow(Generic[Item]):
    """What a gateway has sent of one stream, and may send next.

    A lossless stream keeps each sample until the readers at the far end have taken it, and sends
    it again when it did not arrive. Of another one nothing is kept: what did not arrive is lost.
    """

    def __init__(self, life: int, *, is_lossless: bool, most_held: int = _MOST_IN_FLIGHT) -> None:
        """Begin without a receiver.

        Args:
            life: of this gateway.
            is_lossless: whether what is lost is sent again.
            most_held: how many samples may be kept at once.
        """
        self.in_flight = 0
        """Samples that were sent, and of which it is not known yet whether they have arrived."""
        self.arrived = 0
        """Samples that the far gateway has published; those sent again count again."""
        self.released_count = 0
        """Of a lossless stream: samples that the far readers have taken."""
        self.lost = 0
        self.resent = 0
        self.has_ended = False
        """Whether the receiver has heard of the end, and all before it."""
        self.round_trip_ns = 0
        """The shortest that the clocks have measured; 0: not known."""
        self.has_resumed = False
        """Whether the receiver has told what it has; whoever acts on that sets it back."""
        self.receiver_last: Number | None = None
        """What it had last then; None: nothing."""
        self.released: Number | None = None
        """Of a lossless stream: the last sample that the far readers have taken, of those sent."""
        self._behind: Number | None = None
        self._taken: Number | None = None
        self._life = life
        self.is_lossless = is_lossless
        """Whether what is lost is sent again."""
        self._most_held = most_held
        self._state = _State.AWAY
        self._receiver = 0
        self._flights: deque[Flight[Item]] = deque()
        self._to_resend: deque[Flight[Item]] = deque()
        self._last: Number | None = None
        self._base: Number | None = None
        self._nbytes = 0
        self._last_nbytes = 0
        self.sending_ns = 0
        """How long the last sample took until it was acknowledged."""
        self._probe = 0
        self._ask_ns = 0
        self._ask_gap_ns = _FIRST_ASK_GAP_NS
        self._patience_ns = _FIRST_PATIENCE_NS
        self._is_ending = False
        self._end_ns = 0
        self._heard_ns = 0
        self._received: int | None = None

    @property
    def has_credit(self) -> bool:
        """Whether one more sample may be taken from the ring, and sent."""
        if self._state is not _State.OPEN or self._to_resend or self._is_ending:
            return False
        if self.is_lossless and len(self._flights) >= self._most_held:
            return False
        if not self.in_flight:
            return True
        if self._nbytes + self._last_nbytes <= _SMALL_WINDOW_NBYTES:
            return self.in_flight < _MOST_IN_FLIGHT
        # One more, where a link would stand still while it waits for an acknowledgement.
        return self.in_flight < (2 if 2 * self.round_trip_ns > self.sending_ns else 1)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and nothing is kept."""
        return not self._flights

    def connect(self, receiver_life: int, now_ns: int) -> None:
        """Note that the receiver is there: first of all it is asked what it has."""
        if receiver_life != self._receiver:
            self._receiver = receiver_life
            self._received = None
            # One that was started again may not know of the end.
            self.has_ended = False
        self._ask(now_ns)

    def go_back(self, number: Number) -> None:
        """Tell the receiver no more than that this sample comes next: it may have it or not."""
        if not self._flights:
            self._last = self._base = _before(number)

    def go_on(self, number: Number) -> None:
        """Go on behind a sample: the receiver has it."""
        self._last = self._base = number

    def disconnect(self) -> None:
        """Note that the link is gone. What is under way may have arrived or not."""
        self._state = _State.AWAY
        self.has_resumed = False
        self._to_resend.clear()

    def give_up(self) -> None:
        """Keep nothing any more for a receiver that nobody waits for; it goes on behind that."""
        self.disconnect()
        self.lost += sum(not flight.has_arrived for flight in self._flights)
        self._flights.clear()
        self._base = self._last
        self._count()

    def add(self, number: Number, nbytes: int, item: Item, now_ns: int) -> Flight[Item]:
        """Note a sample that is to be put now; call it with credit.

        A gateway that was started again finds samples in the ring that its forerunner has sent.
        Those have arrived already (`has_arrived`), and are not put.
        """
        behind = self._behind
        has_arrived = behind is not None and number <= behind
        if self._last is None and behind is not None:
            self._last = self._base = _before(number) if has_arrived else behind
        flight = Flight(number, self._last, nbytes, item, now_ns, has_arrived)
        self._flights.append(flight)
        self._last = number
        self._last_nbytes = nbytes
        self._count()
        if has_arrived:
            self._let_go()
        return flight

    def end(self, now_ns: int) -> None:
        """Note that no sample comes any more."""
        self._is_ending = True
        self._end_ns = now_ns

    def hear(self, ack: Ack, now_ns: int) -> None:
        """Take in what the receiver tells."""
        if ack.life != self._life or ack.receiver_life != self._receiver:
            return
        if self._state is _State.AWAY:
            return
        self._heard_ns = now_ns
        self._note_arrived(ack, now_ns)
        if self._state is _State.ASKING and ack.probe == self._probe:
            self._resume(ack, now_ns)
        self._taken = ack.taken
        if self.is_lossless:
            self._let_go()
        self.has_ended |= self._is_ending and ack.has_ended

    def due(self, now_ns: int) -> Iterator[Put[Item]]:
        """Return what is to be put now, beside new samples."""
        if self._state is _State.AWAY:
            return
        if self._state is _State.OPEN:
            while self._to_resend and self._may_resend():
                flight = self._to_resend.popleft()
                flight.sent_ns = now_ns
                self.resent += 1
                self._count()
                yield flight
            asks_ns = self._asks_ns()
            if asks_ns is not None and now_ns >= asks_ns:
                self._ask(now_ns)
            is_done = self._is_ending and not (self.in_flight or self._to_resend)
            if is_done and not self.has_ended and now_ns >= self._end_ns:
                self._end_ns = now_ns + self._patience_ns
                yield End(self._last)
        if self._state is _State.ASKING and now_ns >= self._ask_ns:
            self._ask_ns = now_ns + self._ask_gap_ns
            self._ask_gap_ns = min(2 * self._ask_gap_ns, _LONGEST_PATIENCE_NS)
            yield Probe(self._probe, self._base)

    def due_ns(self) -> int | None:
        """Return when `due` may have something to put, if nothing is heard before."""
        if self._state is _State.ASKING:
            return self._ask_ns
        if self._state is _State.OPEN:
            if self._to_resend and self._may_resend():
                return 0
            if self._is_ending and not (self.in_flight or self.has_ended or self._to_resend):
                return self._end_ns
            return self._asks_ns()
        return None

    def _asks_ns(self) -> int | None:
        """Return when to ask what has become of what was sent; None: that is known."""
        if self.in_flight:
            return self._newest_ns() + self._patience_ns
        return self._heard_ns + _QUIET_NS if self._flights else None

    def _ask(self, now_ns: int) -> None:
        self._state = _State.ASKING
        self._to_resend.clear()
        # By chance two gateways could begin with the same one, and an old answer would count.
        self._probe = self._probe % 0xFFFF_FFFF + 1
        self._ask_ns = now_ns
        self._ask_gap_ns = _FIRST_ASK_GAP_NS

    def _resume(self, ack: Ack, now_ns: int) -> None:
        """Go on behind what the receiver has, which a probe has found out."""
        last = ack.last
        self.has_resumed, self.receiver_last = True, last
        self._state = _State.OPEN
        self._end_ns = now_ns
        has_forgotten = self._behind is not None and (last is None or last < self._behind)
        if self._last is None or has_forgotten:
            self._behind = last
        if self.is_lossless:
            for flight in self._flights:
                has_arrived = last is not None and flight.number <= last
                flight.has_arrived = has_arrived
            self._to_resend.extend(one for one in self._flights if not one.has_arrived)
        else:
            self.lost += len(self._flights)
            self._flights.clear()
        self._count()

    def _note_arrived(self, ack: Ack, now_ns: int) -> None:
        last, newest, count = ack.last, None, 0
        for flight in self._flights:
            if last is None or flight.number > last:
                break
            if not flight.has_arrived:
                flight.has_arrived = True
                count += 1
                newest = flight
        # Where something was lost on the way, the number of the last one does not show it.
        received = 0 if self._received is None else max(ack.received - self._received, 0)
        if self._received is None or ack.received > self._received:
            self._received = ack.received
        arrived = count if self.is_lossless else min(received, count)
        self.arrived += arrived
        self.lost += count - arrived
        if newest is None:
            return
        self.sending_ns = now_ns - newest.sent_ns
        self._patience_ns = min(max(_FIRST_PATIENCE_NS, 4 * self.sending_ns), _LONGEST_PATIENCE_NS)
        while self._to_resend and self._to_resend[0].has_arrived:
            self._to_resend.popleft()
        if not self.is_lossless:
            while self._flights and self._flights[0].has_arrived:
                self._base = self._flights.popleft().number
        self._count()

    def _let_go(self) -> None:
        taken = self._taken
        while self._flights and taken is not None and self._flights[0].number <= taken:
            if not self._flights[0].has_arrived:
                break
            self._base = self.released = self._flights.popleft().number
            self.released_count += 1

    def _may_resend(self) -> bool:
        return not self.in_flight or self._nbytes + self._to_resend[0].nbytes <= (
            _SMALL_WINDOW_NBYTES
        )

    def _newest_ns(self) -> int:
        return max(flight.sent_ns for flight in self._flights if not flight.has_arrived)

    def _count(self) -> None:
        waiting = set(map(id, self._to_resend))
        flying = [one for one in self._flights if not one.has_arrived and id(one) not in waiting]
        self.in_flight = len(flying)
        self._nbytes = sum(flight.nbytes for flight in flying)


def _before(number: Number) -> Number | None:
    generation, seq = number
    return (generation, seq - 1) if seq else None
