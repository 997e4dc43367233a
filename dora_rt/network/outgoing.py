"""A stream that leaves this machine: taken from its ring when the link has room for it."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Change as InputChange
from dora_rt.event import Event, InputClosed, SourceRestarted
from dora_rt.network.gateway_plan import Stream
from dora_rt.network.link import SamplePort
from dora_rt.network.picture_coding import Coded, can_cross, code
from dora_rt.network.send_window import SMALL_NBYTES, End, Flight, Probe, Put, SendWindow
from dora_rt.network.source_rhythm import SourceRhythm
from dora_rt.network.wire import Head, Kind, Number
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.input.look_ahead import LookAhead


@dataclass(frozen=True, slots=True)
class Identity:
    """What every head of a gateway says of its sender."""

    run: int
    life: int


class Outgoing:
    """The sender's end of one stream. The main thread decides, and a thread of its own puts.

    A sample stays in its ring until it can be sent at once. So the ring, with the policy of the
    edge, is the queue: `latest` is the newest at that moment.
    """

    def __init__(
        self,
        stream: Stream,
        identity: Identity,
        inbox: Inbox,
        *,
        run: str,
        generation: int,
        most_held: int,
    ) -> None:
        """Hold the input: nobody is there yet.

        Args:
            stream: what leaves.
            identity: of this gateway.
            inbox: of the node that this gateway is.
            run: its name.
            generation: of the output that the stream carries.
            most_held: how many samples may be kept for the far readers.
        """
        self.stream = stream
        is_lossless = stream.queue_policy is QueuePolicy.BLOCK
        self.window: SendWindow[Event | None] = SendWindow(
            identity.life, is_lossless=is_lossless, most_held=most_held
        )
        self.taken = 0
        """Samples taken from the ring."""
        self.ring_dropped = 0
        """By the ring, as far as the samples that were taken show it."""
        self.thrown_away = 0
        """Samples that nobody wants, or that cannot cross."""
        self.repeated = 0
        """Samples of a latched output that were sent once more, to a receiver that had none."""
        self.received_before = 0
        """By runs of the receiver that are over: it was killed, and started again."""
        self.is_closed = False
        """Whether the source has come to its end."""
        self.port: SamplePort | None = None
        self._is_lossless = is_lossless
        self._identity = identity
        self._inbox = inbox
        self._run = run
        self._generation = generation
        self._is_held = False
        self._is_unwanted = False
        self._next_ns = 0
        max_hz = stream.over_network.max_hz
        self._gap_ns = int(1e9 / max_hz) if max_hz else 0
        is_latest = stream.queue_policy is QueuePolicy.LATEST
        # A latched sample is old by right, and no other one comes soon.
        self._rhythm = SourceRhythm() if is_latest and not stream.is_latched else None
        # A sample that gives way to the next one, if that comes soon.
        self._waiting: tuple[Event, int] | None = None
        self._is_small = True
        self._has_told = False
        self._ahead: LookAhead | None = None
        self._read_seq = -1
        # Of a latched output: the sample that a receiver gets that comes later.
        self._newest: tuple[Number, Event] | None = None
        self._puts: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._put_all, name=stream.port, daemon=True)
        self._thread.start()
        self._hold()

    @property
    def is_over(self) -> bool:
        """Whether the source has ended, and the far readers have all that it sent."""
        if self._is_unwanted:
            return self.is_closed
        return self.window.has_ended and self.window.is_idle

    def connect(self, receiver_life: int, now_ns: int, *, is_new_run: bool) -> None:
        """Begin to send: the receiver is there.

        Args:
            receiver_life: of its gateway.
            now_ns: the time.
            is_new_run: whether it was there before, in a run that is over.
        """
        self._is_unwanted = False
        self._throw_waiting()
        if is_new_run:
            window = self.window
            self.received_before = window.released_count if self._is_lossless else window.arrived
        if self._newest is not None:
            # Also where it was given up: who comes later is to have the newest.
            self.window.go_back(self._newest[0])
        self.window.connect(receiver_life, now_ns)

    def disconnect(self, *, is_unwanted: bool) -> None:
        """Send no more for now.

        Args:
            is_unwanted: whether nobody is to wait for the receiver: what comes is thrown away.
        """
        self._is_unwanted = is_unwanted
        self._throw_waiting()
        if is_unwanted:
            self.window.give_up()
        else:
            self.window.disconnect()

    def take(self, event: Event | InputChange) -> None:
        """Take what the inbox gave."""
        if isinstance(event, SourceRestarted):
            self._send_waiting(time.monotonic_ns())
            if self._rhythm is not None:
                self._rhythm.forget()
            self._generation += 1
            self._resume()
            self._hold()
        elif isinstance(event, InputClosed):
            if event.is_final:
                self.is_closed = True
                self._send_waiting(time.monotonic_ns())
                self.window.end(time.monotonic_ns())
        elif isinstance(event, Event):
            self.taken += 1
            self.ring_dropped += event.dropped
            if self._ahead is not None:
                # The last one of a writer that is gone; the ring is looked at anew.
                is_sent = event.seq <= self._read_seq
                self._resume()
                self._hold()
                if is_sent:
                    return
            self._throw_waiting()
            now_ns = time.monotonic_ns()
            if not self._waits(event, now_ns):
                self._send(event, now_ns)

    def step(self, now_ns: int) -> int | None:
        """Do what is due, and hold or resume the input; return when to look again."""
        if self.window.has_resumed:
            self.window.has_resumed = False
            self._repeat_newest(now_ns)
        for put in self.window.due(now_ns):
            self._put(put)
        if self._waiting is not None and now_ns >= self._waiting[1]:
            self._send_waiting(now_ns)
        if self._ahead is not None:
            self._release(self._ahead)
            self._send_ahead(self._ahead, now_ns)
            # What the far readers have not taken may have to be found here once more.
            is_open = not self.is_closed and self.window.is_idle and self._ahead.is_dry
        else:
            is_open = not self.is_closed and self._may_send(now_ns)
        if is_open and self._is_held:
            self._resume()
            return now_ns  # what waits in its ring has rung long ago
        if not is_open:
            self._hold()
        times_ns = [self.window.due_ns()]
        if self._waiting is not None:
            times_ns.append(self._waiting[1])
        if self._gap_ns and self.window.has_credit and now_ns < self._next_ns:
            times_ns.append(self._next_ns)
        return min((one for one in times_ns if one is not None), default=None)

    def close(self) -> None:
        """Put no more; what is being put ends when the link does."""
        self._puts.put(None)

    def _can_cross(self, event: Event, nbytes: int) -> bool:
        if not can_cross(event.value):
            why = (
                f"sends arrays of {event.value.dtype}, which is another type on other machines; "
                "send float64"
            )
        elif nbytes > self.stream.max_nbytes:
            why = (
                f"sends {nbytes:,} bytes, and no more than {self.stream.max_nbytes:,} may come; "
                f"write `slot_bytes` at {self.stream.targets[0]}"
            )
        else:
            return True
        if not self._has_told:
            self._has_told = True
            sys.stderr.write(
                f"dora_rt: {self.stream.source} {why}. What does not cross counts as dropped "
                "(told once)\n"
            )
        return False

    def _may_send(self, now_ns: int) -> bool:
        return self._is_unwanted or (self.window.has_credit and now_ns >= self._next_ns)

    def _waits(self, event: Event, now_ns: int) -> bool:
        """Keep a sample back, if the next one is so near that it had better be sent instead."""
        if self._rhythm is None:
            return False
        self._rhythm.note(event.seq, event.sent_ns)
        if self._is_unwanted or _nbytes(event) <= SMALL_NBYTES:
            return False
        until_ns = self._rhythm.waits_until_ns(now_ns, self.window.sending_ns)
        if until_ns is None:
            return False
        self._waiting = event, until_ns
        return True

    def _send_waiting(self, now_ns: int) -> None:
        if self._waiting is not None:
            event, self._waiting = self._waiting[0], None
            self._send(event, now_ns)

    def _throw_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self.thrown_away += 1

    def _send(self, event: Event, now_ns: int) -> None:
        nbytes = _nbytes(event)
        can_cross = self._can_cross(event, nbytes)
        number = self._generation, event.seq
        if self.stream.is_latched:
            self._newest = (number, event) if can_cross else None
        if self._is_unwanted or not can_cross:
            self.thrown_away += 1
            return
        self._put_new(number, event, nbytes, now_ns)

    def _repeat_newest(self, now_ns: int) -> None:
        """Send the newest sample of a latched output to a receiver that has not got it."""
        if self._newest is None or not self.window.is_idle:
            return
        number, event = self._newest
        last = self.window.receiver_last
        if last is None or last < number:
            self.repeated += 1
            self._put_new(number, event, _nbytes(event), now_ns)
        else:
            self.window.go_on(number)

    def _put_new(self, number: Number, event: Event, nbytes: int, now_ns: int) -> None:
        self._next_ns = now_ns + self._gap_ns
        if not self.window.in_flight:
            # Within one priority samples stay in order; between two they do not.
            self._is_small = nbytes <= SMALL_NBYTES
        item = event if self._is_lossless else None
        flight = self.window.add(number, nbytes, item, now_ns)
        if not flight.has_arrived:
            self._put_sample(flight, event)

    def _send_ahead(self, ahead: LookAhead, now_ns: int) -> None:
        while self._may_send(now_ns):
            event = ahead.read()
            if event is None:
                return
            self._generation = ahead.generation
            self._read_seq = event.seq
            self._send(event, now_ns)

    def _release(self, ahead: LookAhead) -> None:
        """Take from the ring what the far readers have taken."""
        released = self.window.released
        taken_seq = released[1] if released is not None and released[0] == ahead.generation else -1
        if self.window.is_idle:
            taken_seq = self._read_seq  # the last ones were thrown away
        before = ahead.taken
        try:
            ahead.take(taken_seq)
        except CorruptSampleError as error:
            sys.stderr.write(f"dora_rt: {error}\n")
        self.taken += ahead.taken - before

    def _hold(self) -> None:
        if not self._is_held:
            self._is_held = True
            subscriber = self._inbox.hold(self.stream.port)
            if self._is_lossless:
                self._read_seq = -1
                self._ahead = LookAhead(self._run, subscriber, time.monotonic_ns)

    def _resume(self) -> None:
        if self._is_held:
            self._is_held = False
            self._inbox.resume(self.stream.port)

    def _put(self, put: Put[Event | None]) -> None:
        if isinstance(put, Flight):
            assert put.item is not None, "only what is kept is sent again"
            self._put_sample(put, put.item)
            return
        identity = self._identity
        if isinstance(put, Probe):
            head = Head(Kind.PROBE, identity.run, identity.life, None, put.base, probe=put.id)
        else:
            assert isinstance(put, End), "there are three kinds"
            head = Head(Kind.END, identity.run, identity.life, put.last, None)
        is_small = self._is_small
        self._puts.put(lambda: self._put_bytes(b"", head, is_small))

    def _put_sample(self, flight: Flight[Event | None], event: Event) -> None:
        number, previous, is_small = flight.number, flight.previous, self._is_small
        identity = self._identity

        def put() -> None:
            # In this thread: a picture takes its time to become a JPEG.
            coded: Coded = code(event, self.stream.over_network)
            head = Head(
                Kind.SAMPLE,
                identity.run,
                identity.life,
                number,
                previous,
                origin_ns=event.origin_ns,
                sent_ns=event.sent_ns,
                nbytes=len(coded.payload),
                encoding=coded.encoding,
                dtype=coded.dtype,
                shape=coded.shape,
                metadata_json=coded.metadata_json,
            )
            self._put_bytes(coded.payload, head, is_small)

        self._puts.put(put)

    def _put_bytes(self, payload: bytes, head: Head, is_small: bool) -> None:
        if self.port is not None:
            self.port.put(payload, head.to_bytes(), is_small=is_small)

    def _put_all(self) -> None:
        while True:
            put = self._puts.get()
            if put is None:
                return
            put()
            del put  # else the last sample would keep its slot until the next one


def _nbytes(event: Event) -> int:
    value = event.value
    return int(value.nbytes) if hasattr(value, "nbytes") else len(value)
