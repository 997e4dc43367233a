"""The node API: what a program that dora-launch started uses to receive and to send."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dora_rt.errors import (
    CorruptSampleError,
    NotInDataflowError,
    SentAfterStopError,
    UnknownOutputError,
)
from dora_rt.event import Change, Event
from dora_rt.node.dynamic import Attachment, find_config, hang_up, when_abandoned
from dora_rt.node.ports import open_ports
from dora_rt.node.uncaught import report_uncaught
from dora_rt.node_config import LinkConfig, NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.unreadable_samples import Losses
from dora_rt.transport.operator_link import Link
from dora_rt.transport.output.loan import Loan
from dora_rt.transport.output.origin import make_stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.ports import Ports
from dora_rt.transport.primitives import forks, object_names
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.primitives.shm import Segment
from dora_rt.transport.ring import protocol
from dora_rt.transport.status_pipe import Kind, LinkCounters, StatusWriter


class Node:
    """This process as a node of the dataflow that dora-launch runs.

    Threads may send and receive at the same time. As a context manager it closes itself.
    """

    _attached: str | None = None

    def __init__(self, node_id: str | None = None, run: str | None = None) -> None:
        """Attach to the dataflow, as the environment that dora-launch set describes it.

        Args:
            node_id: in a process that dora-launch did not start: the dynamic node to be.
            run: of which run, if several have a dynamic node of that name.

        Raises:
            NotInDataflowError: this process was not started by dora-launch, or there is no such
                dynamic node (a RuntimeError).
            SharedMemoryError: the dataflow has ended meanwhile.
        """
        if Node._attached is not None:
            raise NotInDataflowError(
                f"node {Node._attached!r} is in use in this process already: a process is one "
                "node; pass the Node object on instead of making a second one"
            )
        config = find_config(node_id, run)
        try:
            self._attach(config)
        except BaseException:
            hang_up(config)
            raise
        Node._attached = config.node

    def _attach(self, config: NodeConfig) -> None:
        self._config = config
        self._where = f"node {config.node!r}"
        # What this process starts is no part of the run, and must not keep it alive.
        for descriptor in (config.status_fd, config.lock_fd):
            os.set_inheritable(descriptor, False)
        board = Segment.attach(object_names.board(config.run), writable=False)
        board.close()
        self._board = Board(board.words(), config.processes, config.edges, board.name)
        self._ports = ports = open_ports(config, self._board)
        self._inbox, self._publishers, self._causes = ports.inbox, ports.publishers, ports.causes
        self._status = StatusWriter(config.status_fd, config.number)
        forks.watch()
        report_uncaught(self._status)
        self._losses = Losses()
        self._has_heartbeat = config.heartbeat_ns is not None
        self._has_started = self._is_ready = self._reads_events = self._goes_on_after_stop = False
        attachment = None
        if config.connection_fd is not None:
            attachment = Attachment(config, when_abandoned(config, self._publishers.values()))
        self._finalizer = weakref.finalize(self, _close, ports, attachment)
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
        """Tell whether there is nothing to go on for: told to stop, closed, or all inputs ended.

        For sources, which have no inputs to wait for, loops that use `try_next`, and forks.
        """
        if not forks.is_forked:
            self._announce_reading()
            self._inbox.beat()
            self._inbox.hear_news()
        return (
            not self._finalizer.alive
            or self._inbox.has_ended
            or self._board.is_stopped(self._config.number)
        )

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
        deadline_ns = None if timeout is None else deadline_after(timeout)
        while True:
            try:
                event = self._next(deadline_ns)
                if event is None or isinstance(event, Event):
                    return event
            except CorruptSampleError as error:
                self._losses.tell(error)

    def next_event(self, timeout: float | None = None) -> Event | Change | None:
        """Do what `next` does, and tell as well what else happens to the inputs.

        Returns:
            Also `InputClosed` (the source is gone, or silent for longer than `input_timeout`),
            `InputRecovered` and `SourceRestarted`, all in `dora_rt.event`.

        Raises:
            TimeoutError, ValueError: as for `next`.
            CorruptSampleError: a sample was overwritten; `next` and loops go on with the next one.
        """
        return self._next(deadline_after(timeout))

    def next_intact(self, timeout: float | None = None) -> Event | Change | None:
        """Do what `next_event` does, and leave out what cannot be read, metadata included."""
        return self._losses.pass_over(self._next, deadline_after(timeout))

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

    def send_output(
        self,
        output_id: str,
        data: Any,
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send bytes or an array; the receiver gets it with its shape and dtype.

        What is sent in answer to an input inherits that input's `origin_ns` and its
        `open_telemetry_context`.

        Args:
            output_id: a name from `outputs:` of this node.
            data: bytes, bytearray or memoryview (arrive as bytes), a bool or numeric array or
                scalar of numpy of up to 8 dimensions, or an array of Arrow.
            metadata: JSON-able dict that travels with the data.
            captured_ns: `time.monotonic_ns()` when a source captured this; begins a new origin.
            timeout: seconds to wait at most for readers with `queue_policy: block`.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            UnsupportedValueError: data or metadata are of a type that cannot be sent.
            NodeClosedError: the node is closed, or `next` has given None since it is to stop.
            SharedMemoryFullError: there is no room for the sample.
            TimeoutError: a blocking reader had no room in time; nothing was sent to anybody.
        """
        deadline_ns = None if timeout is None else deadline_after(timeout)
        publisher = self._publishers.get(output_id) if self._has_started else None
        if publisher is None or self._inbox.was_told_to_stop or forks.is_forked:
            publisher = self._publisher(output_id)
        stamp = make_stamp(self._causes, publisher.where, metadata, captured_ns, deadline_ns)
        if self._has_heartbeat:
            self._inbox.beat()
        if deadline_ns is None:
            publisher.send(data, stamp)
        else:
            publisher.send_in_time(data, stamp)

    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> Loan:
        """Give an uninitialised array in shared memory; it is sent when the `with` block ends.

        An exception inside the block sends nothing. `metadata` is read when the block ends, and
        `timeout` begins then. Raises what `send_output` raises.
        """
        publisher = self._publisher(output_id)
        return publisher.loan(
            (shape,) if isinstance(shape, int) else tuple(shape),
            np.dtype(dtype),
            lambda: make_stamp(
                self._causes, publisher.where, metadata, captured_ns, deadline_after(timeout)
            ),
            has_metadata=metadata is not None,
        )

    def follow_rules_of_dora(self) -> None:
        """Be ready at once, wait for the stop without inputs, and send on after it."""
        self._get_ready()
        self._goes_on_after_stop = True
        self._inbox.ends_by_itself &= bool(self._config.inputs)

    def was_told_to_stop(self) -> bool:
        """Tell whether `next` has given None because of a stop, and not because inputs ended."""
        return self._inbox.was_told_to_stop

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow."""
        forks.refuse(self._where, "stop the dataflow")
        self._status.send(Kind.STOP_DATAFLOW)

    def close(self) -> None:
        """Send and receive no more; the readers of this node's outputs see their end."""
        self._finalizer()

    def report(self, link: LinkCounters) -> None:
        """Tell the launcher what an edge between two operators of this process has counted."""
        self._status.send(Kind.LINK, link)

    def link(self, config: LinkConfig) -> Link:
        """Make an edge between two operators of this process."""
        return self._ports.link(config)

    def has_inputs(self) -> bool:
        """Tell whether anything can still come: a timer's tick, or a sample."""
        return not self._inbox.is_empty

    def close_input(self, input_id: str) -> None:
        """Take no more from one input; its writer stops feeding it."""
        forks.refuse(self._where, "close an input")
        self._inbox.close_input(input_id)

    def close_output(self, output_id: str) -> None:
        """Send no more on one output; its readers see the end of it."""
        forks.refuse(self._where, "close an output")
        self._publishers[output_id].close(protocol.CLOSED_FOR_GOOD)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _next(self, deadline_ns: int | None) -> Event | Change | None:
        if forks.is_forked:
            forks.refuse(self._where, "receive")
        if not (self._reads_events and self._is_ready):
            self._announce_reading()
            self._get_ready()
        event = self._inbox.wait(deadline_ns)
        if isinstance(event, Event):
            # Only what an answer needs: the event itself would keep its slot in use.
            self._causes.cause = event.origin_ns, event.metadata_json, ""
        return event

    def _get_ready(self) -> None:
        if not self._is_ready:
            # In this order: an exception in between may let it be said twice, and never not at all.
            self._status.send(Kind.READY)
            self._is_ready = True

    def wake(self) -> None:
        """Let the thread that waits for an input get a TimeoutError now."""
        self._inbox.wake()

    def _announce_reading(self) -> None:
        # A node that never looks for events cannot be told to stop by one.
        if not self._reads_events:
            self._status.send(Kind.READS_EVENTS)
            self._reads_events = True

    def _publisher(self, output_id: str) -> Publisher:
        publisher = self._publishers.get(output_id)
        if publisher is None:
            raise UnknownOutputError.of(self._where, output_id, self._publishers)
        forks.refuse(publisher.where, "send")
        if self._inbox.was_told_to_stop and not self._goes_on_after_stop:
            raise SentAfterStopError(
                f"{publisher.where}: sent after next() returned None because the dataflow is "
                "being stopped; send before the loop ends"
            )
        if not self._board.start_ns:
            self._get_ready()
            self._inbox.wait_for_start()
        self._has_started = bool(self._board.start_ns)
        return publisher

    def inherit(self, metadata: dict[str, Any] | None) -> tuple[dict[str, Any] | None, int, int]:
        """Complete metadata as `send_output` does; give them, the source and the origin time."""
        return self._causes.inherit(metadata, None)

    def answer_to(self, origin_ns: int, context: str) -> None:
        """Let what this thread sends from now on inherit an origin and a telemetry context."""
        self._causes.cause = origin_ns, b"", context


def _close(ports: Ports, attachment: Attachment | None) -> None:
    if forks.is_forked:
        return  # the parent goes on with them
    ports.close()
    if attachment is not None:
        attachment.leave()
        # A notebook may come back as another node, or as the same.
        Node._attached = None
