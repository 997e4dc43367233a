"""A stream that comes in: checked, put into the rings of its readers, acknowledged."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from dora_rt.errors import CorruptSampleError, NodeClosedError, SentAfterStopError
from dora_rt.network.accounts import EndedRuns
from dora_rt.network.clocks import ClockOffset
from dora_rt.network.gateway_plan import Stream
from dora_rt.network.link import Payload
from dora_rt.network.picture_coding import decode
from dora_rt.network.published_ledger import PublishedLedger
from dora_rt.network.receive_order import ReceiveOrder, Verdict
from dora_rt.network.wire import Ack, Head, WireError
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.values.source_life import with_life

# More than any window: whoever sends more does not wait for acknowledgements.
_MOST_WAITING = 1024
_FIRST_LOOK_S = 0.0003
_LAST_LOOK_S = 0.02
_SEND_SLICE_NS = 200_000_000

Arrived = tuple[bytes, Payload]


class Incoming:
    """The receiver's end of one stream; a thread of its own publishes.

    Of a lossless stream the sender keeps each sample until it hears that the readers here have
    taken it, so that nothing is lost with this machine.
    """

    def __init__(
        self,
        stream: Stream,
        life: int,
        open_output: Callable[[], Publisher],
        *,
        acknowledge: Callable[[bytes], None],
        on_end: Callable[[], None],
        ledger: PublishedLedger,
        is_first_life: bool,
    ) -> None:
        """Begin without a sender.

        Args:
            stream: what comes in.
            life: of this gateway.
            open_output: returns the output that it is sent on with, once the run has started.
            acknowledge: sends an acknowledgement.
            on_end: is called in the thread, once, behind the last sample.
            ledger: what was published of a lossless stream.
            is_first_life: whether this gateway was not started again; else it takes nothing before
                `recover`.
        """
        self.stream = stream
        self._has_closed = False
        self.refused = 0
        """What came and made no sense."""
        self.clock = ClockOffset()
        """Of the sender."""
        self.ended_runs = EndedRuns()
        """Of the sender: it was killed, and started again."""
        is_lossless = stream.queue_policy is QueuePolicy.BLOCK
        self.order = ReceiveOrder(life, is_lossless=is_lossless)
        self._is_lossless = is_lossless
        self._open_output = open_output
        self._publisher: Publisher | None = None
        self._acknowledge = acknowledge
        self._on_end = on_end
        self._ledger = ledger
        self._is_recovered = is_first_life or not is_lossless
        self._is_closing = False
        self._look_s = _FIRST_LOOK_S
        self._arrived_nbytes = self._taken_nbytes = 0
        self._most_nbytes = 4 * stream.max_nbytes
        self._arrived: queue.SimpleQueue[Arrived | Callable[[], None] | None]
        self._arrived = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=stream.port, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the end has come, and the readers have all that was sent before it."""
        return self._has_closed and not self.order.untaken

    def connect(self, sender_life: int, clock: ClockOffset) -> None:
        """Take samples of this life of the sender from now on."""
        self.clock = clock
        self._arrived.put(lambda: self.order.connect(sender_life))

    def recover(self, count: int) -> None:
        """Go on behind what the forerunners of this gateway have published.

        Args:
            count: how many samples, as the launcher knows it.
        """
        if not self._is_recovered:
            self._arrived.put(partial(self._recover, count))

    def _recover(self, count: int) -> None:
        if not self._is_recovered:
            self._is_recovered = True
            found = self._ledger.recover(count)
            if found is not None:
                self.order.go_on(*found)

    def end(self) -> None:
        """Let the readers see the end: the sender is over, and nothing of it comes any more."""
        self._arrived.put(self._note_end)

    def _note_end(self) -> None:
        self.order.has_ended = True
        if not self._has_closed:
            self._on_end()
            self._has_closed = True

    def hear(self, attachment: bytes, payload: Payload) -> None:
        """Take what the link brings, in a thread of zenoh."""
        # Each of the two counts has one thread that writes it.
        waiting_nbytes = self._arrived_nbytes - self._taken_nbytes
        if self._arrived.qsize() >= _MOST_WAITING or waiting_nbytes > self._most_nbytes:
            return  # whoever keeps to the window sends it again
        self._arrived_nbytes += len(payload)
        self._arrived.put((attachment, payload))

    def close(self) -> None:
        """Publish no more."""
        self._is_closing = True
        self._arrived.put(None)

    def _run(self) -> None:
        while not self._is_closing:
            try:
                arrived = self._arrived.get(timeout=self._look_s if self.order.untaken else None)
            except queue.Empty:
                self._look_after_readers()
                continue
            if arrived is None:
                return
            if callable(arrived):
                arrived()
                continue
            self._taken_nbytes += len(arrived[1])
            try:
                self._take(*arrived)
            except WireError as error:
                self._refuse(str(error))
            except (NodeClosedError, SentAfterStopError):
                return

    def _take(self, attachment: bytes, payload: Payload) -> None:
        if not self._is_recovered:
            return  # the sender asks again
        head = Head.from_bytes(attachment)
        verdict = self.order.judge(head)
        if verdict is Verdict.NEW:
            self._take_new(head, payload)
        elif verdict is Verdict.ANSWER:
            self._tell()
        if self.order.has_ended:
            self._note_end()

    def _take_new(self, head: Head, payload: Payload) -> None:
        assert head.number is not None, "checked when it was read"
        try:
            value = self._value(head, payload)
        except (WireError, CorruptSampleError) as error:
            # Sent again, it would be no better.
            self._refuse(str(error))
            self.order.pass_over(head.number)
        else:
            if not self._publish(head, value):
                return
            self.order.note_published(head.number)
            self._ledger.note_published(head.run, head.number)
        self._look_s = _FIRST_LOOK_S
        self._note_untaken()
        self._tell()

    def _value(self, head: Head, payload: Payload) -> Any:
        nbytes = max(head.nbytes, head.value_nbytes)
        if nbytes > self.stream.max_nbytes:
            raise WireError(f"{nbytes} bytes; at most {self.stream.max_nbytes} may come")
        return decode(head, payload.to_bytes())

    def _publish(self, head: Head, value: Any) -> bool:
        if self._publisher is None:
            self._publisher = self._open_output()
        number = head.number
        assert number is not None, "checked when it was read"
        if self._is_lossless:
            self._ledger.note(head.run, number)
        metadata_json = with_life(head.metadata_json, head.run, number[0])
        while not self._is_closing:
            now_ns = time.monotonic_ns()
            origin_ns = self.clock.to_here(head.origin_ns, now_ns)
            deadline_ns = now_ns + _SEND_SLICE_NS
            try:
                self._publisher.send_in_time(
                    value, Stamp(metadata_json, origin_ns, origin_ns, deadline_ns)
                )
            except TimeoutError:
                continue  # a reader with `block` has no room, for as long as it takes
            return True
        return False

    def _look_after_readers(self) -> None:
        if self._note_untaken():
            self._tell()
            self._look_s = _FIRST_LOOK_S
        else:
            self._look_s = min(2 * self._look_s, _LAST_LOOK_S)

    def _note_untaken(self) -> bool:
        if not self._is_lossless or self._publisher is None:
            return False
        return self.order.note_untaken(self._publisher.count_waiting())

    def _tell(self) -> None:
        ack: Ack = self.order.ack()
        self._acknowledge(ack.to_bytes())

    def _refuse(self, why: str) -> None:
        self.refused += 1
        if self.refused == 1:
            stream = self.stream
            sys.stderr.write(
                f"dora_rt: a sample of {stream.source} from machine {stream.sender!r} was refused: "
                f"{why} (told once)\n"
            )
