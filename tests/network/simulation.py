"""The two ends of a stream over a bad link, deterministic: one seed is one history.

Everything but the ends is a model: the ring of the sender, which keeps what was not taken, the
link, which loses, doubles and reorders, and the rings of the readers. Gateways are killed at any
step, and what they knew goes with them; so is the far machine with all that its readers had not
taken.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from dora_rt.network.receive_order import ReceiveOrder, Verdict
from dora_rt.network.send_window import Flight, Probe, Put, SendWindow
from dora_rt.network.wire import Ack, Head, Kind, Number

_MS = 1_000_000


@dataclass(frozen=True)
class Troubles:
    """How likely each trouble is, at each step."""

    loss: float = 0.0
    doubling: float = 0.0
    reorders: bool = False
    cut: float = 0.0
    sender_killed: float = 0.0
    receiver_killed: float = 0.0
    far_killed: float = 0.0
    source_restarted: float = 0.0
    is_optional: bool = False
    """Whether nobody waits for the receiver: what comes while it is away is thrown away."""


class Wire:
    """One direction of the link."""

    def __init__(self, chance: random.Random, troubles: Troubles) -> None:
        self._chance = chance
        self._troubles = troubles
        self._under_way: list[bytes] = []

    def put(self, message: bytes) -> None:
        chance, troubles = self._chance, self._troubles
        if chance.random() >= troubles.loss:
            self._under_way.append(message)
            if chance.random() < troubles.doubling:
                self._under_way.append(message)

    def take(self) -> bytes | None:
        if not self._under_way:
            return None
        count = len(self._under_way)
        return self._under_way.pop(self._chance.randrange(count) if self._troubles.reorders else 0)

    def clear(self) -> None:
        self._under_way.clear()


@dataclass
class Ring:
    """The ring of the sender: `taken` samples are gone from it."""

    is_lossless: bool
    queue_size: int
    waiting: deque[Number] = field(default_factory=deque)
    sent: list[Number] = field(default_factory=list)
    dropped: int = 0

    def publish(self, number: Number) -> bool:
        if len(self.waiting) >= self.queue_size:
            if self.is_lossless:
                return False
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(number)
        self.sent.append(number)
        return True


class Simulation:
    """One history."""

    def __init__(self, seed: int, troubles: Troubles, *, is_lossless: bool) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.troubles = troubles
        self.is_lossless = is_lossless
        self.ring = Ring(is_lossless, queue_size=self.chance.choice((1, 3, 10)))
        self.forth = Wire(self.chance, troubles)
        self.back = Wire(self.chance, troubles)
        self.now_ns = 0
        self.is_cut = False
        self.delivered: list[Number] = []
        """By the far readers, in all their lives."""
        self.received = 0
        """By the far gateway, in all its lives."""
        self.forwarded = 0
        self.thrown_away = 0
        self.lives = 0
        self._next: Number = (0, 0)
        self._far_untaken: deque[Number] = deque()
        self._far_last: Number | None = None
        self._read = 0
        self._start_sender()
        self._start_receiver()

    def run(self, samples: int) -> None:
        """Send so many, then let it come to rest."""
        while len(self.ring.sent) < samples:
            self._step(may_trouble=True)
        has_ended = False
        for _ in range(20_000):
            if not self.ring.waiting and not has_ended:
                # The end of an input comes behind its last sample.
                has_ended = True
                self.window.end(self.now_ns)
            if self.window.has_ended and self.window.is_idle and not self._far_untaken:
                return
            self._step(may_trouble=False)
        raise AssertionError(f"seed {self.seed}: it does not come to rest")

    def _step(self, *, may_trouble: bool) -> None:
        chance = self.chance
        self.now_ns += chance.choice((1, 5, 40, 300)) * _MS
        if may_trouble:
            self._make_trouble()
            if chance.random() < 0.5 and self.ring.publish(self._next):
                generation, seq = self._next
                self._next = generation, seq + 1
        elif self.is_cut:
            self._connect()
        self._turn_sender()
        for _ in range(chance.randrange(4)):
            self._carry()
        if self._far_untaken and chance.random() < 0.6:
            self.delivered.append(self._far_untaken.popleft())
        if self.is_lossless and self.order.note_untaken(len(self._far_untaken)):
            self.back.put(self.order.ack().to_bytes())

    def _make_trouble(self) -> None:
        chance, troubles = self.chance, self.troubles
        if self.is_cut:
            if chance.random() < 0.2:
                self._connect()
        elif chance.random() < troubles.cut:
            self._cut()
        if chance.random() < troubles.sender_killed:
            self._cut()
            self._start_sender()
        if chance.random() < troubles.receiver_killed:
            self._cut()
            self._start_receiver()
        if chance.random() < troubles.far_killed:
            self._cut()
            self._far_untaken.clear()
            self._far_last = None
            self._start_receiver()
        if chance.random() < troubles.source_restarted:
            self._next = self._next[0] + 1, 0

    def _cut(self) -> None:
        # Whatever was under way is lost; either end learns it.
        self.is_cut = True
        self.forth.clear()
        self.back.clear()
        if not self.troubles.is_optional:
            self.window.disconnect()
            return
        self.thrown_away += len(self.ring.waiting)
        self.ring.waiting.clear()
        self._read = 0
        self.window.give_up()

    def _connect(self) -> None:
        self.is_cut = False
        self.order.connect(self._sender_life)
        self.window.connect(self._receiver_life, self.now_ns)

    def _start_sender(self) -> None:
        self.lives += 1
        self._sender_life = self.lives
        self.window: SendWindow[Number] = SendWindow(self.lives, is_lossless=self.is_lossless)
        self._read = 0
        self.is_cut = True

    def _start_receiver(self) -> None:
        self.lives += 1
        self._receiver_life = self.lives
        self.order = ReceiveOrder(self.lives, is_lossless=self.is_lossless)
        if self._far_last is not None and self.is_lossless:
            self.order.go_on(1, self._far_last)
        self.is_cut = True

    def _turn_sender(self) -> None:
        window, ring = self.window, self.ring
        if self.is_cut and self.troubles.is_optional:
            self.thrown_away += len(ring.waiting)
            ring.waiting.clear()
        for put in window.due(self.now_ns):
            self._put(put)
        if not self.is_lossless:
            while window.has_credit and ring.waiting:
                number = ring.waiting.popleft()
                self.forwarded += 1
                self._put(window.add(number, 8, number, self.now_ns))
            return
        while ring.waiting and window.released is not None and ring.waiting[0] <= window.released:
            ring.waiting.popleft()
            self._read -= 1
        while window.has_credit and self._read < len(ring.waiting):
            number = ring.waiting[self._read]
            self._read += 1
            flight = window.add(number, 8, number, self.now_ns)
            if not flight.has_arrived:
                self._put(flight)

    def _put(self, put: Put[Number]) -> None:
        life = self._sender_life
        if isinstance(put, Flight):
            head = Head(Kind.SAMPLE, 1, life, put.number, put.previous)
        elif isinstance(put, Probe):
            head = Head(Kind.PROBE, 1, life, None, put.base, probe=put.id)
        else:
            head = Head(Kind.END, 1, life, put.last, None)
        self.forth.put(head.to_bytes())

    def _carry(self) -> None:
        if self.chance.random() < 0.5:
            message = self.back.take()
            if message is not None:
                self.window.hear(Ack.from_bytes(message), self.now_ns)
            return
        message = self.forth.take()
        if message is None:
            return
        head = Head.from_bytes(message)
        verdict = self.order.judge(head)
        if verdict is Verdict.NEW:
            assert head.number is not None, "a sample has one"
            self._far_untaken.append(head.number)
            self._far_last = head.number
            self.received += 1
            self.order.note_published(head.number)
        if verdict is not Verdict.IGNORE:
            self.back.put(self.order.ack().to_bytes())
