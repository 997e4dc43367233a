"""The node API: what a program that dora-launch started uses to receive and to send."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from dora_rt import names
from dora_rt.board import Board
from dora_rt.contract import CONFIG_VARIABLE, InputConfig, NodeConfig
from dora_rt.errors import (
    NodeClosedError,
    NotInDataflowError,
    UnknownOutputError,
)
from dora_rt.event import TELEMETRY_KEY, Event, InputClosed, telemetry_context
from dora_rt.publisher import Loan, Publisher, Stamp
from dora_rt.sample import encode_metadata, sendable
from dora_rt.shm import Doorbell, Segment
from dora_rt.status import Kind, LinkCounters, StatusWriter
from dora_rt.subscriber import Subscriber
from dora_rt.timer import Timer

_NO_METADATA = {TELEMETRY_KEY: ""}


class Cause(NamedTuple):
    """What an answer inherits; the context is looked for in `metadata_json` only when needed."""

    origin_ns: int
    metadata_json: bytes = b""
    context: str = ""


_NO_CAUSE = Cause(0)


class Node:
    """This process as a node of the dataflow that dora-launch runs.

    Threads may send and receive at the same time. As a context manager it closes itself.
    """

    _attached: str | None = None

    def __init__(self) -> None:
        """Attach to the dataflow, as the environment that dora-launch set describes it.

        Raises:
            NotInDataflowError: this process was not started by dora-launch (a RuntimeError).
            SharedMemoryError: the dataflow has ended meanwhile.
        """
        config = _config_from_environment()
        if Node._attached is not None:
            raise NotInDataflowError(
                f"node {Node._attached!r} is in use in this process already: a process is one "
                "node; pass the Node object on instead of making a second one"
            )
        Node._attached = config.node
        self._attach(config)

    def _attach(self, config: NodeConfig) -> None:
        run = config.run
        self._config = config
        board = Segment.attach(names.board(run), writable=False)
        board.close()
        self._board = Board(board.words(), config.processes, board.name)
        self._doorbell = Doorbell(names.doorbell(run, config.number))
        self._status = StatusWriter(config.status_fd, config.number)
        self._inputs: list[Subscriber | Timer] = [
            _attach_input(run, config.node, entry) for entry in config.inputs
        ]
        self._subscribers = {
            port.input_id: port for port in self._inputs if isinstance(port, Subscriber)
        }
        self._timers = [port for port in self._inputs if isinstance(port, Timer)]
        self._open_inputs = set(self._subscribers)
        self._publishers = {
            output.id: Publisher(run, config.node, output) for output in config.outputs
        }
        self._turn = 0
        self._receiving = threading.Lock()
        self._causes = threading.local()
        self._is_ready = False
        self._reads_events = False
        self._was_told_to_stop = False
        self._finalizer = weakref.finalize(
            self, _close, list(self._subscribers.values()), list(self._publishers.values())
        )
        if not config.inputs:
            # Nothing can be lost by who receives nothing: the flow need not wait for it.
            self._get_ready()

    def id(self) -> str:
        """Give the node's name in the dataflow file."""
        return self._config.node

    def config(self) -> NodeConfig:
        """Give what the launcher told this process."""
        return self._config

    def input_ids(self) -> tuple[str, ...]:
        """Name the inputs that the dataflow wires to this node, timers included."""
        return tuple(entry.id for entry in self._config.inputs)

    def output_ids(self) -> tuple[str, ...]:
        """Name the outputs that the dataflow file declares for this node."""
        return tuple(self._publishers)

    def is_stopped(self) -> bool:
        """Tell whether this node was asked to end; for sources that have no inputs to wait for."""
        self._announce_reading()
        return not self._finalizer.alive or self._board.is_stopped(self._config.number)

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next input.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Returns:
            The event, or None at the end: all sources of this node are gone and all that they
            sent was delivered, or the dataflow is being stopped.

        Raises:
            TimeoutError: nothing came in time.
            ValueError: the time-out is negative or not a number.
        """
        deadline_ns = None
        if timeout is not None:
            if not timeout >= 0:
                raise ValueError(f"timeout must be 0 or more seconds, got {timeout!r}")
            deadline_ns = time.monotonic_ns() + int(timeout * 1e9)
        event = self.next_or_closed(deadline_ns)
        while isinstance(event, InputClosed):
            event = self.next_or_closed(deadline_ns)
        return event

    def try_next(self) -> Event | None:
        """Give an input that is already there; None if there is none, and at the end."""
        try:
            return self.next(timeout=0)
        except TimeoutError:
            return None

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next_or_closed(self, deadline_ns: int | None) -> Event | InputClosed | None:
        """Do what `next` does, and tell as well when an input has come to its end.

        Args:
            deadline_ns: of `time.monotonic_ns()`, or None.
        """
        self._announce_reading()
        self._get_ready()
        with self._receiving:
            event = self._wait(deadline_ns)
        if isinstance(event, Event):
            # Only what an answer needs: the event itself would keep its slot in use.
            self._causes.cause = Cause(event.origin_ns, event.metadata_json)
        return event

    def send_output(
        self,
        output_id: str,
        data: Any,
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
    ) -> None:
        """Send bytes, or a bool or numeric array; the receiver gets it with its shape and dtype.

        What is sent in answer to an input inherits that input's `origin_ns` and its
        `open_telemetry_context`.

        Args:
            output_id: a name from `outputs:` of this node.
            data: bytes, bytearray or memoryview (arrive as bytes), or a numpy array or scalar
                of up to 8 dimensions.
            metadata: JSON-able dict that travels with the data.
            captured_ns: `time.monotonic_ns()` when a source captured this; begins a new origin.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            UnsupportedValueError: data or metadata are of a type that cannot be sent.
            NodeClosedError: the node is closed, or was told to stop.
            SharedMemoryFullError: there is no room for the sample.
        """
        publisher = self._publisher(output_id)
        value = sendable(data, publisher.where)
        stamp = self._stamp(metadata, captured_ns)
        if isinstance(value, np.ndarray):
            publisher.send_array(value, stamp)
        else:
            publisher.send_bytes(value, stamp)

    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
    ) -> Loan:
        """Give an uninitialised array in shared memory; it is sent when the `with` block ends.

        An exception inside the block sends nothing. `metadata` is read when the block ends.

        Raises:
            UnknownOutputError, UnsupportedValueError, NodeClosedError, SharedMemoryFullError:
                as for `send_output`.
        """
        publisher = self._publisher(output_id)
        return publisher.loan(
            (shape,) if isinstance(shape, int) else tuple(shape),
            np.dtype(dtype),
            lambda: self._stamp(metadata, captured_ns),
            has_metadata=metadata is not None,
        )

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow."""
        self._status.send(Kind.STOP_DATAFLOW)

    def close(self) -> None:
        """Send and receive no more; the readers of this node's outputs see their end."""
        self._finalizer()
        self._doorbell.ring()

    def report(self, link: LinkCounters) -> None:
        """Tell the launcher what an edge between two operators of this process has counted."""
        self._status.send(Kind.LINK, link)

    def has_inputs(self) -> bool:
        """Tell whether anything can still come: a timer's tick, or a sample."""
        return bool(self._open_inputs or self._timers)

    def close_input(self, input_id: str) -> None:
        """Take no more from one input; its writer stops feeding it."""
        if input_id in self._subscribers:
            self._subscribers[input_id].close()
            self._open_inputs.discard(input_id)
        self._inputs = [port for port in self._inputs if port.input_id != input_id]
        self._timers = [timer for timer in self._timers if timer.input_id != input_id]

    def close_output(self, output_id: str) -> None:
        """Send no more on one output; its readers see the end of it."""
        self._publishers[output_id].close()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _get_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._status.send(Kind.READY)

    def _announce_reading(self) -> None:
        # A node that never looks for events cannot be told to stop by one.
        if not self._reads_events:
            self._reads_events = True
            self._status.send(Kind.READS_EVENTS)

    def _wait(self, deadline_ns: int | None) -> Event | InputClosed | None:
        board, number = self._board, self._config.number
        while True:
            if not self._finalizer.alive:
                raise NodeClosedError(f"node {self._config.node!r}: closed, no more inputs")
            if board.is_stopped(number):
                self._was_told_to_stop = True
                return None
            wake_ns = deadline_ns
            if start_ns := board.start_ns:
                event = self._take(start_ns)
                if event is not None:
                    return event
                if self._is_over():
                    return None
                for timer in self._timers:
                    due_ns = timer.due_ns(start_ns)
                    wake_ns = due_ns if wake_ns is None else min(wake_ns, due_ns)
            if not self._doorbell.wait(wake_ns) and wake_ns == deadline_ns:
                raise TimeoutError(f"node {self._config.node!r}: no input came in time")
            self._doorbell.silence()

    def _take(self, start_ns: int) -> Event | InputClosed | None:
        # In turn, so that a fast input does not starve the others.
        inputs = self._inputs
        count = len(inputs)
        for step in range(count):
            turn = (self._turn + step) % count
            port = inputs[turn]
            event = (
                port.take(start_ns, time.monotonic_ns()) if isinstance(port, Timer) else port.take()
            )
            if event is not None:
                self._turn = turn + 1
                return event
        for input_id in self._open_inputs:
            subscriber = self._subscribers[input_id]
            if subscriber.is_ended:
                self._open_inputs.remove(input_id)
                return InputClosed(input_id)
            if subscriber.notices_end():
                # The wait that follows returns at once, through the doorbell's semaphore.
                self._doorbell.ring()
        return None

    def _is_over(self) -> bool:
        # Timers do not keep a finished node alive; a node of only timers is a source, and goes on.
        # In a runtime each operator comes to its own end.
        if self._open_inputs or self._config.operators:
            return False
        return bool(self._subscribers) or not self._timers

    def _publisher(self, output_id: str) -> Publisher:
        publisher = self._publishers.get(output_id)
        if publisher is None:
            declared = ", ".join(self._publishers) or "none"
            raise UnknownOutputError(
                f"node {self._config.node!r} has no output {output_id!r}; "
                f"its outputs in the dataflow file: {declared}"
            )
        if self._was_told_to_stop:
            raise NodeClosedError(
                f"{publisher.where}: sent after next() returned None because the dataflow is "
                "being stopped; send before the loop ends"
            )
        if not self._board.start_ns:
            self._wait_for_start()
        return publisher

    def _wait_for_start(self) -> None:
        self._get_ready()
        board, number = self._board, self._config.number
        while not board.start_ns and not board.is_stopped(number) and self._finalizer.alive:
            self._doorbell.wait(None)
        # The ring may have been meant for a thread that waits in next() meanwhile.
        self._doorbell.ring()

    def inherit(
        self, metadata: dict[str, Any] | None, captured_ns: int | None
    ) -> tuple[dict[str, Any] | None, int, int]:
        """Complete what is sent with what it inherits from the input that this thread answers.

        Returns:
            The metadata with the telemetry context, the source time, and the origin time.
        """
        cause: Cause = getattr(self._causes, "cause", _NO_CAUSE)
        if not (metadata and metadata.get(TELEMETRY_KEY)):
            context = cause.context or telemetry_context(cause.metadata_json)
            if context:
                metadata = {**(metadata or {}), TELEMETRY_KEY: context}
        now_ns = time.monotonic_ns()
        if captured_ns is not None:
            return metadata, captured_ns, captured_ns
        return metadata, now_ns, cause.origin_ns or now_ns

    def answer_to(self, cause: Cause) -> None:
        """Let what this thread sends from now on inherit from `cause`."""
        self._causes.cause = cause

    def _stamp(self, metadata: dict[str, Any] | None, captured_ns: int | None) -> Stamp:
        metadata, source_ns, origin_ns = self.inherit(metadata, captured_ns)
        # Metadata handed on unchanged often are nothing but the empty telemetry context.
        if not metadata or metadata == _NO_METADATA:
            return Stamp(b"", source_ns, origin_ns)
        return Stamp(encode_metadata(metadata), source_ns, origin_ns)


def _config_from_environment() -> NodeConfig:
    text = os.environ.get(CONFIG_VARIABLE)
    if text is None:
        raise NotInDataflowError(
            "Node() works only in a program that dora-launch started: put this script into a "
            "dataflow file (- id: my_node, path: this_script.py) and run "
            "`dora-launch dataflow.yml`; to test its logic alone, use dora_rt.testing.FakeNode"
        )
    return NodeConfig.from_json(text)


def _attach_input(run: str, node: str, config: InputConfig) -> Subscriber | Timer:
    if config.period_ns is not None:
        return Timer(config.id, config.period_ns)
    assert config.output is not None
    assert config.edge is not None, "an input is a timer or an edge"
    return Subscriber(run, node, config.id, config.output, config.edge)


def _close(subscribers: list[Subscriber], publishers: list[Publisher]) -> None:
    for subscriber in subscribers:
        subscriber.close()
    for publisher in publishers:
        publisher.close()
